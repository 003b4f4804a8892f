"""Runs from the store into an archive, a page at a time, written in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from tamiyo_service.clock import Clock
from tamiyo_service.retention.archive import Archive, Draft
from tamiyo_service.store.expired import Belonging
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import ClientDecisionRow, Entry, OutcomeRow, RunRow

_PAGE_ROWS: Final = 100


class Drafting:
    """A part of the archive under way, discarded on leaving unless it was published.

    Args:
        archive: where it goes.
        store: where the runs are.
        clock: tells when it was begun.
    """

    def __init__(self, archive: Archive, store: Store, clock: Clock) -> None:
        self._archive = archive
        self._store = store
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tamiyo-archive")
        self._draft: Draft | None = None

    async def __aenter__(self) -> Drafting:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        # Also after a cancellation, once the thread is through with what it is at.
        try:
            await asyncio.shield(self.begin_again())
        finally:
            self._thread.shutdown(wait=False)

    async def write(self, runs: Iterable[RunRow]) -> None:
        """Write runs with all that belongs to them, verified when this returns."""
        draft = self._draft = await self._do(self._archive.draft, self._clock())
        for run in runs:
            labels = await self._store.labels([run.run_pk])
            await self._do(draft.add_run, run, labels[run.run_pk])
            await self._write_all(draft, Entry, run.run_pk)
            await self._write_all(draft, OutcomeRow, run.run_pk)
            await self._write_all(draft, ClientDecisionRow, run.run_pk)
        await self._do(draft.finish)
        await self._do(draft.verify)

    async def publish(self) -> int:
        """Make what was written part of the archive; its bytes."""
        assert self._draft is not None
        size: int = await self._do(self._draft.publish)
        self._draft = None
        return size

    async def begin_again(self) -> None:
        """Discard what was written."""
        draft, self._draft = self._draft, None
        if draft is not None:
            await self._do(draft.discard)

    async def _write_all(self, draft: Draft, kind: type[Belonging], run_pk: int) -> None:
        after = 0
        while page := await self._store.belongings(kind, run_pk, after, _PAGE_ROWS):
            after = page[-1][0]
            await self._do(draft.add, kind, [row for _, row in page])

    async def _do(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *arguments))
