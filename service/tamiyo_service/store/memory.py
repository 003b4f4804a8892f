"""A store in memory: for tests and for a service that may forget. It passes the suite of every store."""
# ruff: noqa: D102 - the methods are described once, by Store

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from tamiyo_leyline import RunStatus

from tamiyo_service.errors import VersionConflictError
from tamiyo_service.observability.tallies import StoreTally
from tamiyo_service.store.expired import Belonging, Cutoffs, Expired, ExpiredPage, Retired
from tamiyo_service.store.keys import KeyStore, MemoryKeys
from tamiyo_service.store.memory_journal import MemoryJournal
from tamiyo_service.store.memory_models import MemoryModels, MemoryShadows
from tamiyo_service.store.models import ModelStore
from tamiyo_service.store.protocol import Ended
from tamiyo_service.store.rows import (
    ClientDecisionRow,
    DecisionFilter,
    DecisionKey,
    DecisionRow,
    Entry,
    Found,
    InputKind,
    NewRun,
    OutcomeRow,
    Overview,
    Position,
    Rewind,
    RunFilter,
    RunRow,
    Write,
    rewind_of,
)
from tamiyo_service.store.shadows import ShadowStore


class _Retired(NamedTuple):
    """A run on its way out."""

    run: RunRow
    at: int
    to_archive: bool
    belongings: dict[type[Any], list[Any]]


