"""Group commit: what waits together is written together, and a failure concerns only those it must."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from tamiyo_service.errors import (
    OverloadedError,
    ShuttingDownError,
    StoreUnavailableError,
    TamiyoError,
    VersionConflictError,
)
from tamiyo_service.store.writer import HUNG_SECONDS, LARGEST_TRANSACTION, SWIFT_GROUP, GroupWriter


class Disk:
    """Notes the groups it gets; can be held up, be full, or refuse a single task."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.full = False
        self.refused: str | None = None

    def execute(self, tasks: Sequence[str]) -> list[str]:
        """Write a group."""
        self.entered.set()
        self.open.wait()
        if self.full:
            raise OperationalError("COMMIT", None, Exception("database or disk is full"))
        if self.refused in tasks:
            raise IntegrityError("INSERT", None, Exception("UNIQUE constraint failed"))
        self.groups.append(list(tasks))
        return [task.upper() for task in tasks]


def translate(error: Exception) -> TamiyoError:
    if isinstance(error, IntegrityError):
        return VersionConflictError("taken")
    return StoreUnavailableError("full")


@pytest.fixture
def disk() -> Disk:
    return Disk()


async def started(disk: Disk, limit: int = 1000) -> GroupWriter[str]:
    writer: GroupWriter[str] = GroupWriter(disk.execute, translate, limit)
    writer.start()
    return writer


async def held_up(disk: Disk, writer: GroupWriter[str]) -> asyncio.Future[Any]:
    """Let a first task arrive at the disk and stay there."""
    disk.open.clear()
    future = writer.submit("first")
    await asyncio.to_thread(disk.entered.wait)
    return future


async def results(futures: Sequence[asyncio.Future[Any]]) -> list[Any]:
    return list(await asyncio.gather(*futures, return_exceptions=True))


async def test_each_task_gets_its_own_result(disk: Disk) -> None:
    writer = await started(disk)
    assert await results([writer.submit(name) for name in ("a", "b", "c")]) == ["A", "B", "C"]
    await writer.close()


async def test_what_waits_while_the_disk_is_busy_is_written_as_one_group(disk: Disk) -> None:
    writer = await started(disk)
    first = await held_up(disk, writer)
    others = [writer.submit(f"task-{number}") for number in range(50)]
    disk.open.set()
    await results([first, *others])
    assert disk.groups == [["first"], [f"task-{number}" for number in range(50)]]
    await writer.close()


async def test_a_full_disk_fails_the_group_and_nothing_later(disk: Disk) -> None:
    writer = await started(disk)
    disk.full = True
    failed = await results([writer.submit("a"), writer.submit("b")])
    assert [type(failure) for failure in failed] == [StoreUnavailableError, StoreUnavailableError]
    assert writer.failing()
    disk.full = False
    assert await writer.submit("c") == "C"
    assert not writer.failing()
    await writer.close()


async def test_a_refused_task_leaves_its_neighbours_alone(disk: Disk) -> None:
    writer = await started(disk)
    disk.refused = "bad"
    first = await held_up(disk, writer)
    futures = [writer.submit(name) for name in ("a", "bad", "b")]
    disk.open.set()
    answers = await results(futures)
    good, bad, also_good = answers
    assert (good, also_good) == ("A", "B")
    assert isinstance(bad, VersionConflictError)
    assert await first == "FIRST"
    assert not writer.failing()
    await writer.close()


async def test_too_many_waiting_tasks_are_refused_until_some_are_done(disk: Disk) -> None:
    writer = await started(disk, limit=2)
    first = await held_up(disk, writer)
    second = writer.submit("second")
    with pytest.raises(OverloadedError):
        writer.submit("third")
    disk.open.set()
    await results([first, second])
    assert await writer.submit("fourth") == "FOURTH"
    await writer.close()


async def test_closing_finishes_what_was_accepted_and_refuses_the_rest(disk: Disk) -> None:
    writer = await started(disk)
    first = await held_up(disk, writer)
    second = writer.submit("second")
    closing = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(ShuttingDownError):
        writer.submit("third")
    disk.open.set()
    await closing
    assert await results([first, second]) == ["FIRST", "SECOND"]


async def test_age_tells_how_long_the_disk_has_been_busy(disk: Disk) -> None:
    writer = await started(disk)
    assert writer.age() == 0.0
    first = await held_up(disk, writer)
    assert writer.age() > 0.0
    disk.open.set()
    await first
    assert writer.age() == 0.0
    await writer.close()


async def test_a_cancelled_caller_does_not_cancel_the_write(disk: Disk) -> None:
    writer = await started(disk)
    first = await held_up(disk, writer)
    first.cancel()
    disk.open.set()
    assert await writer.submit("second") == "SECOND"
    assert disk.groups[0] == ["first"]
    await writer.close()


