"""The asynchronous client: the same conversations, driven by an event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, SupportsIndex, TypeVar, Unpack, cast

from tamiyo_leyline import (
    CommandStatus,
    DecisionItem,
    DecisionRecord,
    EpochReport,
    RunConfig,
    RunResult,
)
from tamiyo_leyline.api import Health, Page, RunView

from tamiyo_client import calls
from tamiyo_client.calls import Call, DecisionFilters, RunFilters
from tamiyo_client.conduct import conduct
from tamiyo_client.decision import Decision
from tamiyo_client.errors import TamiyoError
from tamiyo_client.fallback import Fallback
from tamiyo_client.measurements import EpochMeasurements
from tamiyo_client.plan import Resume, RunParts, plan_run, require_run_id
from tamiyo_client.processes import NotPicklable
from tamiyo_client.schemas import build_schemas
from tamiyo_client.session import RunSession
from tamiyo_client.settings import NetworkSettings, RetrySettings, endpoint
from tamiyo_client.tasks import TaskTransport
from tamiyo_client.wire import Conversation, Dialogue, Result, Sleep

if TYPE_CHECKING:
    from pydantic import BaseModel

Item = TypeVar("Item", bound="BaseModel")


class AsyncTamiyoClient(NotPicklable):
    """`TamiyoClient` for an event loop: see there for what it promises and what its arguments mean.

    Tasks of one event loop may share a client; each of its runs takes one call at a time. The deadline
    holds while the event loop runs: a loop that is blocked by the training itself can keep no time. A name
    lookup that hangs does not hold the caller, but its thread belongs to the event loop, which waits for
    it when it shuts down.

    Raises:
        UsageError: if an argument is not usable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        deadline: float = 2.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        strict: bool = False,
        fallback: Fallback | None = None,
        retry: RetrySettings | None = None,
        network: NetworkSettings | None = None,
    ) -> None:
        self._endpoint: Final = endpoint(base_url, api_key=api_key, headers=headers, network=network)
        self._conduct: Final = conduct(deadline, retry, strict=strict, fallback=fallback)
        self._transport: Final = TaskTransport(self._endpoint)
        build_schemas()

    def run(
        self,
        run_id: str,
        *,
        config: RunConfig | None = None,
        resume: Resume = None,
        **parts: Unpack[RunParts],
    ) -> AsyncRun:
        """Describe a run, as `TamiyoClient.run` does; entering its ``async with`` block starts it.

        Raises:
            UsageError: if an argument is not valid.
        """
        return AsyncRun(RunSession(plan_run(run_id, config, resume, parts), self._conduct), self._drive)

    async def get_run(self, run_id: str) -> RunView:
        """Return a run as it stands.

        Raises:
            TamiyoError: `RunNotFoundError` and the others.
        """
        return await self._read(calls.get_run(require_run_id(run_id)))

    def list_runs(self, **filters: Unpack[RunFilters]) -> AsyncIterator[RunView]:
        """Iterate over all runs that match, fetching them page by page, each within the deadline.

        Raises:
            TamiyoError: while iterating.
        """
        return self._items(partial(calls.get_runs, filters))

    async def decision(self, run_id: str, epoch: int) -> DecisionRecord:
        """Return one decision with everything it was made from.

        Raises:
            TamiyoError: `NotFoundError` and the others.
        """
        record = await self._read(calls.get_decision(require_run_id(run_id), epoch))
        self._conduct.notices.of(record)
        return record

    def decisions(
        self, run_id: str | None = None, **filters: Unpack[DecisionFilters]
    ) -> AsyncIterator[DecisionItem]:
        """Iterate over the decisions of a run (None: of all runs), fetching them page by page.

        Raises:
            TamiyoError: while iterating.
        """
        run = None if run_id is None else require_run_id(run_id)
        return self._items(partial(calls.get_decisions, run, filters))

    async def health(self) -> Health:
        """Return whether the service lives.

        Raises:
            TamiyoError: if it does not, or not here.
        """
        return await self._read(calls.get_health())

    async def delete_run(self, run_id: str) -> None:
        """Remove a run and its history. Not repeated when the answer is lost: look with `get_run` then.

        Raises:
            TamiyoError: `RunNotFoundError` and the others.
        """
        await self._read(calls.delete_run(require_run_id(run_id)))

    async def close(self) -> None:
        """Close the connections; calls under way end by themselves."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.base_url!r}, deadline={self._conduct.deadline_s})"

    async def _read(self, call: Call[Result]) -> Result:
        return await self._drive(self._conduct.read(call))

    async def _items(self, fetch: Callable[[str | None], Call[Page[Item]]]) -> AsyncIterator[Item]:
        cursor: str | None = None
        while True:
            page = await self._read(fetch(cursor))
            for item in page.items:
                yield item
            cursor = calls.next_cursor(page, cursor)
            if cursor is None:
                return

    async def _drive(self, conversation: Conversation[Result]) -> Result:
        with Dialogue(conversation) as dialogue:
            while (step := dialogue.step) is not None:
                if isinstance(step, Sleep):
                    await asyncio.sleep(step.seconds)
                    dialogue.go_on(None)
                    continue
                try:
                    response = await self._transport.exchange(step)
                except TamiyoError as error:
                    dialogue.fail(error)
                else:
                    dialogue.go_on(response)
            return dialogue.result


class AsyncRun(NotPicklable):
    """One training, reported epoch by epoch; see `Run`, whose every word holds here too."""

    def __init__(self, session: RunSession, drive: Callable[[Conversation[Any]], Awaitable[Any]]) -> None:
        self._session: Final = session
        self._drive_conversation: Final = drive
        self._turn: Final = asyncio.Lock()
        self._entered_by: int | None = None

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._session.run_id

    @property
    def attempt(self) -> int:
        """The attempt that reports belong to, raised by every rewind."""
        return self._session.attempt

    @property
    def is_started(self) -> bool:
        """Whether the service knows of the run by now."""
        return self._session.is_started

    async def start(self) -> Self:
        """Start the run. If the service is silent (and the client not strict) a report will try it again.

        Raises:
            RunExistsError: if it exists with another configuration.
            ResumeRequiredError: if it has a history and nothing was said about resuming.
            TamiyoError: any other refusal: nothing is lost by stopping before the training has begun.
        """
        await self._drive(self._session.start())
        return self

    async def epoch(self, **measurements: Unpack[EpochMeasurements]) -> Decision:
        """Report an epoch and return what to do.

        Numbers may be NumPy or torch scalars, seeds may be dicts; see `EpochMeasurements`.

        Raises:
            TypeError: on a misspelt or missing keyword.
            TamiyoError: only if the client is strict.
        """
        return await self._decided(self._session.epoch(measurements))

    async def report(self, report: EpochReport) -> Decision:
        """Report an epoch and return what to do; the report's attempt is replaced by the run's.

        Raises:
            TamiyoError: only if the client is strict.
        """
        return await self._decided(self._session.report(report))

    def outcome(self, command_id: str, status: CommandStatus | str, detail: str = "") -> None:
        """Say what became of a command. It travels with the next report, or at the end; nothing is sent now.

        Raises:
            UsageError: only if the client is strict: if an argument is not valid.
        """
        self._session.outcome(command_id, status, detail)

    async def rewind(self, to_epoch: SupportsIndex | None) -> int:
        """Go back to a checkpoint: reports after this belong to a new attempt.

        Outcomes not yet told are forgotten: their commands are part of what is discarded. If the service is
        silent the rewind is told before the next report.

        Args:
            to_epoch: last epoch the checkpoint contains; None: start over.

        Returns:
            The new attempt.

        Raises:
            UsageError: if `to_epoch` is no epoch.
            TamiyoError: only if the client is strict.
        """
        return int(await self._drive(self._session.rewind(to_epoch)))

    async def complete(self, result: RunResult | str = RunResult.SUCCEEDED) -> bool:
        """Close the run: ``succeeded``, ``failed`` or ``aborted``. The ``with`` block then leaves it alone.

        Returns:
            Whether the service knows.

        Raises:
            UsageError: if `result` is none of these.
            TamiyoError: only if the client is strict.
        """
        return bool(await self._drive(self._session.complete(result)))

    async def __aenter__(self) -> Self:
        self._entered_by = os.getpid()
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered_by == os.getpid():
            await self._drive(self._session.close(clean=kind is None))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run_id!r}, attempt={self.attempt})"

    async def _decided(self, conversation: Conversation[Decision]) -> Decision:
        return cast("Decision", await self._drive(conversation))

    async def _drive(self, conversation: Conversation[Any]) -> Any:
        async with self._turn:
            return await self._drive_conversation(conversation)
