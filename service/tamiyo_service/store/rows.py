"""What a store keeps, as plain immutable rows. Moments are microseconds since 1970, UTC."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

from tamiyo_leyline import RunStatus

Listed = TypeVar("Listed")

Position = tuple[int, ...]
"""Where an item stands in its list: a decision by moment and id, within one run by its number; a run by its
key."""


class Found(NamedTuple, Generic[Listed]):
    """What a search for one page came to."""

    rows: list[Listed]
    resume: Position | None
    """Where the next page begins: after this position. None: there is no more.

    A page may hold fewer rows than it has room for, even none, and yet not be the last: a search looks at a
    bounded number of rows.
    """


class InputKind(StrEnum):
    """The kinds of numbered input of a run."""

    REPORT = "report"
    OUTCOME = "outcome"
    HOLD = "hold"
    RELEASE = "release"
    REWIND = "rewind"
    COMPLETE = "complete"
    OVERRIDE = "override"
    WITHDRAWAL = "withdrawal"
    """Of an override that no report has taken yet."""
    POLICY = "policy"
    NOTE = "note"
    LABELS = "labels"
    PRUNE = "prune"
    """The last input of a run on its way out; see `store.retention`."""


class RunRow(NamedTuple):
    """A run as created; only `policy`, `status`, `result` and `chosen` ever change, never with a report."""

    run_pk: int
    run_id: str
    config: str
    """RunConfig as JSON, defaults filled in."""
    rules_version: str
    policy: str
    """Name of the policy it has now."""
    created_at: int
    status: RunStatus = RunStatus.ACTIVE
    result: str | None = None
    chosen: str | None = None
    """The policy an operator gave it since, a PolicyChoice as JSON; None: that of its configuration."""


class DecisionKey(NamedTuple):
    """Names a decision."""

    run_pk: int
    attempt: int
    epoch: int


class Entry(NamedTuple):
    """One numbered input of a run, with what it led to. Entries are only ever appended.

    The order of the fields is the order of the journal's columns after its id.
    """

    run_pk: int
    seq: int
    """1, 2, 3 … within the run: the run's version."""
    kind: InputKind
    attempt: int
    """The attempt it belongs to; for a rewind the one it opens."""
    epoch: int | None
    """The epoch reported; None for inputs that are no reports."""
    at: int
    action: str | None
    """The first action of the decision; None for inputs that are no reports."""
    risk: int | None
    """The highest risk of its commands."""
    policy: str | None
    backfill: bool
    hold: str | None
    """The operator's hold in force with and after it."""
    warnings: str | None
    """JSON list; None: none."""
    events: str | None
    """JSON list of telemetry events; None: none."""
    payload: str
    """The validated input as JSON."""
    reply: str | None
    """The exact reply to a report."""
    state: str
    """Snapshot of the run's state after it, as JSON."""
    advice: str | None = None
    """What a network said about a report, as JSON: a list of one [log_probs, value, uncertainty] for each
    question, or a string that tells why there is no advice. None: no network was asked."""
    override: str | None = None
    """An operator's order as JSON, a list in the order of `Override`. Of a report: the one it was decided
    with. Of a late report, or of another input: the one that waits for the next report."""

    @property
    def key(self) -> DecisionKey:
        """Of the decision, where it is a report."""
        return DecisionKey(self.run_pk, self.attempt, self.epoch or 0)

    @property
    def waiting_override(self) -> str | None:
        """The operator's order that waits after this input."""
        return None if self.kind is InputKind.REPORT and not self.backfill else self.override


def run_of(row: Sequence[Any]) -> RunRow:
    """A run as a database gives it."""
    run = RunRow._make(row)
    return run._replace(status=RunStatus(run.status))


def entry_of(row: Sequence[Any]) -> Entry:
    """An entry as a database gives it."""
    entry = Entry._make(row)
    return entry._replace(kind=InputKind(entry.kind))


