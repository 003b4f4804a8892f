"""Sweeping in the background of a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Final

import structlog

from tamiyo_service.errors import TamiyoError
from tamiyo_service.observability.tallies import RetentionTally
from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.erasing import Pause
from tamiyo_service.retention.sweep import Sweep

_FIRST_AFTER_SECONDS: Final = 60.0
"""A service that is restarted often sweeps too, and one that starts has better things to do."""

_LOG: Final = structlog.get_logger(__name__)


class Sweeper:
    """Sweeps now and again.

    Args:
        sweep: what to do.
        every: seconds between two sweeps.
        pause: waits for a number of seconds.
    """

    def __init__(self, sweep: Sweep, every: float, *, pause: Pause = asyncio.sleep) -> None:
        self.sweep: Final = sweep
        self.tally: Final = RetentionTally()
        self._every = every
        self._pause = pause

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweep while the context is open; what is under way at its end is broken off, and harmless."""
        task = asyncio.create_task(self._run(), name="tamiyo-sweeper")
        task.add_done_callback(_tell_of_defect)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def sweep_once(self) -> None:
        """Sweep, and tell the log what came of it; what failed is tried again by the next sweep."""
        try:
            swept = await self.sweep.run()
        except (TamiyoError, ArchiveError) as error:
            self.tally.sweeps["failed"] += 1
            _LOG.error("sweep_failed", error=str(error))
        except Exception:  # noqa: BLE001 - retention must not end with one defect: the next sweep tries again
            self.tally.sweeps["failed"] += 1
            _LOG.exception("sweep_broke_off")
        else:
            self.tally.sweeps["done"] += 1
            self.tally.done.update(runs=swept.runs, inputs=swept.inputs, archived_bytes=swept.archived_bytes)
            if swept.runs or self.sweep.rules.any:
                _LOG.info("swept", **asdict(swept))
            if swept.waiting:
                _LOG.warning(
                    "expired_runs_wait_for_an_archive", runs=swept.waiting, remedy="set TAMIYO_ARCHIVE"
                )

    async def _run(self) -> None:
        await self._pause(min(self._every, _FIRST_AFTER_SECONDS))
        while True:
            await self.sweep_once()
            await self._pause(self._every)


def _tell_of_defect(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _LOG.error("sweeper_broke_off", exc_info=error)
