"""Running the service, in this process or in several."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import threading
from types import FrameType
from typing import Final

import structlog
import uvicorn
from tamiyo_leyline import __version__

from tamiyo_service.logs import configure_logs
from tamiyo_service.process import served_app, server_config
from tamiyo_service.settings import Settings, unknown_variables
from tamiyo_service.store import prepare_database
from tamiyo_service.workers import serve_with_workers

_LOG: Final = structlog.get_logger(__name__)


class ExposedError(ValueError):
    """The service would listen beyond loopback without authentication."""


class _Server(uvicorn.Server):
    """Tells when and where it has started."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        await super().startup(sockets)
        _LOG.info("started", version=__version__, addresses=_addresses(self))


def serve(settings: Settings | None = None) -> None:
    """Run the service until it is told to stop (SIGTERM, SIGINT); what it has accepted is finished first.

    Args:
        settings: None: read from the environment.

    Raises:
        ExposedError: if it would listen beyond loopback without authentication.
        DatabaseUrlError: if the database URL cannot be used.
        DatabaseUnusableError: if the database cannot be used.
    """
    settings = Settings() if settings is None else settings
    require_sheltered(settings)
    configure_logs(settings.log_level)
    for name, meant in unknown_variables(os.environ).items():
        _LOG.warning("unknown_setting", variable=name, did_you_mean=meant)
    # Here and not only in the server's start, which tells its failures with a traceback.
    prepare_database(settings.database_url)
    if settings.workers > 1:
        serve_with_workers(settings)
    else:
        server = _Server(server_config(served_app(settings), settings))
        if threading.current_thread() is threading.main_thread():
            # uvicorn repeats the signal once it has stopped; by then there is nothing left to do.
            signal.signal(signal.SIGTERM, _ignore)
            signal.signal(signal.SIGINT, _ignore)
        server.run()
    _LOG.info("stopped")


def require_sheltered(settings: Settings) -> None:
    """Return if the service may listen where the settings say.

    Raises:
        ExposedError: if others could reach it and authentication was not switched off by name.
    """
    if settings.auth is None and not _is_loopback(settings.host):
        raise ExposedError(
            f"{settings.host} can be reached from other machines and this version cannot check who calls; "
            "listen on 127.0.0.1, or set TAMIYO_AUTH=off if something in front of it does"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _addresses(server: uvicorn.Server) -> list[str]:
    sockets = [listening for opened in server.servers for listening in opened.sockets]
    return [f"{listening.getsockname()[0]}:{listening.getsockname()[1]}" for listening in sockets]


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    return
