"""A process that serves: uvicorn on uvloop and httptools, tuned for short requests."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any, Final

from fastapi import FastAPI

from tamiyo_service.app import create_app
from tamiyo_service.connections import BoundedConfig
from tamiyo_service.direct import DirectProtocol
from tamiyo_service.settings import Settings

_SWITCH_SECONDS: Final = 0.0005
"""How long a thread may keep the interpreter when another wants it: the writer hands over often."""
_GC_THRESHOLDS: Final = (50_000, 50, 100)
"""A full collection is rare, and what exists at the start is never looked at again."""


def served_app(settings: Settings, *, alone: bool = True) -> FastAPI:
    """The service, fit for a process that does nothing but serve it.

    What exists once it has started is never looked at again by the garbage collector.

    Args:
        settings: of the service.
        alone: whether nobody else listens on its port. Then it takes no new work from the moment the process
            is told to stop; else it answers what still reaches it, and what comes later goes to the others.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    app = create_app(settings)
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def settled(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            # A full collection walks every object of every library: 100 ms with torch loaded. Not one here,
            # either: what a start leaves behind is a megabyte.
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLDS)
            gc.enable()
            if threading.current_thread() is threading.main_thread():
                # Alone, late requests are refused in words.
                gate = app.state.services.gate
                for number in (signal.SIGTERM, signal.SIGINT):
                    _also_on(number, gate.close if alone else gate.end)
            yield state

    app.router.lifespan_context = settled
    return app


def server_config(app: FastAPI | str, settings: Settings, **options: Any) -> BoundedConfig:
    """How uvicorn serves the service; `options` are uvicorn's own."""
    return BoundedConfig(
        app,
        http=DirectProtocol,
        connections=settings.connections,
        head_seconds=settings.head_seconds,
        # Then nothing but this machine is to reach it.
        local_names=settings.auth is None and not settings.keys_required,
        host=settings.host,
        port=settings.port,
        loop="asyncio" if sys.platform == "win32" else "uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whom nobody trusts is not believed when they say who they are.
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies or "",
        ssl_certfile=settings.tls_certfile,
        ssl_keyfile=settings.tls_keyfile,
        # An encrypted key fails with it. Without it OpenSSL asks the terminal, from a new worker, too.
        ssl_keyfile_password="nobody is asked",
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        **options,
    )


def _also_on(number: signal.Signals, act: Callable[[], None]) -> None:
    """Do something more when a signal comes."""
    before = signal.getsignal(number)

    def handle(sig: int, frame: FrameType | None) -> None:
        act()
        if callable(before):
            before(sig, frame)

    signal.signal(number, handle)
