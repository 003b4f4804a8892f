"""One look at all runs, and what becomes of the expired ones.

::

    expired ──▶ archived in draft ──▶ retired ──▶ archive published ──▶ a moment's grace ──▶ erased
                     │ disk full        │ reached meanwhile: spared, and the draft is written anew without it
                     ▼                  ▼
                nothing happened     killed here: the next sweep finds it retired, and goes on

Without an archive a sweep begins with the retiring. Retiring is one small transaction, so of many processes
that sweep at the same time one gets a run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.retention.archive import Archive
from tamiyo_service.retention.drafting import Drafting
from tamiyo_service.retention.erasing import Pause, erase
from tamiyo_service.retention.rules import Rules
from tamiyo_service.store.expired import Expired, Retired
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import RunRow

Forget = Callable[[RunRow], Awaitable[None]]

GRACE_SECONDS: Final = 2.0
"""Between retiring and erasing: a request that had just found a run reads it to its end."""
_WINDOW_RUNS: Final = 1_000
_RETIRE_RUNS: Final = 16
_BATCH_ENTRIES: Final = 200_000
"""Inputs in one part of the archive, unless a single run has more."""
_LEFT_BEHIND_AFTER: Final = timedelta(hours=1)
"""A run that is still retired after this time has been left by a process that was killed."""


@dataclass(frozen=True)
class Swept:
    """What a sweep did.

    Attributes:
        runs: runs deleted.
        inputs: their numbered inputs: decisions and all else that was recorded.
        spared: runs that something reached while the sweep was at them.
        waiting: runs that another sweep left to be archived, and that this one has no archive for.
        archived_bytes: size of the files written; 0 without an archive.
        seconds: how long it took.
    """

    runs: int = 0
    inputs: int = 0
    spared: int = 0
    waiting: int = 0
    archived_bytes: int = 0
    seconds: float = 0.0


async def _remember_nothing(_run: RunRow) -> None:
    return


class Sweep:
    """Deletes expired runs, archived first if there is an archive.

    Args:
        store: where the runs are.
        rules: which of them expire.
        clock: tells the present moment.
        archive: None: they are dropped.
        forget: called for every run that was retired: whoever keeps it in memory drops it.
        pause: waits for a number of seconds.
    """

    def __init__(
        self,
        store: Store,
        rules: Rules,
        clock: Clock,
        *,
        archive: Archive | None = None,
        forget: Forget = _remember_nothing,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._store = store
        self.rules: Final = rules
        self._clock = clock
        self._archive = archive
        self._forget = forget
        self._pause = pause

    async def expired(self) -> AsyncIterator[Expired]:
        """The runs that have expired by now, in the order of their creation."""
        async for found in self._windows():
            for run in found:
                yield run

    async def run(self) -> Swept:
        """Delete what has expired, and what an earlier sweep left half-deleted.

        Raises:
            ArchiveError: if the archive did not take a run. Nothing is lost: those that were retired before
                it failed are archived by a later sweep, the others are left as they are.
            UnavailableError: if the store did not answer.
        """
        began = time.monotonic()
        swept = await self._finish_others()
        async for found in self._windows():
            for batch in _batches(found):
                swept = _sum(swept, await self._delete(batch))
        return replace(swept, seconds=round(time.monotonic() - began, 3))

    async def _windows(self) -> AsyncIterator[tuple[Expired, ...]]:
        if not self.rules.any:
            return
        cutoffs = self.rules.cutoffs(self._clock())
        page = await self._store.expired(cutoffs, 0, _WINDOW_RUNS)
        while page.last is not None:
            yield page.runs
            page = await self._store.expired(cutoffs, page.last, _WINDOW_RUNS)

    async def _delete(self, batch: Sequence[Expired]) -> Swept:
        """Archive, retire and erase some runs."""
        if self._archive is None:
            taken, size = await self._retire(batch), 0
        else:
            taken, size = await self._archive_and_retire(self._archive, batch)
        await self._erase([expired.run for expired in taken])
        inputs = sum(expired.seq for expired in taken)
        return Swept(len(taken), inputs, spared=len(batch) - len(taken), archived_bytes=size)

    async def _archive_and_retire(
        self, archive: Archive, batch: Sequence[Expired]
    ) -> tuple[list[Expired], int]:
        async with Drafting(archive, self._store, self._clock) as drafting:
            await drafting.write(expired.run for expired in batch)
            taken = await self._retire(batch)
            if len(taken) < len(batch):
                await drafting.begin_again()
                await drafting.write(expired.run for expired in taken)
            return taken, await drafting.publish() if taken else 0

    async def _retire(self, batch: Sequence[Expired]) -> list[Expired]:
        taken: list[Expired] = []
        at = to_micros(self._clock())
        to_archive = self._archive is not None
        for start in range(0, len(batch), _RETIRE_RUNS):
            some = await self._store.retire(batch[start : start + _RETIRE_RUNS], at, to_archive=to_archive)
            for expired in some:
                await self._forget(expired.run)
            taken += some
        return taken

    async def _erase(self, runs: Sequence[RunRow]) -> None:
        if runs:
            await self._pause(GRACE_SECONDS)
        for run in runs:
            await erase(self._store, run.run_pk, self._pause)

    async def _finish_others(self) -> Swept:
        """Go on where a killed process ended."""
        before = to_micros(self._clock() - _LEFT_BEHIND_AFTER)
        left = await self._store.retired(before, _WINDOW_RUNS)
        waiting = [retired for retired in left if retired.to_archive and self._archive is None]
        size = await self._archive_retired([retired for retired in left if retired.to_archive])
        ready = [retired.run for retired in left if retired not in waiting]
        await self._erase(ready)
        return Swept(runs=len(ready), waiting=len(waiting), archived_bytes=size)

    async def _archive_retired(self, left: Sequence[Retired]) -> int:
        if self._archive is None or not left:
            return 0
        async with Drafting(self._archive, self._store, self._clock) as drafting:
            await drafting.write(retired.run for retired in left)
            return await drafting.publish()


def _batches(found: Sequence[Expired]) -> Iterable[list[Expired]]:
    """Runs in groups of a bounded number of inputs."""
    batch: list[Expired] = []
    entries = 0
    for expired in found:
        if batch and entries + expired.seq > _BATCH_ENTRIES:
            yield batch
            batch, entries = [], 0
        batch.append(expired)
        entries += expired.seq
    if batch:
        yield batch


def _sum(one: Swept, other: Swept) -> Swept:
    return Swept(
        one.runs + other.runs,
        one.inputs + other.inputs,
        one.spared + other.spared,
        one.waiting + other.waiting,
        one.archived_bytes + other.archived_bytes,
    )
