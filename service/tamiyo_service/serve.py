"""Running the service: uvicorn on uvloop and httptools, tuned for short requests."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI
from tamiyo_leyline import __version__

from tamiyo_service.app import create_app
from tamiyo_service.logs import configure_logs
from tamiyo_service.settings import Settings, unknown_variables
from tamiyo_service.store import prepare_database

_SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep the interpreter when another wants it: the writer hands over often."""
_GC_THRESHOLDS: Final = (50_000, 50, 100)
"""A full collection is rare, and what exists at the start is never looked at again."""
_LOG: Final = structlog.get_logger(__name__)


class ExposedError(ValueError):
    """The service would listen beyond loopback without authentication."""


class _Server(uvicorn.Server):
    """Settles down once started, and closes the gate as soon as it is told to stop.

    Late requests are refused in words.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._tamiyo = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening; what exists by then is never collected."""
        await super().startup(sockets)
        # A full collection walks every object of every library: 100 ms with torch loaded.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC_THRESHOLDS)
        _LOG.info("started", version=__version__, addresses=_addresses(self))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to stop."""
        self._tamiyo.state.services.gate.close()
        super().handle_exit(sig, frame)


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
    sys.setswitchinterval(_SWITCH_SECONDS)
    app = create_app(settings)
    server = _Server(_server_config(app, settings), app)
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


def _server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def _addresses(server: uvicorn.Server) -> list[str]:
    sockets = [listening for opened in server.servers for listening in opened.sockets]
    return [f"{listening.getsockname()[0]}:{listening.getsockname()[1]}" for listening in sockets]


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    return