async def test_a_task_the_driver_cannot_take_fails_alone() -> None:
    def execute(tasks: Sequence[Callable[[], str]]) -> list[str]:
        return [task() for task in tasks]

    def unencodable() -> str:
        return "\ud800".encode().decode()

    writer: GroupWriter[Callable[[], str]] = GroupWriter(execute, translate, 10)
    writer.start()
    good, bad = await results([writer.submit(lambda: "fine"), writer.submit(unencodable)])
    assert good == "fine"
    assert isinstance(bad, StoreUnavailableError)
    await writer.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the thread is to die
async def test_nobody_waits_for_a_writer_that_died() -> None:
    def execute(tasks: Sequence[str]) -> list[str]:
        raise KeyError("a defect")

    writer: GroupWriter[str] = GroupWriter(execute, translate, 10)
    writer.start()
    with pytest.raises(StoreUnavailableError):
        await writer.submit("a")
    assert writer.failing()
    with pytest.raises(StoreUnavailableError):
        await writer.submit("b")
    await writer.close()


class QuickDisk(Disk):
    """Can be written in the event loop besides, where nothing is in the way; notes which thread wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.in_the_way = False
        self.seconds = 0.0
        self.threads: list[str] = []

    def execute(self, tasks: Sequence[str]) -> list[str]:
        written = super().execute(tasks)
        self.threads.append(threading.current_thread().name)
        if self.seconds:
            threading.Event().wait(self.seconds)
        return written

    def execute_swiftly(self, tasks: Sequence[str]) -> list[str] | None:
        """Write a small group."""
        return None if self.in_the_way else self.execute(tasks)


async def written_by(disk: QuickDisk, writer: GroupWriter[str], tasks: int = 1) -> str:
    """The thread that wrote the last of some tasks that wait together."""
    assert await results([writer.submit(f"task {number}") for number in range(tasks)]) == [
        f"TASK {number}" for number in range(tasks)
    ]
    return disk.threads[-1]


@pytest.fixture
async def swift() -> AsyncIterator[tuple[QuickDisk, GroupWriter[str]]]:
    disk = QuickDisk()
    writer: GroupWriter[str] = GroupWriter(disk.execute, translate, 1000, disk.execute_swiftly)
    writer.start()
    assert await written_by(disk, writer) == "tamiyo-writer", "nothing is known of the disk yet"
    yield disk, writer
    await writer.close()


async def test_a_small_group_on_a_quick_disk_is_written_in_the_event_loop(
    swift: tuple[QuickDisk, GroupWriter[str]],
) -> None:
    disk, writer = swift
    assert await written_by(disk, writer) == threading.current_thread().name
    assert await written_by(disk, writer, SWIFT_GROUP) == threading.current_thread().name
    assert await written_by(disk, writer, SWIFT_GROUP + 1) == "tamiyo-writer"


async def test_what_has_to_wait_is_written_by_the_thread(swift: tuple[QuickDisk, GroupWriter[str]]) -> None:
    disk, writer = swift
    disk.in_the_way = True
    assert await written_by(disk, writer) == "tamiyo-writer"
    disk.in_the_way = False
    assert await written_by(disk, writer) == threading.current_thread().name


async def test_a_disk_that_hung_is_kept_out_of_the_event_loop(
    swift: tuple[QuickDisk, GroupWriter[str]],
) -> None:
    disk, writer = swift
    disk.seconds = HUNG_SECONDS
    await written_by(disk, writer, SWIFT_GROUP + 1)
    disk.seconds = 0.0
    quick = 0
    while await written_by(disk, writer) == "tamiyo-writer":
        quick += 1
    assert quick >= 10


async def test_what_fails_in_the_event_loop_is_told_by_the_thread(
    swift: tuple[QuickDisk, GroupWriter[str]],
) -> None:
    disk, writer = swift
    disk.in_the_way = disk.full = True
    (failure,) = await results([writer.submit("a")])
    assert isinstance(failure, StoreUnavailableError)
    disk.in_the_way = disk.full = False
    assert await results([writer.submit("b")]) == ["B"]


async def test_what_waits_is_counted_in_rows(disk: Disk) -> None:
    writer = await started(disk, limit=1_000)
    first = await held_up(disk, writer)
    large = writer.submit("large", rows=1_024)
    with pytest.raises(OverloadedError, match="1025 writes wait"):
        writer.submit("one more")
    disk.open.set()
    assert await results([first, large]) == ["FIRST", "LARGE"]
    assert await writer.submit("later") == "LATER"
    await writer.close()


async def test_a_transaction_has_so_many_rows_at_most(disk: Disk) -> None:
    writer = await started(disk, limit=100_000)
    first = await held_up(disk, writer)
    waiting = [writer.submit(name, rows=LARGEST_TRANSACTION // 2) for name in "abc"]
    disk.open.set()
    assert await results([first, *waiting]) == ["FIRST", "A", "B", "C"]
    assert disk.groups == [["first"], ["a", "b"], ["c"]]
    await writer.close()
