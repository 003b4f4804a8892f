"""Enumerations of the wire. Members travel as their names; integer values are accepted on input."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, TypeVar


class SeedStage(IntEnum):
    """Where a seed stands in its life.

    ::

        UNKNOWN → DORMANT → GERMINATED → TRAINING → BLENDING → SHADOWING → PROBATIONARY → FOSSILIZED
                     ↑           └───────────┴──────────┴───────────┴────────────┘
                     │                                  ↓
                 RESETTING  ←  EMBARGOED  ←          CULLED
    """

    UNKNOWN = 0
    DORMANT = 1
    GERMINATED = 2
    TRAINING = 3
    BLENDING = 4
    SHADOWING = 5
    PROBATIONARY = 6
    FOSSILIZED = 7
    CULLED = 8
    EMBARGOED = 9
    RESETTING = 10

    @property
    def is_live(self) -> bool:
        """Whether a policy decides about a seed in this stage."""
        return 2 <= self <= 6

    @property
    def is_failed(self) -> bool:
        """Whether the seed is on the way back to DORMANT after a cull."""
        return 8 <= self <= 10

    @property
    def in_forward_pass(self) -> bool:
        """Whether the host's forward pass runs the seed's module."""
        return 3 <= self <= 7

    def may_become(self, target: SeedStage) -> bool:
        """Whether moving to `target` is a legal transition; staying always is."""
        return target == self or target in LEGAL_TRANSITIONS[self]


LEGAL_TRANSITIONS: Final[dict[SeedStage, frozenset[SeedStage]]] = {
    SeedStage.UNKNOWN: frozenset({SeedStage.DORMANT}),
    SeedStage.DORMANT: frozenset({SeedStage.GERMINATED}),
    SeedStage.GERMINATED: frozenset({SeedStage.TRAINING, SeedStage.CULLED}),
    SeedStage.TRAINING: frozenset({SeedStage.BLENDING, SeedStage.CULLED}),
    SeedStage.BLENDING: frozenset({SeedStage.SHADOWING, SeedStage.CULLED}),
    SeedStage.SHADOWING: frozenset({SeedStage.PROBATIONARY, SeedStage.CULLED}),
    SeedStage.PROBATIONARY: frozenset({SeedStage.FOSSILIZED, SeedStage.CULLED}),
    SeedStage.FOSSILIZED: frozenset(),
    SeedStage.CULLED: frozenset({SeedStage.EMBARGOED}),
    SeedStage.EMBARGOED: frozenset({SeedStage.RESETTING}),
    SeedStage.RESETTING: frozenset({SeedStage.DORMANT}),
}
"""Every move a seed may make from one stage to another."""


class RiskLevel(IntEnum):
    """How much a command can hurt the training."""

    GREEN = 1
    YELLOW = 2
    ORANGE = 3
    RED = 4
    CRITICAL = 5


class CommandType(StrEnum):
    """What a trainer is asked to do."""

    GERMINATE = "GERMINATE"
    ADVANCE_STAGE = "ADVANCE_STAGE"
    CULL = "CULL"
    SET_ALPHA = "SET_ALPHA"
    SET_LEARNING_RATE = "SET_LEARNING_RATE"
    PAUSE_SEED = "PAUSE_SEED"
    RESUME_SEED = "RESUME_SEED"
    REQUEST_STATE = "REQUEST_STATE"


class CommandStatus(StrEnum):
    """What became of a command.

    ::

        ISSUED → EXECUTED   the trainer did it (FAILED follows when the seed contradicts it)
               → REFUSED    the trainer would not
               → FAILED     the trainer could not
               → EXPIRED    nobody answered in time (EXECUTED may still follow)
    """

    ISSUED = "ISSUED"
    EXECUTED = "EXECUTED"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


class ActionKind(StrEnum):
    """The four kinds of action; GERMINATE is one action for each blueprint."""

    WAIT = "WAIT"
    GERMINATE = "GERMINATE"
    FOSSILIZE = "FOSSILIZE"
    CULL = "CULL"


class Objective(StrEnum):
    """The figure that says whether a training improves."""

    VAL_ACCURACY = "val_accuracy"
    VAL_LOSS = "val_loss"


class AccuracyUnit(StrEnum):
    """How the trainer writes accuracies: 0–100 or 0–1."""

    PERCENT = "percent"
    FRACTION = "fraction"


class RunStatus(StrEnum):
    """Whether a run takes reports (ACTIVE), waits for its operator (HELD) or is over (COMPLETED)."""

    ACTIVE = "ACTIVE"
    HELD = "HELD"
    COMPLETED = "COMPLETED"


class RunResult(StrEnum):
    """How a training ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"


class TelemetryEventType(StrEnum):
    """What happened in a run."""

    SEED_GERMINATED = "SEED_GERMINATED"
    SEED_STAGE_CHANGED = "SEED_STAGE_CHANGED"
    SEED_FOSSILIZED = "SEED_FOSSILIZED"
    SEED_CULLED = "SEED_CULLED"
    EPOCH_COMPLETED = "EPOCH_COMPLETED"
    PLATEAU_DETECTED = "PLATEAU_DETECTED"
    IMPROVEMENT_DETECTED = "IMPROVEMENT_DETECTED"
    ISOLATION_VIOLATION = "ISOLATION_VIOLATION"
    GRADIENT_ANOMALY = "GRADIENT_ANOMALY"
    PERFORMANCE_DEGRADATION = "PERFORMANCE_DEGRADATION"
    COMMAND_ISSUED = "COMMAND_ISSUED"
    COMMAND_EXECUTED = "COMMAND_EXECUTED"
    COMMAND_FAILED = "COMMAND_FAILED"
    DIVERGENCE_DETECTED = "DIVERGENCE_DETECTED"
    POLICY_FALLBACK = "POLICY_FALLBACK"
    OPERATOR_OVERRIDE = "OPERATOR_OVERRIDE"


NamedValue = TypeVar("NamedValue", SeedStage, RiskLevel)


def member_of(enumeration: type[NamedValue], value: object) -> NamedValue:
    """Return the member that `value` names, by name or by integer value.

    Raises:
        ValueError: if it names none; the message lists the valid names.
    """
    if isinstance(value, str):
        named = enumeration.__members__.get(value)
        if named is not None:
            return named
    if isinstance(value, enumeration):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value in enumeration._value2member_map_:
        return enumeration(value)
    raise ValueError(f"must be one of {', '.join(enumeration.__members__)}")