class OutcomeRow(NamedTuple):
    """What became known of a command, and in which report."""

    run_pk: int
    attempt: int
    epoch: int
    """Attempt and epoch of the decision that issued the command."""
    command_id: str
    status: str
    known_epoch: int
    detail: str
    known_attempt: int | None = None
    """None: it was stored before this was."""


class StatusRow(NamedTuple):
    """A change of a run's status."""

    run_pk: int
    status: RunStatus
    result: str | None


class LabelsRow(NamedTuple):
    """The labels a run has from now on."""

    run_pk: int
    labels: tuple[tuple[str, str], ...]


class PolicyRow(NamedTuple):
    """The policy a run has from now on."""

    run_pk: int
    policy: str
    """Its name."""
    chosen: str
    """A PolicyChoice as JSON."""


class Write(NamedTuple):
    """What one request appends: all of it or nothing."""

    entries: tuple[Entry, ...]
    outcomes: tuple[OutcomeRow, ...] = ()
    status: StatusRow | None = None
    labels: LabelsRow | None = None
    policy: PolicyRow | None = None


class NewRun(NamedTuple):
    """A run to create."""

    run_id: str
    config: str
    rules_version: str
    policy: str
    created_at: int
    labels: tuple[tuple[str, str], ...] = ()


class Rewind(NamedTuple):
    """A rewind of a run."""

    attempt: int
    """The attempt it opened."""
    to_epoch: int
    """Last epoch it kept; −1: none."""
    resumed_epoch: int | None
    """The report that it resumed after; None: it began anew."""

    @property
    def kept_epoch(self) -> int:
        """Last epoch that was there to be kept, however far it was said to go back; −1: none."""
        return -1 if self.resumed_epoch is None else self.resumed_epoch


def rewind_of(attempt: int, payload: str) -> Rewind:
    """The rewind that an entry's payload describes."""
    data = json.loads(payload)
    to_epoch = data["to_epoch"]
    return Rewind(attempt, -1 if to_epoch is None else to_epoch, data["resumed_epoch"])


class Overview(NamedTuple):
    """What a run has done so far."""

    last: Entry | None
    """Its latest input."""
    last_report_at: int | None
    counts: dict[str, int]
    """Decisions by action."""


class DecisionRow(NamedTuple):
    """A report's entry as the history lists it."""

    position: Position
    run_id: str
    entry: Entry


@dataclass(frozen=True)
class DecisionFilter:
    """Which decisions to list. None stands for any.

    Attributes:
        run_pk: of one run only.
        actions: exact names of actions.
        germinate: whether every GERMINATE_… matches besides `actions`.
        since_epoch, until_epoch: both included.
        policy: name.
        risk: the highest risk of the commands.
        since, until: moments, `until` excluded.
        ascending: oldest first.
        after: where the page before ended.
        prefixes: of runs whose ids begin with one of them; empty: of any.
    """

    run_pk: int | None = None
    actions: frozenset[str] = frozenset()
    germinate: bool = False
    since_epoch: int | None = None
    until_epoch: int | None = None
    policy: str | None = None
    risk: int | None = None
    since: int | None = None
    until: int | None = None
    ascending: bool = False
    after: Position | None = None
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFilter:
    """Which runs to list, the newest first. None stands for any.

    Attributes:
        labels: key and value pairs, all of which must match.
        policy: name.
        status: ACTIVE, HELD or COMPLETED.
        silent_since: the last report (the creation, if there is none) is no later than this moment.
        after: where the page before ended.
        prefixes: those whose ids begin with one of them; empty: any.
    """

    labels: tuple[tuple[str, str], ...] = ()
    policy: str | None = None
    status: RunStatus | None = None
    silent_since: int | None = None
    after: Position | None = None
    prefixes: tuple[str, ...] = ()


class ClientDecisionRow(NamedTuple):
    """What a trainer did while the service was silent."""

    run_pk: int
    attempt: int
    epoch: int
    at: int
    payload: str
