"""The synchronous client: what a training loop embeds."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
from tamiyo_client.wire import Conversation, Dialogue, Result, Sleep

if TYPE_CHECKING:
    from pydantic import BaseModel

Item = TypeVar("Item", bound="BaseModel")


class TamiyoClient(NotPicklable):
    """Talks to a Tamiyo service from a training loop, without ever holding, stopping or misleading it.

    Every call is over within `deadline` seconds, whatever the network does. In the loop (`run.epoch()`)
    trouble becomes a `Decision` of the client's own, WAIT; outside it (`get_run()` and the like) it is
    raised.

    Threads may share a client; each of its runs takes one call at a time, a second thread waits its turn.
    After a fork the child's calls open connections of their own; only the process that entered a run's
    ``with`` block completes it.

    Args:
        base_url: such as ``http://tamiyo:8000``.
        deadline: longest time a call may take, seconds: name lookup, connecting, repeats and pauses included.
        api_key: sent as ``Authorization: Bearer …``, never logged; None: as ``TAMIYO_API_KEY`` says.
        headers: further headers of every request.
        strict: raise errors in the loop too, and keep no missed reports: the caller repeats what it wants to.
        fallback: decides while the service gives no usable answer; None: WAIT.
        retry: when requests are repeated.
        network: proxies and certificates.

    Raises:
        UsageError: if one of these is not usable.
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
        # Importing httpx takes as long as importing all the rest: only who makes a client pays for it.
        from tamiyo_client.workers import WorkerTransport

        self._endpoint: Final = endpoint(base_url, api_key=api_key, headers=headers, network=network)
        self._conduct: Final = conduct(deadline, retry, strict=strict, fallback=fallback)
        self._transport: Final = WorkerTransport(self._endpoint)
        build_schemas()

    def run(
        self,
        run_id: str,
        *,
        config: RunConfig | None = None,
        resume: Resume = None,
        **parts: Unpack[RunParts],
    ) -> Run:
        """Describe a run; entering its ``with`` block (or `Run.start`) starts it.

        Args:
            run_id: 1 to 128 of the characters ``A-Z a-z 0-9 . _ : -``.
            config: its configuration, or
            **parts: the parts of one: topology, policy, heuristic, learned, tracker, objective,
                accuracy_unit, max_epochs, host, labels.
            resume: how a run with a history is taken up: ``"continue"``, the epoch of a checkpoint, or a
                `Rewind`; None refuses such a run.

        Raises:
            UsageError: if one of these is not valid.
        """
        return Run(RunSession(plan_run(run_id, config, resume, parts), self._conduct), self._drive)

    def get_run(self, run_id: str) -> RunView:
        """Return a run as it stands.

        Raises:
            TamiyoError: `RunNotFoundError` and the others.
        """
        return self._read(calls.get_run(require_run_id(run_id)))

    def list_runs(self, **filters: Unpack[RunFilters]) -> Iterator[RunView]:
        """Iterate over all runs that match, fetching them page by page, each within the deadline.

        Raises:
            TamiyoError: while iterating.
        """
        return self._items(partial(calls.get_runs, filters))

    def decision(self, run_id: str, epoch: int) -> DecisionRecord:
        """Return one decision with everything it was made from.

        Raises:
            TamiyoError: `NotFoundError` and the others.
        """
        record = self._read(calls.get_decision(require_run_id(run_id), epoch))
        self._conduct.notices.of(record)
        return record

    def decisions(
        self, run_id: str | None = None, **filters: Unpack[DecisionFilters]
    ) -> Iterator[DecisionItem]:
        """Iterate over the decisions of a run (None: of all runs), fetching them page by page.

        Raises:
            TamiyoError: while iterating.
        """
        run = None if run_id is None else require_run_id(run_id)
        return self._items(partial(calls.get_decisions, run, filters))

    def health(self) -> Health:
        """Return whether the service lives.

        Raises:
            TamiyoError: if it does not, or not here.
        """
        return self._read(calls.get_health())

    def delete_run(self, run_id: str) -> None:
        """Remove a run and its history. Not repeated when the answer is lost: look with `get_run` then.

        Raises:
            TamiyoError: `RunNotFoundError` and the others.
        """
        self._read(calls.delete_run(require_run_id(run_id)))

    def close(self) -> None:
        """Close the connections; calls under way end by themselves."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._endpoint.base_url!r}, deadline={self._conduct.deadline_s})"

    def _read(self, call: Call[Result]) -> Result:
        return self._drive(self._conduct.read(call))

    def _items(self, fetch: Callable[[str | None], Call[Page[Item]]]) -> Iterator[Item]:
        cursor: str | None = None
        while True:
            page = self._read(fetch(cursor))
            yield from page.items
            cursor = calls.next_cursor(page, cursor)
            if cursor is None:
                return

    def _drive(self, conversation: Conversation[Result]) -> Result:
        with Dialogue(conversation) as dialogue:
            while (step := dialogue.step) is not None:
                if isinstance(step, Sleep):
                    time.sleep(step.seconds)
                    dialogue.go_on(None)
                    continue
                try:
                    response = self._transport.exchange(step)
                except TamiyoError as error:
                    dialogue.fail(error)
                else:
                    dialogue.go_on(response)
            return dialogue.result


class Run(NotPicklable):
    """One training, reported epoch by epoch. Made by `TamiyoClient.run`.

    As a context manager it starts the run on entry and completes it (``succeeded``) on a clean exit. When an
    exception leaves the block the run stays open, so that a restart can resume it, and what could not be told
    so far is told if there is time; the exception passes unchanged.
    """

    def __init__(self, session: RunSession, drive: Callable[[Conversation[Any]], Any]) -> None:
        self._session: Final = session
        self._drive_conversation: Final = drive
        self._pid = os.getpid()
        self._turn = threading.Lock()
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

    def start(self) -> Self:
        """Start the run. If the service is silent (and the client not strict) a report will try it again.

        Raises:
            RunExistsError: if it exists with another configuration.
            ResumeRequiredError: if it has a history and nothing was said about resuming.
            TamiyoError: any other refusal: nothing is lost by stopping before the training has begun.
        """
        self._drive(self._session.start())
        return self

    def epoch(self, **measurements: Unpack[EpochMeasurements]) -> Decision:
        """Report an epoch and return what to do.

        Numbers may be NumPy or torch scalars, seeds may be dicts; see `EpochMeasurements`.

        Raises:
            TypeError: on a misspelt or missing keyword.
            TamiyoError: only if the client is strict.
        """
        return self._decided(self._session.epoch(measurements))

    def report(self, report: EpochReport) -> Decision:
        """Report an epoch and return what to do; the report's attempt is replaced by the run's.

        Raises:
            TamiyoError: only if the client is strict.
        """
        return self._decided(self._session.report(report))

    def outcome(self, command_id: str, status: CommandStatus | str, detail: str = "") -> None:
        """Say what became of a command. It travels with the next report, or at the end; nothing is sent now.

        Raises:
            UsageError: only if the client is strict: if an argument is not valid.
        """
        self._session.outcome(command_id, status, detail)

    def rewind(self, to_epoch: SupportsIndex | None) -> int:
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
        return int(self._drive(self._session.rewind(to_epoch)))

    def complete(self, result: RunResult | str = RunResult.SUCCEEDED) -> bool:
        """Close the run: ``succeeded``, ``failed`` or ``aborted``. The ``with`` block then leaves it alone.

        Returns:
            Whether the service knows.

        Raises:
            UsageError: if `result` is none of these.
            TamiyoError: only if the client is strict.
        """
        return bool(self._drive(self._session.complete(result)))

    def __enter__(self) -> Self:
        self._entered_by = os.getpid()
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered_by == os.getpid():
            self._drive(self._session.close(clean=kind is None))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run_id!r}, attempt={self.attempt})"

    def _decided(self, conversation: Conversation[Decision]) -> Decision:
        return cast("Decision", self._drive(conversation))

    def _drive(self, conversation: Conversation[Any]) -> Any:
        if self._pid != os.getpid():
            # In a forked child the lock may be held by a thread that exists in the parent only.
            self._pid, self._turn = os.getpid(), threading.Lock()
        with self._turn:
            return self._drive_conversation(conversation)
