"""Group commit: a thread that writes everything that waits in one transaction.

::

    event loop                                         writer thread
    submit(task) ──▶ waiting ──▶ the group, when the thread is free ──▶ BEGIN … COMMIT (one flush)
    futures done ◀── call_soon_threadsafe, once for the whole group ◀──┘

There is no artificial wait: a group gathers only while the event loop is busy with requests that are about to
join it, and while one transaction is on its way to the disk the next group gathers.

A small group on a quick disk is written in the event loop itself: the way to the thread and back costs about
as much as the flush. Where flushes usually take longer than a millisecond or two, or there is more to do, the
thread does it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final, Generic, NamedTuple, TypeVar

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from tamiyo_service.errors import (
    InvalidRequestError,
    OverloadedError,
    ShuttingDownError,
    StoreUnavailableError,
    TamiyoError,
)
from tamiyo_service.observability.tallies import StoreTally
from tamiyo_service.store.database import DatabaseLostError
from tamiyo_service.store.protocol import Ended

Task = TypeVar("Task")


class _Item(NamedTuple, Generic[Task]):
    """A task on its way."""

    task: Task
    rows: int
    future: asyncio.Future[Any]
    ended: Ended | None
    began: float
    """When it was handed in."""


Group = list[_Item[Task]]

SWIFT_SECONDS: Final = 0.002
"""Flushes that usually take longer than this, with the way to the thread, have no place in the event loop."""
HUNG_SECONDS: Final = 0.05
"""A disk that takes as long as this once is not trusted for a while: after a second for 80 quick flushes."""
SWIFT_GROUP: Final = 8
"""Tasks that may be written there at once."""
_PACE_STEP: Final = 1.08
"""How far one flush moves what counts as usual, up or down: it follows the median."""
LARGEST_GROUP: Final = 64
"""Tasks that make a group full: the first of them should not wait for ever more."""
LARGEST_TRANSACTION: Final = 2_048
"""Rows after which no further task joins a group: what comes next should not wait for seconds."""
_QUIET_TURNS: Final = 2
"""Turns of the event loop without a new task that end the gathering: a request that is read in one turn
submits its task in the next."""

_LOG: Final = structlog.get_logger(__name__)


class GroupWriter(Generic[Task]):
    """Executes tasks in groups on a thread of its own.

    Args:
        execute: runs the tasks of a group in one transaction and returns their results in order; called
            in the writer's thread only. If it raises, nothing of the group was written.
        translate: turns what `execute` raised for a group of one task into the error its caller sees.
        limit: rows that may wait or be under way; what comes before the limit may exceed it once.
        swift: like `execute`, but called in the event loop, for a small group: it waits for nobody, and
            returns None where it would have to, or where anything goes wrong; nothing is written then.
            None: there is no such way.
        tally: counts groups; None: one of its own.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[Task]], Sequence[Any]],
        translate: Callable[[Exception], TamiyoError],
        limit: int,
        swift: Callable[[Sequence[Task]], Sequence[Any] | None] | None = None,
        *,
        tally: StoreTally | None = None,
    ) -> None:
        self._execute = execute
        self._swift = swift
        self._pace = SWIFT_SECONDS
        self._translate = translate
        self._limit = limit
        self._tally = StoreTally() if tally is None else tally
        self._waiting: Group[Task] = []
        self._under_way = 0
        self._pending = 0
        self._gathering = False
        self._seen = 0
        self._quiet = 0
        self._groups: SimpleQueue[Group[Task] | None] = SimpleQueue()
        self._began: float | None = None
        self._failing = False
        self._accepting = False
        self._broken = False
        self._drained: asyncio.Future[None] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread; call it in the event loop whose requests are to be served."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="tamiyo-writer", daemon=True)
        self._accepting = True
        self._thread.start()

    def submit(
        self,
        task: Task,
        ended: Ended | None = None,
        *,
        rows: int = 1,
        waiter: asyncio.Future[Any] | None = None,
    ) -> asyncio.Future[Any]:
        """Queue a task; call it in the event loop. The future resolves when its transaction is on disk.

        Args:
            task: for `execute`.
            ended: called in the event loop when the task has ended, before the future resolves and even if
                that was cancelled: with None, or with the error the task failed with.
            rows: that the task writes, about.
            waiter: the future to resolve; None: a new one.

        Raises:
            OverloadedError: if too many rows wait.
            ShuttingDownError: before `start` and after `close`.
        """
        if not self._accepting or self._loop is None:
            raise ShuttingDownError("the service is stopping; send the request again later")
        if self._pending >= self._limit:
            raise OverloadedError(f"{self._pending} writes wait for the disk; send the request again later")
        self._pending += rows
        future = self._loop.create_future() if waiter is None else waiter
        self._waiting.append(_Item(task, rows, future, ended, time.perf_counter()))
        if not self._gathering and not self._under_way:
            self._gather()
        return future

    @property
    def pending(self) -> int:
        """Rows that wait or are under way."""
        return self._pending

    def age(self) -> float:
        """Seconds since the group under way was handed over; 0.0 when the writer is idle."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def failing(self) -> bool:
        """Whether the database did not take the last group, or the thread has died."""
        return self._failing

    async def close(self) -> None:
        """Refuse new tasks, finish the accepted ones, stop the thread."""
        if self._thread is None:
            return
        self._accepting = False
        if self._waiting or self._under_way:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        self._groups.put(None)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _gather(self) -> None:
        """Look again in the loop's next turn whether more tasks are joining."""
        assert self._loop is not None
        self._gathering = True
        grown = len(self._waiting) > self._seen
        self._seen = len(self._waiting)
        self._quiet = 0 if grown else self._quiet + 1
        if self._quiet < _QUIET_TURNS and self._seen < LARGEST_GROUP:
            self._loop.call_soon(self._gather)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread what waits, as much as makes one transaction."""
        self._gathering = False
        self._seen = 0
        count = rows = 0
        while count < len(self._waiting) and rows < LARGEST_TRANSACTION:
            rows += self._waiting[count].rows
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        self._under_way = len(group)
        self._began = time.monotonic()
        if self._broken:
            self._settle(group, [StoreUnavailableError("the writer has stopped; restart")] * len(group))
            return
        results = self._write_here(group)
        if results is None:
            self._groups.put(group)
        else:
            self._settle(group, results)

    def _write_here(self, group: Group[Task]) -> Sequence[Any] | None:
        """The results of a group that was written in the event loop; None: it is for the thread."""
        if self._swift is None or len(group) > SWIFT_GROUP or self._pace >= SWIFT_SECONDS:
            return None
        began = time.perf_counter()
        results = self._swift([item.task for item in group])
        if results is not None:
            self._keep_pace(began)
            self._tally.swift += 1
            self._failing = False
        return results

    def _keep_pace(self, began: float) -> None:
        took = time.perf_counter() - began
        self._tally.writing.observe(took)
        if took >= HUNG_SECONDS:
            self._pace = max(took, self._pace)
        else:
            self._pace *= _PACE_STEP if took > self._pace else 1 / _PACE_STEP

    def _settle(self, group: Group[Task], outcomes: Sequence[Any]) -> None:
        """Tell the callers, and go on with what has gathered meanwhile."""
        self._under_way = 0
        self._pending -= sum(item.rows for item in group)
        self._began = None
        self._count(group)
        for item, outcome in zip(group, outcomes, strict=True):
            _end(item, outcome)
        if self._waiting:
            self._gather()
        elif self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _count(self, group: Group[Task]) -> None:
        now = time.perf_counter()
        self._tally.groups.observe(len(group))
        for item in group:
            # What the store itself has to do is nobody's waiting.
            if item.ended is not None:
                self._tally.storing.observe(now - item.began)

    def _run(self) -> None:
        while (group := self._groups.get()) is not None:
            self._write(group)

    def _write(self, group: Group[Task]) -> None:
        outcomes: Sequence[Any] = [StoreUnavailableError("the writer broke off")] * len(group)
        self._broken = True
        try:
            outcomes = self._attempt([item.task for item in group])
            self._broken = False
        finally:
            self._failing |= self._broken
            # Whatever happens, nobody waits for ever.
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._settle, group, outcomes)

    def _attempt(self, tasks: Sequence[Task]) -> Sequence[Any]:
        """The result of every task, or the error it failed with."""
        began = time.perf_counter()
        try:
            results = self._execute(tasks)
        except (SQLAlchemyError, ValueError, TypeError, OverflowError) as error:
            return self._recover(tasks, error)
        finally:
            self._keep_pace(began)
        self._failing = False
        return results

    def _recover(self, tasks: Sequence[Task], error: Exception) -> Sequence[Any]:
        """What a failed group comes to: a sick disk fails all of it, a sick row only itself."""
        if len(tasks) > 1 and not isinstance(error, OperationalError | DatabaseLostError):
            return [outcome for task in tasks for outcome in self._attempt([task])]
        failure = self._translate(error)
        failure.__cause__ = error
        if isinstance(failure, StoreUnavailableError):
            self._failing = True
            self._tally.failures["write"] += 1
            _LOG.error("write_failed", writes=len(tasks), error=str(error))
        elif isinstance(failure, InvalidRequestError):
            _LOG.warning("write_refused", error=str(error))
        return [failure] * len(tasks)


def _end(item: _Item[Any], outcome: Any) -> None:
    error = outcome if isinstance(outcome, TamiyoError) else None
    if item.ended is not None:
        item.ended(error)
    if item.future.done():
        return
    if error is None:
        item.future.set_result(outcome)
    else:
        item.future.set_exception(error)
