"""What the service asks of a store; one test suite holds every implementation to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from tamiyo_service.errors import TamiyoError
from tamiyo_service.observability.tallies import StoreTally
from tamiyo_service.store.expired import Belonging, Cutoffs, Expired, ExpiredPage, Retired
from tamiyo_service.store.journal import Journal
from tamiyo_service.store.keys import KeyStore
from tamiyo_service.store.models import ModelStore
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    DecisionKey,
    DecisionRow,
    Entry,
    Found,
    NewRun,
    OutcomeRow,
    Overview,
    Rewind,
    RunFilter,
    RunRow,
    Write,
)
from tamiyo_service.store.shadows import ShadowStore

Ended = Callable[[TamiyoError | None], None]


class Store(Protocol):
    """Keeps runs and their numbered inputs.

    Every method may raise `StoreUnavailableError`: nothing was changed, the same call may succeed later.

    Attributes:
        models: what is known of models.
        shadows: what shadow policies decide.
        keys: who may call.
        tally: what was stored since the process started.
    """

    models: ModelStore
    shadows: ShadowStore
    keys: KeyStore
    tally: StoreTally

    @property
    def journal(self) -> Journal:
        """Everything that was appended, as one log."""

    async def open(self) -> None:
        """Make the store ready: bring its schema up to date, start its threads.

        Raises:
            DatabaseUnusableError: if what the store is kept in cannot be used.
        """

    async def close(self) -> None:
        """Finish every accepted write, then release what `open` took."""

    async def check(self) -> None:
        """Return if the store answers."""

    def write_age(self) -> float:
        """Seconds since the oldest unfinished write began; 0.0 when none is under way."""

    def writes_waiting(self) -> int:
        """Rows that wait for the disk or are on their way to it."""

    def append(
        self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
    ) -> asyncio.Future[None]:
        """Append entries; the future resolves when all of them are durable.

        Cancelling the future does not cancel the write.

        Args:
            write: what to append.
            ended: called once when the write has ended, before the future resolves and whether or not
                anyone still waits for it: with None, or with the error it failed with.
            waiter: the future to resolve; None: a new one.

        Raises:
            OverloadedError: if too many writes wait already.
            VersionConflictError: (from the future) if an entry's number or epoch is taken.
        """

    async def create_run(self, run: NewRun) -> tuple[RunRow, bool]:
        """The run of that id, and whether this call created it; an existing one is left as it is."""

    async def delete_run(self, run_pk: int, at: int) -> bool:
        """Remove a run: nobody finds it any more, and an entry for it is refused with `VersionConflictError`.

        Args:
            run_pk: the run.
            at: the present moment.

        Returns:
            Whether it was too large to be deleted at once, and is now retired: `erase` what is left.
        """

    async def run(self, run_id: str) -> RunRow | None:
        """The run of that id."""

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        """The run of that id, with its latest input."""

    async def version(self, run_pk: int) -> int | None:
        """The number of the run's latest input, 0 before the first; None if there is no such run."""

    async def entry_before(self, run_pk: int, seq: int) -> Entry | None:
        """The input just before number `seq`."""

    async def report(self, key: DecisionKey) -> Entry | None:
        """The report of one epoch of one attempt."""

    async def latest_report(self, run_pk: int, epoch: int) -> Entry | None:
        """The report of that epoch in the latest attempt that has it."""

    async def report_up_to(self, run_pk: int, attempt: int, epoch: int) -> Entry | None:
        """The last report of an attempt whose epoch is at most `epoch`."""

    async def rewinds(self, run_pks: Sequence[int]) -> dict[int, tuple[Rewind, ...]]:
        """The rewinds of these runs by run, in order of the attempts; runs without any are absent."""

    async def decisions(self, wanted: DecisionFilter, limit: int) -> Found[DecisionRow]:
        """At most `limit` decisions: of all runs by the moment decided, of one run by their numbers."""

    async def decisions_below(self, wanted: DecisionFilter, limit: int, below: int) -> Found[DecisionRow]:
        """The same, leaving out what has this number in the journal or a higher one: a moment's decisions.

        Positions of all runs are moment and number, in either direction.
        """

    async def decision_counts(self, wanted: DecisionFilter) -> dict[str, int]:
        """How many decisions of a run pass the filter, by action, wherever its page begins."""

    async def outcomes(self, keys: Sequence[DecisionKey]) -> dict[DecisionKey, tuple[OutcomeRow, ...]]:
        """What became of the commands of these decisions; decisions without outcomes are absent."""

    async def runs(self, wanted: RunFilter, limit: int) -> Found[RunRow]:
        """At most `limit` runs, the newest first."""

    async def labels(self, run_pks: Sequence[int]) -> dict[int, dict[str, str]]:
        """The labels of each of these runs."""

    async def overviews(self, run_pks: Sequence[int]) -> dict[int, Overview]:
        """What each of these runs has done so far."""

    async def add_client_decisions(self, rows: Sequence[ClientDecisionRow]) -> int | None:
        """Record what is new of one run; the number of rows that were, None if the run is not there any more.

        A run that takes some is not retired as one that nothing has reached.
        """

    async def expired(self, cutoffs: Cutoffs, after: int, limit: int) -> ExpiredPage:
        """The expired ones among the `limit` runs that come after run `after`, 0 before the first."""

    async def retire(self, runs: Sequence[Expired], at: int, *, to_archive: bool) -> list[Expired]:
        """Take those runs out that nothing has reached since they were looked at.

        Nobody finds a retired run any more, and an entry for it is refused with `VersionConflictError`.

        Args:
            runs: as `expired` found them.
            at: the present moment.
            to_archive: whether they are to be archived before they are erased.

        Returns:
            Those it took out.
        """

    async def retired(self, before: int, limit: int) -> list[Retired]:
        """Runs that were retired before a moment and are not yet erased."""

    async def erase(self, run_pk: int, rows: int) -> int:
        """Delete at most a little more than `rows` rows of a retired run; how many, 0: it is gone."""

    async def belongings(
        self, kind: type[Belonging], run_pk: int, after: int, limit: int
    ) -> list[tuple[int, Belonging]]:
        """Rows of a run with their positions, in order: those after position `after`, 0 before the first."""
