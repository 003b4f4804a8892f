"""Stores that fail, or wait, when a test says so."""

from __future__ import annotations

import asyncio

from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.rows import Entry, RunRow, Write


class FailingStore(MemoryStore):
    """Refuses writes while `broken` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def append(self, write: Write) -> asyncio.Future[None]:
        if not self.broken:
            return super().append(write)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.set_exception(StoreUnavailableError("the disk is full"))
        return written

    async def check(self) -> None:
        if self.broken:
            raise StoreUnavailableError("the disk is full")


class SlowStore(MemoryStore):
    """Keeps writes and looks at runs waiting until they are let through; counts the looks."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_open = asyncio.Event()
        self.writes_open.set()
        self.reads_open = asyncio.Event()
        self.reads_open.set()
        self.waiting = asyncio.Event()
        self.looks = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def append(self, write: Write) -> asyncio.Future[None]:
        task = asyncio.ensure_future(self._append_later(write))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self, run_id: str) -> RunRow | None:
        self.looks += 1
        self.waiting.set()
        await self.reads_open.wait()
        return await super().run(run_id)

    async def _append_later(self, write: Write) -> None:
        self.waiting.set()
        await self.writes_open.wait()
        await super().append(write)


class CountingStore(MemoryStore):
    """Counts how often a run's latest input is read: once each time a session is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    async def last_entry(self, run_pk: int) -> Entry | None:
        self.loads += 1
        return await super().last_entry(run_pk)
