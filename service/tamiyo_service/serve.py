"""Running the service, in this process or in several."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

import structlog
import uvicorn
from tamiyo_core.learned import LEARNED
from tamiyo_core.registry import UnknownPolicyError, build_policy
from tamiyo_leyline import PolicyChoice, RunConfig, __version__

from tamiyo_service.errors import NoArtifactError
from tamiyo_service.learned.artifacts import can_run_on
from tamiyo_service.learned.registry import Registry
from tamiyo_service.listening import require_address
from tamiyo_service.logs import configure_logs
from tamiyo_service.process import served_app, server_config
from tamiyo_service.settings import Settings, shadow_choices, unknown_variables
from tamiyo_service.store import prepare_database
from tamiyo_service.workers import serve_with_workers

_LOG: Final = structlog.get_logger(__name__)


class CertificateError(ValueError):
    """The certificate or its key cannot be used; the message says why."""


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
        CertificateError: if the certificate or its key cannot be used.
        DatabaseUrlError: if the database URL cannot be used.
        DatabaseUnusableError: if the database cannot be used.
        ListenError: if nothing can listen on the host and port.
    """
    settings = Settings() if settings is None else settings
    require_certificate(settings)
    configure_logs(settings.log_level)
    for name, meant in unknown_variables(os.environ).items():
        _LOG.warning("unknown_setting", variable=name, did_you_mean=meant)
    _warn_of_absent(settings)
    # Here and not only in the server's start, which tells its failures with a traceback.
    prepare_database(settings.database_url)
    require_address(settings.host, settings.port)
    if settings.workers > 1:
        serve_with_workers(settings)
    else:
        server = _Server(server_config(served_app(settings), settings))
        if threading.current_thread() is threading.main_thread():
            # uvicorn repeats the signal once it has stopped; by then there is nothing left to do.
            signal.signal(signal.SIGTERM, _ignore)
            signal.signal(signal.SIGINT, _ignore)
            _stop_on_hangup()
        server.run()
    _LOG.info("stopped")


def _warn_of_absent(settings: Settings) -> None:
    """Log what the settings name and is not there, and the service can do without."""
    for choice, reason in _absent_shadows(settings):
        _LOG.warning("shadow_absent", policy=choice.name, version=choice.version, reason=reason)
    if settings.models is not None and not settings.models.is_dir():
        _LOG.warning("models_absent", folder=str(settings.models), reason="TAMIYO_MODELS is no folder")
    if not can_run_on(settings.device):
        _LOG.warning("device_absent", device=settings.device, reason="no such GPU is to be seen")


def _absent_shadows(settings: Settings) -> Iterator[tuple[PolicyChoice, str]]:
    """The shadow policies that cannot be had, and why. Of the learned one, only versions that are named."""
    registry = Registry(settings.models, settings.device)  # looks when it is first asked
    for choice in shadow_choices(settings.shadow) if settings.shadow else ():
        try:
            if choice.name != LEARNED:
                build_policy(RunConfig(policy=choice))
            elif choice.version is not None:
                registry.require_named(choice.version)
        except (UnknownPolicyError, NoArtifactError) as error:
            yield choice, str(error)


def require_certificate(settings: Settings) -> None:
    """Return if the service can speak TLS, or need not.

    Raises:
        CertificateError: if the certificate or its key cannot be used.
    """
    if settings.tls_certfile is None:
        return
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_certfile, settings.tls_keyfile, password=_refuse_to_decrypt)
    except OSError as error:
        files = " and ".join(str(file) for file in (settings.tls_certfile, settings.tls_keyfile) if file)
        raise CertificateError(f"{files}: no certificate with its key in PEM: {error}") from error


def _refuse_to_decrypt() -> str:
    # Without this OpenSSL asks the terminal, where nobody may be.
    raise CertificateError(
        "the certificate's key is encrypted; give one that is not, readable for the service alone"
    )


def _addresses(server: uvicorn.Server) -> list[str]:
    sockets = [listening for opened in server.servers for listening in opened.sockets]
    return [f"{listening.getsockname()[0]}:{listening.getsockname()[1]}" for listening in sockets]


def _stop_on_hangup() -> None:
    """SIGHUP stops the service as SIGTERM does; under ``nohup`` nothing is changed."""
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hang_up)


def _hang_up(_signal: int, _frame: FrameType | None) -> None:
    _LOG.warning("hangup", told="SIGHUP ends a service of one process; with more it replaces them in turn")
    signal.raise_signal(signal.SIGTERM)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    return
