"""Group commit: a thread that writes everything that waits in one transaction.

::

    event loop                         writer thread
    submit(task) ──▶ queue ──▶ take all that wait ──▶ BEGIN … COMMIT (one flush)
    future done  ◀── call_soon_threadsafe, once for all of them ◀──┘

There is no artificial wait: while one transaction is on its way to the disk, the next one gathers.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from tamiyo_service.errors import OverloadedError, ShuttingDownError, StoreUnavailableError, TamiyoError

Task = TypeVar("Task")

_STOP: Final = None
_LOG: Final = structlog.get_logger(__name__)


class GroupWriter(Generic[Task]):
    """Executes tasks in groups on a thread of its own.

    Args:
        execute: runs the tasks of a group in one transaction and returns their results in order; called
            in the writer's thread only. If it raises, nothing of the group was written.
        translate: turns what `execute` raised for a group of one task into the error its caller sees.
        limit: tasks that may wait or be under way.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[Task]], Sequence[Any]],
        translate: Callable[[Exception], TamiyoError],
        limit: int,
    ) -> None:
        self._execute = execute
        self._translate = translate
        self._limit = limit
        self._queue: SimpleQueue[tuple[Task, asyncio.Future[Any]] | None] = SimpleQueue()
        self._pending = 0
        self._started: float | None = None
        self._failed: float | None = None
        self._accepting = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread; call it in the event loop whose requests are to be served."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="tamiyo-writer", daemon=True)
        self._accepting = True
        self._thread.start()

    def submit(self, task: Task) -> asyncio.Future[Any]:
        """Queue a task; call it in the event loop. The future resolves when its transaction is on disk.

        Raises:
            OverloadedError: if too many tasks wait.
            ShuttingDownError: after `close`.
            StoreUnavailableError: if the thread died.
        """
        if self._pending >= self._limit:
            raise OverloadedError(f"{self._pending} writes wait for the disk; send the request again later")
        self._require_running()
        assert self._loop is not None
        future = self._loop.create_future()
        self._pending += 1
        self._queue.put((task, future))
        return future

    def age(self) -> float:
        """Seconds since the group under way was taken up; 0.0 when the writer is idle."""
        started = self._started
        return 0.0 if started is None else time.monotonic() - started

    def since_failure(self) -> float | None:
        """Seconds since a group last failed; None if the last one succeeded."""
        failed = self._failed
        return None if failed is None else time.monotonic() - failed

    async def close(self) -> None:
        """Refuse new tasks, finish the accepted ones, stop the thread."""
        if self._thread is None:
            return
        self._accepting = False
        self._queue.put(_STOP)
        await asyncio.to_thread(self._thread.join)
        self._thread = None

    def _require_running(self) -> None:
        if not self._accepting:
            raise ShuttingDownError("the service is stopping; send the request again later")
        if self._thread is None or not self._thread.is_alive():
            raise StoreUnavailableError("the writer has stopped; the service must be restarted")

    def _run(self) -> None:
        running = True
        while running:
            group = self._take()
            running = group[-1] is not _STOP
            accepted = [item for item in group if item is not None]
            if accepted:
                self._write(accepted)

    def _take(self) -> list[tuple[Task, asyncio.Future[Any]] | None]:
        """Everything that waits, at least one item; nothing after the sign to stop."""
        group = [self._queue.get()]
        self._started = time.monotonic()
        group.extend(self._queue.get_nowait() for _ in range(self._queue.qsize()))
        return group

    def _write(self, group: list[tuple[Task, asyncio.Future[Any]]]) -> None:
        outcomes: Sequence[Any] = [StoreUnavailableError("the writer broke off")] * len(group)
        try:
            outcomes = self._attempt([task for task, _ in group])
        finally:
            # Whatever happens, nobody waits for ever.
            self._started = None
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._settle, group, outcomes)

    def _attempt(self, tasks: Sequence[Task]) -> Sequence[Any]:
        """The result of every task, or the error it failed with."""
        try:
            results = self._execute(tasks)
        except (SQLAlchemyError, ValueError, TypeError, OverflowError) as error:
            return self._recover(tasks, error)
        self._failed = None
        return results

    def _recover(self, tasks: Sequence[Task], error: Exception) -> Sequence[Any]:
        """What a failed group comes to: a sick disk fails all of it, a sick row only itself."""
        if len(tasks) > 1 and not isinstance(error, OperationalError):
            return [outcome for task in tasks for outcome in self._attempt([task])]
        failure = self._translate(error)
        if isinstance(failure, StoreUnavailableError):
            self._failed = time.monotonic()
            _LOG.error("write_failed", writes=len(tasks), error=str(error))
        return [failure] * len(tasks)

    def _settle(self, group: list[tuple[Task, asyncio.Future[Any]]], outcomes: Sequence[Any]) -> None:
        self._pending -= len(group)
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, TamiyoError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
