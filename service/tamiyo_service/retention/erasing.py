"""Erasing retired runs a little at a time, while others wait to be written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from tamiyo_service.errors import TamiyoError
from tamiyo_service.store.protocol import Store

Pause = Callable[[float], Awaitable[None]]

ERASE_ROWS: Final = 250
"""Rows deleted in one transaction."""
_REST: Final = 3.0
"""Who erases rests this many times as long as a deletion took."""

_LOG: Final = structlog.get_logger(__name__)


async def erase(store: Store, run_pk: int, pause: Pause = asyncio.sleep) -> None:
    """Delete all rows of a retired run.

    Args:
        store: where it is.
        run_pk: the run.
        pause: waits for a number of seconds.

    Raises:
        UnavailableError: if the store did not answer; what is left is found by the next sweep.
    """
    began = time.monotonic()
    while await store.erase(run_pk, ERASE_ROWS):
        await pause(_REST * (time.monotonic() - began))
        began = time.monotonic()


class Eraser:
    """Erases runs in the background. What a stopping process leaves is found by a later sweep.

    Args:
        store: where they are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: set[asyncio.Task[None]] = set()

    def erase_soon(self, run_pk: int) -> None:
        """Begin to erase a retired run."""
        task = asyncio.create_task(self._erase(run_pk), name="tamiyo-eraser")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Break off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _erase(self, run_pk: int) -> None:
        try:
            await erase(self._store, run_pk)
        except TamiyoError as error:
            _LOG.error("erase_failed", run_pk=run_pk, error=str(error))
