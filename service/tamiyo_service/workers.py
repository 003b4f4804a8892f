"""Several processes that serve on one port: uvicorn starts them, and starts them again when they die."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from typing import Final

import structlog
from fastapi import FastAPI
from tamiyo_leyline import __version__
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from tamiyo_service.logs import configure_logs
from tamiyo_service.process import served_app, server_config
from tamiyo_service.settings import Settings, environment_of

_WORKER_APP: Final = "tamiyo_service.workers:worker_app"
_HANGING_SECONDS: Final = 30
"""How long a worker may take to start, or give no sign of life, before it is replaced."""
_LOG: Final = structlog.get_logger(__name__)


def worker_app() -> FastAPI:
    """The service in one of several processes, which end when the process that started them does."""
    settings = Settings()
    configure_logs(settings.log_level)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), name="tamiyo-parent", daemon=True).start()
    app = served_app(settings, alone=False)
    _LOG.info("worker", version=__version__, process=os.getpid())
    return app


def serve_with_workers(settings: Settings) -> None:
    """Serve with as many processes as the settings say, until told to stop.

    SIGHUP replaces one worker after the other, each only when its successor serves; SIGTTIN adds one, SIGTTOU
    ends one.

    Raises:
        SystemExit: if a worker could not start, which ends the others too.
    """
    # The workers are new processes: they read their settings where this one may have read them.
    os.environ.update(environment_of(settings))
    config = server_config(
        _WORKER_APP,
        settings,
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=_HANGING_SECONDS,
    )
    listening = config.bind_socket()
    host, port = listening.getsockname()[:2]
    _LOG.info("started", version=__version__, addresses=[f"{host}:{port}"], workers=settings.workers)
    supervisor = Multiprocess(config, [listening])
    supervisor.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
        # uvicorn returns as if it had been told to stop: whoever restarts failed services would not.
        raise SystemExit(STARTUP_FAILURE)


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
