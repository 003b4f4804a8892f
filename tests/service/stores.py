"""Stores that fail, or wait, when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.store import MemoryStore, SqlStore
from tamiyo_service.store.protocol import Ended
from tamiyo_service.store.rows import Entry, RunRow, Write


class FailingStore(MemoryStore):
    """Refuses writes while `broken` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def append(
        self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
    ) -> asyncio.Future[None]:
        if not self.broken:
            return super().append(write, ended, waiter)
        written = asyncio.get_running_loop().create_future() if waiter is None else waiter
        error = StoreUnavailableError("the disk is full")
        ended(error)
        written.set_exception(error)
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

    def append(
        self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
    ) -> asyncio.Future[None]:
        written = asyncio.get_running_loop().create_future() if waiter is None else waiter
        task = asyncio.ensure_future(self._append_later(write, ended, written))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return written

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        self.looks += 1
        self.waiting.set()
        await self.reads_open.wait()
        return await super().load(run_id)

    async def _append_later(self, write: Write, ended: Ended, written: asyncio.Future[None]) -> None:
        self.waiting.set()
        await self.writes_open.wait()
        super().append(write, ended, written)


class CountingStore(MemoryStore):
    """Counts how often runs are loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        loaded = await super().load(run_id)
        self.loads += loaded is not None
        return loaded


class InterruptedMemoryStore(MemoryStore):
    """Has something happen right after a run was loaded, once."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        loaded = await super().load(run_id)
        work, self.meanwhile = self.meanwhile, None
        if work is not None:
            await work()
        return loaded


class InterruptedSqlStore(SqlStore):
    """The same over a database."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        loaded = await super().load(run_id)
        work, self.meanwhile = self.meanwhile, None
        if work is not None:
            await work()
        return loaded
