"""Services in processes of their own that start in no time: forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final

import httpx
from tamiyo_service import Settings, serve

from tests.service.processes import free_port

_START_SECONDS: Final = 60.0
_PRELOADED: Final = (
    "__main__",
    "alembic.command",
    "httptools",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "tamiyo_service.serve",
    "tamiyo_service.store.postgresql",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
)


class Service:
    """A service that runs, or did.

    Attributes:
        url: where it answers.
        pid: its process.
    """

    def __init__(self, process: ForkServerProcess, port: int) -> None:
        assert process.pid is not None
        self.url = f"http://127.0.0.1:{port}"
        self.pid = process.pid
        self._process = process

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.join()

    def stop(self) -> None:
        """Ask it to stop, and wait until it has."""
        os.kill(self.pid, signal.SIGTERM)
        self._process.join(_START_SECONDS)
        assert self._process.exitcode == 0

    def await_ready(self) -> None:
        """Wait until it is ready for requests."""
        deadline = time.monotonic() + _START_SECONDS
        with httpx.Client(base_url=self.url) as http:
            while time.monotonic() < deadline and self._process.is_alive():
                try:
                    if http.get("/readyz").status_code == 200:
                        return
                except httpx.TransportError:
                    self._process.join(0.01)
        raise RuntimeError(f"the service did not become ready; status {self._process.exitcode}")


@contextmanager
def starting(database_url: str, port: int | None = None, **settings: Any) -> Iterator[Service]:
    """A service that may not be ready yet; killed at the end if it still runs."""
    port = free_port() if port is None else port
    chosen = Settings(database_url=database_url, port=port, log_level="warning", **settings)
    process = _context().Process(target=serve, args=(chosen,))
    process.start()
    try:
        yield Service(process, port)
    finally:
        process.kill()
        process.join()


@contextmanager
def running(database_url: str, port: int | None = None, **settings: Any) -> Iterator[Service]:
    """A service, ready for requests; killed at the end if it still runs."""
    with starting(database_url, port, **settings) as service:
        service.await_ready()
        yield service


@lru_cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context