class MemoryStore:
    """Keeps runs in dictionaries. See `Store` for the methods."""

    def __init__(self) -> None:
        self._runs: dict[str, RunRow] = {}
        self._labels: dict[int, tuple[tuple[str, str], ...]] = {}
        self._entries: dict[int, list[Entry]] = {}
        self.journal: Final = MemoryJournal(self._names)
        self._outcomes: dict[DecisionKey, tuple[OutcomeRow, ...]] = {}
        self._client_decisions: dict[DecisionKey, ClientDecisionRow] = {}
        self._retired: dict[int, _Retired] = {}
        self._created = 0
        self.models: ModelStore = MemoryModels()
        self.keys: KeyStore = MemoryKeys()
        self.tally = StoreTally()
        self._shadows = MemoryShadows(self.journal, self._keyed, self._before)
        self.shadows: ShadowStore = self._shadows

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def check(self) -> None:
        return

    def write_age(self) -> float:
        return 0.0

    def writes_waiting(self) -> int:
        return 0

    def append(
        self, write: Write, ended: Ended, waiter: asyncio.Future[None] | None = None
    ) -> asyncio.Future[None]:
        written = asyncio.get_running_loop().create_future() if waiter is None else waiter
        ended = self.journal.telling(ended)
        try:
            self._append(write)
        except VersionConflictError as error:
            ended(error)
            if not written.done():
                written.set_exception(error)
        else:
            self.tally.stored(write.entries)
            ended(None)
            if not written.done():
                written.set_result(None)
        return written

    async def create_run(self, run: NewRun) -> tuple[RunRow, bool]:
        if run.run_id in self._runs:
            return self._runs[run.run_id], False
        self._created += 1
        row = RunRow(self._created, run.run_id, run.config, run.rules_version, run.policy, run.created_at)
        self._runs[run.run_id] = row
        self._labels[row.run_pk] = run.labels
        self._entries[row.run_pk] = []
        return row, True

    async def delete_run(self, run_pk: int, at: int) -> bool:
        self._runs = {key: row for key, row in self._runs.items() if row.run_pk != run_pk}
        self._entries.pop(run_pk, None)
        self._labels.pop(run_pk, None)
        self.journal.forget(run_pk)
        self._shadows.forget(run_pk)
        self._outcomes = {key: rows for key, rows in self._outcomes.items() if key.run_pk != run_pk}
        self._client_decisions = {
            key: row for key, row in self._client_decisions.items() if key.run_pk != run_pk
        }
        return False

    async def run(self, run_id: str) -> RunRow | None:
        return self._runs.get(run_id)

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        row = self._runs.get(run_id)
        return None if row is None else (row, next(reversed(self._of(row.run_pk)), None))

    async def version(self, run_pk: int) -> int | None:
        if run_pk not in self._entries:
            return None
        return max((entry.seq for entry in self._of(run_pk)), default=0)

    async def entry_before(self, run_pk: int, seq: int) -> Entry | None:
        return self._numbered(run_pk, seq - 1)

    async def report(self, key: DecisionKey) -> Entry | None:
        found = (e for e in self._of(key.run_pk) if (e.attempt, e.epoch) == (key.attempt, key.epoch))
        return next(found, None)

    async def latest_report(self, run_pk: int, epoch: int) -> Entry | None:
        found = [entry for entry in self._of(run_pk) if entry.epoch == epoch]
        return max(found, key=lambda entry: entry.attempt, default=None)

    async def report_up_to(self, run_pk: int, attempt: int, epoch: int) -> Entry | None:
        reports = [e for e in self._of(run_pk) if e.attempt == attempt and e.epoch is not None]
        return next((e for e in reversed(reports) if e.epoch is not None and e.epoch <= epoch), None)

    async def rewinds(self, run_pks: Sequence[int]) -> dict[int, tuple[Rewind, ...]]:
        found = {
            run_pk: tuple(
                rewind_of(entry.attempt, entry.payload)
                for entry in self._of(run_pk)
                if entry.kind is InputKind.REWIND
            )
            for run_pk in run_pks
        }
        return {run_pk: rewinds for run_pk, rewinds in found.items() if rewinds}

    async def decisions(self, wanted: DecisionFilter, limit: int) -> Found[DecisionRow]:
        rows = self._decisions(wanted, self.journal.next)
        if wanted.ascending and wanted.run_pk is None:
            return _forward(rows, wanted.after, limit, self.journal.next)
        return _page(rows, wanted, limit)

    async def decisions_below(self, wanted: DecisionFilter, limit: int, below: int) -> Found[DecisionRow]:
        return _page(self._decisions(wanted, below), wanted, limit)

    async def decision_counts(self, wanted: DecisionFilter) -> dict[str, int]:
        rows = self._decisions(wanted, self.journal.next)
        return dict(sorted(Counter(row.entry.action or "" for row in rows).items()))

    async def outcomes(self, keys: Sequence[DecisionKey]) -> dict[DecisionKey, tuple[OutcomeRow, ...]]:
        return {key: self._outcomes[key] for key in keys if key in self._outcomes}

    async def runs(self, wanted: RunFilter, limit: int) -> Found[RunRow]:
        newest = sorted(self._runs.values(), key=lambda row: -row.run_pk)
        rows = [row for row in newest if self._wants_run(wanted, row)]
        more = len(rows) > limit
        return Found(rows[:limit], (rows[limit - 1].run_pk,) if more else None)

    async def labels(self, run_pks: Sequence[int]) -> dict[int, dict[str, str]]:
        return {run_pk: dict(sorted(self._labels.get(run_pk, ()))) for run_pk in run_pks}

    async def overviews(self, run_pks: Sequence[int]) -> dict[int, Overview]:
        return {run_pk: self._overview(run_pk) for run_pk in run_pks}

    async def add_client_decisions(self, rows: Sequence[ClientDecisionRow]) -> int | None:
        if any(row.run_pk not in self._entries for row in rows):
            return None
        known = len(self._client_decisions)
        for row in rows:
            self._client_decisions.setdefault(DecisionKey(row.run_pk, row.attempt, row.epoch), row)
        return len(self._client_decisions) - known

    async def expired(self, cutoffs: Cutoffs, after: int, limit: int) -> ExpiredPage:
        known = sorted((*self._runs.values(), *(gone.run for gone in self._retired.values())))
        window = [run for run in known if run.run_pk > after][:limit]
        looked = [self._looked_at(run) for run in window if run.run_pk not in self._retired]
        due = tuple(found for found in looked if _is_due(cutoffs, found))
        return ExpiredPage(due, window[-1].run_pk if window else None)

    async def retire(self, runs: Sequence[Expired], at: int, *, to_archive: bool) -> list[Expired]:
        as_seen = [found for found in runs if self._is_as_seen(found)]
        for found in as_seen:
            run = found.run
            self._retired[run.run_pk] = _Retired(run, at, to_archive, self._all_belongings(run.run_pk))
            labels = self._labels[run.run_pk]
            await self.delete_run(run.run_pk, 0)
            self._labels[run.run_pk] = labels
        return as_seen

    async def retired(self, before: int, limit: int) -> list[Retired]:
        found = (Retired(gone.run, gone.to_archive) for gone in self._retired.values() if gone.at < before)
        return sorted(found)[:limit]

    async def erase(self, run_pk: int, rows: int) -> int:
        gone = self._retired.get(run_pk)
        if gone is None:
            return 0
        kind = next((kind for kind, kept in gone.belongings.items() if kept), None)
        if kind is None:
            del self._retired[run_pk], self._labels[run_pk]
            return 1
        erased = len(gone.belongings[kind][:rows])
        del gone.belongings[kind][:rows]
        return erased

    async def belongings(
        self, kind: type[Belonging], run_pk: int, after: int, limit: int
    ) -> list[tuple[int, Belonging]]:
        gone = self._retired.get(run_pk)
        rows = (self._all_belongings(run_pk) if gone is None else gone.belongings)[kind]
        return [(position, row) for position, row in enumerate(rows, 1) if position > after][:limit]

    def _append(self, write: Write) -> None:
        for entry in write.entries:
            if self._taken(entry):
                raise VersionConflictError(f"input {entry.seq} of the run exists")
        for entry in write.entries:
            self._entries[entry.run_pk].append(entry)
            self.journal.append(entry)
        for outcome in write.outcomes:
            key = DecisionKey(outcome.run_pk, outcome.attempt, outcome.epoch)
            self._outcomes[key] = (*self._outcomes.get(key, ()), outcome)
        if write.labels is not None:
            self._labels[write.labels.run_pk] = write.labels.labels
        if write.status is not None:
            _, status, result = write.status
            self._touch(write.status.run_pk, status=status, result=result)
        if write.policy is not None:
            _, policy, chosen = write.policy
            self._touch(write.policy.run_pk, policy=policy, chosen=chosen)

    def _looked_at(self, run: RunRow) -> Expired:
        entries = self._of(run.run_pk)
        told = [row for row in self._client_decisions.values() if row.run_pk == run.run_pk]
        moments = (run.created_at, *(entry.at for entry in entries[-1:]), *(row.at for row in told))
        return Expired(run, entries[-1].seq if entries else 0, len(told), max(moments))

    def _is_as_seen(self, found: Expired) -> bool:
        run = self._runs.get(found.run.run_id)
        return run is not None and self._looked_at(run) == found

    def _all_belongings(self, run_pk: int) -> dict[type[Any], list[Any]]:
        outcomes = (rows for key, rows in self._outcomes.items() if key.run_pk == run_pk)
        told = (row for row in self._client_decisions.values() if row.run_pk == run_pk)
        return {
            Entry: list(self._of(run_pk)),
            OutcomeRow: [row for rows in outcomes for row in rows],
            ClientDecisionRow: list(told),
        }

    def _taken(self, entry: Entry) -> bool:
        entries = self._entries.get(entry.run_pk)
        return entries is None or any(
            other.seq == entry.seq
            or (entry.epoch is not None and (other.epoch, other.attempt) == (entry.epoch, entry.attempt))
            for other in entries
        )

    def _touch(self, run_pk: int, **changed: Any) -> None:
        row = self._keyed(run_pk)
        assert row is not None
        self._runs[row.run_id] = row._replace(**changed)

    def _overview(self, run_pk: int) -> Overview:
        entries = self._of(run_pk)
        reports = [entry for entry in entries if entry.epoch is not None]
        counts = Counter(sorted(entry.action or "" for entry in reports))
        last_report_at = reports[-1].at if reports else None
        return Overview(entries[-1] if entries else None, last_report_at, dict(counts))

    def _names(self) -> dict[int, str]:
        return {row.run_pk: row.run_id for row in self._runs.values()}

    def _keyed(self, run_pk: int) -> RunRow | None:
        return next((row for row in self._runs.values() if row.run_pk == run_pk), None)

    def _before(self, entry: Entry) -> Entry | None:
        return self._numbered(entry.run_pk, entry.seq - 1)

    def _numbered(self, run_pk: int, seq: int) -> Entry | None:
        return next((entry for entry in reversed(self._of(run_pk)) if entry.seq == seq), None)

    def _of(self, run_pk: int) -> list[Entry]:
        return self._entries.get(run_pk, [])

    def _decisions(self, wanted: DecisionFilter, below: int) -> list[DecisionRow]:
        names = self._names()
        rows = [
            DecisionRow(position, names[entry.run_pk], entry)
            for position, entry in self._positions(wanted, below)
            if _wants(wanted, entry) and _begins(names[entry.run_pk], wanted.prefixes)
        ]
        rows.sort(key=lambda row: row.position, reverse=not wanted.ascending)
        return rows

    def _positions(self, wanted: DecisionFilter, below: int) -> Iterator[tuple[Position, Entry]]:
        known = ((number, entry) for number, entry in self.journal.entries.items() if number < below)
        if wanted.run_pk is None:
            return (((entry.at, number), entry) for number, entry in known)
        return (((entry.seq,), entry) for _, entry in known if entry.run_pk == wanted.run_pk)

    def _wants_run(self, wanted: RunFilter, row: RunRow) -> bool:
        reports = [entry.at for entry in self._of(row.run_pk) if entry.epoch is not None]
        last_sign = reports[-1] if reports else row.created_at
        return (
            all(label in self._labels[row.run_pk] for label in wanted.labels)
            and wanted.policy in (None, row.policy)
            and wanted.status in (None, row.status)
            and (wanted.silent_since is None or last_sign <= wanted.silent_since)
            and (wanted.after is None or (row.run_pk,) < wanted.after)
            and _begins(row.run_id, wanted.prefixes)
        )


