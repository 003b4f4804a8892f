"""A service in your own process, for your own tests: nothing to install beside it, nothing left behind.

::

    from tamiyo_client import TamiyoClient
    from tamiyo_service.testing import running_service

    def test_my_trainer_germinates():
        with running_service() as url, TamiyoClient(url) as client:
            ...
"""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from tamiyo_service.app import create_app
from tamiyo_service.clock import Clock, utc_now
from tamiyo_service.settings import Settings
from tamiyo_service.store import MemoryStore, Store

__all__ = ["MemoryStore", "open_app", "running_service"]


@contextmanager
def running_service(
    settings: Settings | None = None, *, store: Store | None = None, clock: Clock = utc_now
) -> Iterator[str]:
    """A service on a free loopback port, in a thread; yields its base URL.

    Args:
        settings: None: the defaults and the environment; host and port are ignored.
        store: None: a fresh one in memory, forgotten at the end.
        clock: tells the service when things happen.

    Raises:
        RuntimeError: if the service does not start; its log says why.
    """
    app = create_app(settings, store=MemoryStore() if store is None else store, clock=clock)
    config = uvicorn.Config(app, lifespan="on", ws="none", log_config=None, access_log=False)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = _ThreadServer(config, listening, app.state.services.gate.close)
        server.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.stop()


@asynccontextmanager
async def open_app(
    settings: Settings | None = None, *, store: Store | None = None, clock: Clock = utc_now
) -> AsyncIterator[FastAPI]:
    """The application with its store open, for ``httpx.ASGITransport`` and the like.

    Args:
        settings: None: the defaults and the environment.
        store: None: a fresh one in memory, forgotten at the end.
        clock: tells the service when things happen.
    """
    app = create_app(settings, store=MemoryStore() if store is None else store, clock=clock)
    async with app.router.lifespan_context(app):
        yield app


class _ThreadServer(uvicorn.Server):
    """uvicorn in a thread, with a start that can be waited for."""

    def __init__(self, config: uvicorn.Config, listening: socket.socket, close: Callable[[], None]) -> None:
        super().__init__(config)
        self._close = close
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._serve_until_stopped, args=([listening],))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell whoever waits."""
        await super().startup(sockets)
        self._settled.set()

    def start(self) -> None:
        """Start the thread; return once requests are answered."""
        self._thread.start()
        self._settled.wait()
        if not self.started:
            raise RuntimeError("the service did not start; see its log")

    def stop(self) -> None:
        """Finish what was accepted, and wait for the end."""
        # Live streams end by this, and the server waits for their end.
        self._close()
        self.should_exit = True
        self._thread.join()

    def _serve_until_stopped(self, sockets: list[socket.socket]) -> None:
        try:
            self.run(sockets)
        except SystemExit:
            # uvicorn's way to say that it did not start; `start` tells it in words.
            return
        finally:
            self._settled.set()
