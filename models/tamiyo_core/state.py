"""The state of a run: small immutable values, and their snapshot as JSON.

A snapshot is nested lists of numbers, strings and nulls, in the order of the fields; it starts with the
number of its format. Restoring a snapshot gives a state that equals the original.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from tamiyo_leyline import ActionKind, CommandStatus, SeedStage

SNAPSHOT_FORMAT: Final = 1
_Value = TypeVar("_Value")


class SnapshotError(ValueError):
    """A snapshot cannot be read: it is damaged or of another format. Restore from an earlier one."""


class SeedTrack(NamedTuple):
    """What the tracker remembers of one seed. Epochs are epoch numbers of reports."""

    seed_id: str
    slot_id: str
    blueprint_id: str
    stage: SeedStage
    alpha: float
    stage_epoch: int
    """First report in the current stage."""
    training_epoch: int | None = None
    """First report at TRAINING or later."""
    drift_slope: float = 0.0
    """The host's progress per epoch before that, points."""
    best_improvement: float | None = None
    """Best improvement since the stage began; None: never measured."""
    best_epoch: int = 0
    settled_epoch: int | None = None
    """Report in which alpha first reached 0.95."""
    blended_epoch: int | None = None
    """First report at BLENDING or later."""
    accuracy_history: tuple[float, ...] = ()
    isolation_violations: int = 0


class TrackerState(NamedTuple):
    """What the tracker remembers of a run. Last values are the last measured, finite ones."""

    reports: int = 0
    epoch: int | None = None
    measured_epoch: int | None = None
    """Last epoch that measured the objective."""
    train_loss: float | None = None
    val_loss: float | None = None
    train_accuracy: float | None = None
    val_accuracy: float | None = None
    best_val_accuracy: float | None = None
    best_val_loss: float | None = None
    highest_accuracy: float | None = None
    """Highest accuracy of any kind, to recognise fractions."""
    plateau_epochs: int = 0
    average: float = 0.0
    """Moving average of the improvement, not bias-corrected."""
    averaged: int = 0
    """How many improvements entered it."""
    surgery_unmeasured: bool = False
    """Whether surgery happened since the last measured epoch: the next delta stays out."""
    diverged_reports: int = 0
    loss_history: tuple[float, ...] = ()
    accuracy_history: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    """The last measured improvements, per epoch."""
    seeds: tuple[SeedTrack, ...] = ()


class TrackedCommand(NamedTuple):
    """A command whose fate is not settled."""

    command_id: str
    kind: ActionKind
    seed_id: str | None
    blueprint_id: str | None
    expires_after_epoch: int
    status: CommandStatus = CommandStatus.ISSUED
    executed_epoch: int | None = None
    counted: bool = False
    """For a CULL: whether the seed's cull already cost its penalty and embargo."""


class Penalty(NamedTuple):
    """A blueprint's penalty as it was at an epoch."""

    blueprint_id: str
    value: float
    epoch: int


class Failure(NamedTuple):
    """A command that was refused or failed: told in the next reason that concerns its seed."""

    command_id: str
    kind: ActionKind
    seed_id: str | None
    status: CommandStatus
    detail: str


class LedgerState(NamedTuple):
    """What the ledger remembers of the commands of a run."""

    open: tuple[TrackedCommand, ...] = ()
    late: tuple[TrackedCommand, ...] = ()
    """Expired commands, the oldest first: a late EXECUTED still counts."""
    last_cull_epoch: int | None = None
    penalties: tuple[Penalty, ...] = ()
    cursor: int = 0
    """Position in the blueprint rotation."""
    germinations: int = 0
    culled_seeds: tuple[str, ...] = ()
    """Reported seeds whose cull already counted."""
    failures: tuple[Failure, ...] = ()
    wait: str | None = None
    """Id of the last reply's WAIT: an outcome of it is no news."""


class QueuedOutcome(NamedTuple):
    """An outcome told between reports; it takes effect with the next one."""

    command_id: str
    status: CommandStatus
    detail: str


class RunState(NamedTuple):
    """Everything that decides what a run's next report is answered with."""

    tracker: TrackerState = TrackerState()
    ledger: LedgerState = LedgerState()
    policy: Any = None
    queued: tuple[QueuedOutcome, ...] = ()


def snapshot_values(state: RunState) -> list[Any]:
    """Tracker, ledger and queued outcomes as JSON-safe lists (the policy snapshots its own part)."""
    tracker, ledger = state.tracker, state.ledger
    return [
        [*tracker[:-1], [list(seed) for seed in tracker.seeds]],
        [
            [list(command) for command in ledger.open],
            [list(command) for command in ledger.late],
            ledger.last_cull_epoch,
            [list(penalty) for penalty in ledger.penalties],
            ledger.cursor,
            ledger.germinations,
            ledger.culled_seeds,
            [list(failure) for failure in ledger.failures],
            ledger.wait,
        ],
        [list(outcome) for outcome in state.queued],
    ]


def restored_values(tracker: Any, ledger: Any, queued: Any, policy: Any) -> RunState:
    """The inverse of `snapshot_values`.

    Raises:
        SnapshotError: if the lists are not a snapshot.
    """
    try:
        return RunState(
            _tracker(tracker), _ledger(ledger), policy, tuple(_outcome(*outcome) for outcome in queued)
        )
    except (TypeError, ValueError, IndexError) as error:
        raise SnapshotError(f"not a snapshot of format {SNAPSHOT_FORMAT}: {error}") from error


def _tracker(values: list[Any]) -> TrackerState:
    *scalars, losses, accuracies, slopes, seeds = values
    tracks = tuple(_seed(*seed) for seed in seeds)
    return _made(TrackerState, *scalars, tuple(losses), tuple(accuracies), tuple(slopes), tracks)


def _seed(seed_id: str, slot_id: str, blueprint_id: str, stage: int, *rest: Any) -> SeedTrack:
    *scalars, history, violations = rest
    return _made(
        SeedTrack, seed_id, slot_id, blueprint_id, SeedStage(stage), *scalars, tuple(history), violations
    )


def _made(kind: Callable[..., _Value], *values: Any) -> _Value:
    """A named tuple of exactly these values; a wrong number of them is a TypeError."""
    return kind(*values)


def _ledger(values: list[Any]) -> LedgerState:
    opened, late, last_cull, penalties, cursor, germinations, culled, failures, wait = values
    return LedgerState(
        tuple(_command(*command) for command in opened),
        tuple(_command(*command) for command in late),
        last_cull,
        tuple(Penalty(*penalty) for penalty in penalties),
        cursor,
        germinations,
        tuple(culled),
        tuple(_failure(*failure) for failure in failures),
        wait,
    )


def _command(
    command_id: str,
    kind: str,
    seed_id: str | None,
    blueprint_id: str | None,
    expires: int,
    status: str,
    *rest: Any,
) -> TrackedCommand:
    return TrackedCommand(
        command_id, ActionKind(kind), seed_id, blueprint_id, expires, CommandStatus(status), *rest
    )


def _failure(command_id: str, kind: str, seed_id: str | None, status: str, detail: str) -> Failure:
    return Failure(command_id, ActionKind(kind), seed_id, CommandStatus(status), detail)


def _outcome(command_id: str, status: str, detail: str) -> QueuedOutcome:
    return QueuedOutcome(command_id, CommandStatus(status), detail)