def _is_due(cutoffs: Cutoffs, found: Expired) -> bool:
    completed = found.run.status is RunStatus.COMPLETED
    moment = cutoffs.completed if completed else cutoffs.silent
    return moment is not None and found.last_at <= moment


def _page(rows: list[DecisionRow], wanted: DecisionFilter, limit: int) -> Found[DecisionRow]:
    if wanted.after is not None:
        after, ascending = wanted.after, wanted.ascending
        rows = [row for row in rows if (row.position > after if ascending else row.position < after)]
    more = len(rows) > limit
    return Found(rows[:limit], rows[limit - 1].position if more else None)


def _forward(
    rows: Sequence[DecisionRow], after: Position | None, limit: int, settled: int
) -> Found[DecisionRow]:
    """A page of all runs: first what was stored late; a position ends with the next unseen number."""
    if after is None:
        late, later = list[DecisionRow](), list(rows)
    else:
        *passed, seen = after
        late = [row for row in rows if row.position <= tuple(passed) and row.position[1] >= seen]
        late.sort(key=lambda row: row.position[1])
        later = [row for row in rows if row.position > tuple(passed)]
    if after is not None and len(late) >= limit:
        return Found(late[:limit], (*after[:-1], late[limit - 1].position[1] + 1))
    room = limit - len(late)
    more = len(later) > room
    return Found([*late, *later[:room]], (*later[room - 1].position, settled) if more else None)


def _wants(wanted: DecisionFilter, entry: Entry) -> bool:
    if entry.epoch is None or not _wants_action(wanted, entry.action or ""):
        return False
    return (
        (wanted.since_epoch is None or entry.epoch >= wanted.since_epoch)
        and (wanted.until_epoch is None or entry.epoch <= wanted.until_epoch)
        and wanted.policy in (None, entry.policy)
        and wanted.risk in (None, entry.risk)
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.until is None or entry.at < wanted.until)
    )


def _begins(run_id: str, prefixes: tuple[str, ...]) -> bool:
    return not prefixes or run_id.startswith(prefixes)


def _wants_action(wanted: DecisionFilter, action: str) -> bool:
    if not wanted.actions and not wanted.germinate:
        return True
    return action in wanted.actions or (wanted.germinate and action.startswith("GERMINATE_"))
