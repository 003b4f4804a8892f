"""What a trainer reports at the end of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

from pydantic import BaseModel, FailFast, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tamiyo_leyline.constraints import fault, repeated
from tamiyo_leyline.enums import SeedStage
from tamiyo_leyline.fields import (
    MAX_SEEDS,
    Accuracy,
    Annotations,
    BlueprintName,
    CommandId,
    Count,
    Identifier,
    KnownOutcome,
    Loss,
    NonNegative,
    Points,
    Probability,
    Request,
    StageName,
    Text,
)

IMPROVEMENT_TOLERANCE: Final = 1e-4
"""How far a reported improvement may stray from the accuracies it is made of, in percentage points: float32
accuracies near 100 are 8e-6 apart, and each of several may be rounded."""

_IMPROVEMENTS: Final = (
    ("total_improvement", "initial_val_accuracy"),
    ("improvement_since_stage_start", "accuracy_at_stage_start"),
)
"""Each improvement is current_val_accuracy minus this accuracy."""


class SeedMetrics(Request):
    """What the trainer measured of one seed. Improvements are derived where absent."""

    epochs_total: Count | None = Field(None, description="Epochs since the seed germinated.")
    epochs_in_current_stage: Count | None = Field(
        None, description="Epochs in the current stage; absent: counted from the stage's first report."
    )
    initial_val_accuracy: Accuracy | None = Field(None, description="Percent, at germination.")
    current_val_accuracy: Accuracy | None = Field(None, description="Percent, now.")
    best_val_accuracy: Accuracy | None = Field(None, description="Percent, best since germination.")
    accuracy_at_stage_start: Accuracy | None = Field(None, description="Percent, when the stage began.")
    total_improvement: Points | None = Field(
        None, description="Percentage points: current_val_accuracy − initial_val_accuracy."
    )
    improvement_since_stage_start: Points | None = Field(
        None, description="Percentage points: current_val_accuracy − accuracy_at_stage_start."
    )
    counterfactual_val_accuracy: Accuracy | None = Field(
        None, description="Percent: validation accuracy with this seed's alpha at 0."
    )
    initial_val_loss: Loss | None = Field(None, description="Validation loss at germination.")
    current_val_loss: Loss | None = Field(None, description="Validation loss now.")
    loss_at_stage_start: Loss | None = Field(None, description="Validation loss when the stage began.")
    counterfactual_val_loss: Loss | None = Field(None, description="Validation loss with alpha at 0.")
    isolation_violations: Count | None = Field(
        None, description="How often the seed's gradients leaked into the host while it was isolated."
    )
    gradient_norm_avg: NonNegative | None = Field(None, description="Mean L2 norm of the seed's gradients.")
    current_alpha: Probability | None = Field(None, description="Blending weight, 0–1.")
    alpha_ramp_step: Count | None = Field(None, description="Step of the blending ramp.")
    parameters: Count | None = Field(None, description="Number of parameters of the seed.")

    @model_validator(mode="after")
    def _improvements_agree(self) -> SeedMetrics:
        # The instance is still under construction here: nobody has seen it without the derived values.
        values = self.__dict__
        current = values["current_val_accuracy"]
        if current is None:
            return self
        for improvement, reference in _IMPROVEMENTS:
            start = values[reference]
            if start is None:
                continue
            if values[improvement] is None:
                values[improvement] = current - start
            else:
                _require_agreement(improvement, values[improvement], current - start)
        return self


def _require_agreement(field: str, reported: float, derived: float) -> None:
    if abs(reported - derived) > IMPROVEMENT_TOLERANCE:
        raise fault(
            "contradictory_improvement",
            field,
            f"is {reported}, but the accuracies say {derived}; leave it out to have it derived",
        )


class SeedTelemetry(Request):
    """The health of a seed's gradients."""

    gradient_norm: NonNegative = Field(0.0, description="L2 norm of the seed's gradients.")
    gradient_health: Probability = Field(1.0, description="0 (useless) to 1 (healthy).")
    has_vanishing: bool = Field(False, description="Whether gradients vanish.")
    has_exploding: bool = Field(False, description="Whether gradients explode.")


class SeedStateReport(Request):
    """One seed as the trainer sees it."""

    seed_id: Identifier = Field(description="Unique in the report.")
    slot_id: Identifier = Field(description="The slot it sits in; unique in the report.")
    blueprint_id: BlueprintName = Field(description="A blueprint of the run's topology.")
    stage: StageName = Field(description="Current stage, by name.")
    previous_stage: StageName | None = Field(None, description="Stage before the current one.")
    alpha: Probability = Field(0.0, description="Blending weight: 0 isolated, 1 fully in.")
    metrics: SeedMetrics | None = Field(None, description="What was measured of the seed.")
    telemetry: SeedTelemetry | None = Field(None, description="Gradient health; absent: not measured.")
    is_healthy: bool | None = Field(None, description="The trainer's own verdict.")
    annotations: Annotations = Field(default_factory=dict, description="Free text by key.")


class CommandOutcome(Request):
    """What became of a command issued earlier."""

    command_id: CommandId = Field(description="The command's id, as issued.")
    status: KnownOutcome = Field(description="EXECUTED, REFUSED, FAILED or EXPIRED.")
    detail: Text = Field("", description="Why, in the trainer's words.")


class EpochReport(Request):
    """Body of ``POST /runs/{run_id}/epoch``: what one evaluation measured."""

    epoch: Count = Field(description="Number of the evaluation; strictly increasing, gaps allowed.")
    attempt: Count = Field(0, description="Raised by a rewind; 0 for a run that never rewound.")
    global_step: Count = Field(0, description="Optimizer steps so far.")
    train_loss: Loss | None = Field(
        None, description='Training loss; null: not measured; "NaN", "Infinity", "-Infinity": diverged.'
    )
    val_loss: Loss | None = Field(
        None, description='Validation loss; null: not measured; "NaN", "Infinity", "-Infinity": diverged.'
    )
    train_accuracy: Accuracy | None = Field(None, description="Percent; null: not measured.")
    val_accuracy: Accuracy | None = Field(None, description="Percent; null: not measured.")
    seeds: Annotated[
        tuple[SeedStateReport, ...],
        FailFast(),
        Field(max_length=MAX_SEEDS, strict=False),
    ] = Field(default=(), description="Every seed the trainer holds, at most 64.")
    available_slots: Count = Field(description="Slots free for a new seed.")
    grad_norm_host: NonNegative | None = Field(None, description="L2 norm of the host's gradients.")
    gpu_memory_gb: NonNegative | None = Field(None, description="GPU memory in use, GiB.")
    gpu_utilization: Probability | None = Field(None, description="Share of time the GPU was busy, 0–1.")
    epoch_duration_ms: NonNegative | None = Field(None, description="Wall time of the epoch, ms.")
    outcomes: Annotated[
        tuple[CommandOutcome, ...],
        FailFast(),
        Field(max_length=256, strict=False),
    ] = Field(default=(), description="What became of earlier commands.")

    @model_validator(mode="after")
    def _seeds_are_distinct(self) -> EpochReport:
        if len(self.seeds) > 1:
            _require_unique("seed_id", repeated(seed.seed_id for seed in self.seeds))
            _require_unique("slot_id", repeated(seed.slot_id for seed in self.seeds))
        return self

    def in_percent(self) -> EpochReport:
        """This report with accuracies given as fractions (0–1) multiplied by 100, seeds' improvements too.

        Raises:
            pydantic.ValidationError: naming every accuracy above 1 and every improvement beyond ±1.
        """
        _require_fractions(self)
        return self.model_copy(
            update=_in_percent(self, _ACCURACIES) | {"seeds": tuple(map(_seed_in_percent, self.seeds))}
        )


_ACCURACIES: Final = ("train_accuracy", "val_accuracy")
_SEED_ACCURACIES: Final = (
    "initial_val_accuracy",
    "current_val_accuracy",
    "best_val_accuracy",
    "accuracy_at_stage_start",
    "counterfactual_val_accuracy",
)


_IMPROVED: Final = tuple(improvement for improvement, _ in _IMPROVEMENTS)


def _in_percent(schema: BaseModel, fields: tuple[str, ...]) -> dict[str, float]:
    values = {field: getattr(schema, field) for field in fields}
    return {field: value * 100.0 for field, value in values.items() if value is not None}


def _seed_in_percent(seed: SeedStateReport) -> SeedStateReport:
    if seed.metrics is None:
        return seed
    scaled = _in_percent(seed.metrics, (*_SEED_ACCURACIES, *_IMPROVED))
    return seed.model_copy(update={"metrics": seed.metrics.model_copy(update=scaled | _derived(scaled))})


def _derived(accuracies: dict[str, float]) -> dict[str, float]:
    # Scaling an improvement would scale its rounding error too, beyond the tolerance of the next reader.
    current = accuracies.get("current_val_accuracy")
    return {
        improvement: current - accuracies[reference]
        for improvement, reference in _IMPROVEMENTS
        if current is not None and reference in accuracies
    }


def _require_fractions(report: EpochReport) -> None:
    faults = [*_beyond_one(report, _ACCURACIES, _NO_FRACTION, ())]
    for index, seed in enumerate(report.seeds):
        if seed.metrics is not None:
            place = ("seeds", index, "metrics")
            faults += _beyond_one(seed.metrics, _SEED_ACCURACIES, _NO_FRACTION, place)
            faults += _beyond_one(seed.metrics, _IMPROVED, _NO_DIFFERENCE, place)
    if faults:
        raise ValidationError.from_exception_data("EpochReport", faults)


def _beyond_one(
    schema: BaseModel, fields: Iterable[str], kind: PydanticCustomError, place: tuple[str | int, ...]
) -> Iterator[InitErrorDetails]:
    # An improvement may stray from its accuracies by the tolerance, from 0 and 1 too.
    limit = 1.0 if kind is _NO_FRACTION else 1.0 + IMPROVEMENT_TOLERANCE
    for field in fields:
        value = getattr(schema, field)
        if value is not None and abs(value) > limit:
            yield InitErrorDetails(type=kind, loc=(*place, field), input=value)


_NO_FRACTION: Final = PydanticCustomError(
    "accuracy_fraction", "must be between 0 and 1: this run's accuracy_unit is fraction"
)
_NO_DIFFERENCE: Final = PydanticCustomError(
    "improvement_fraction",
    "must be between -1 and 1: this run's accuracy_unit is fraction; divide percentage points by 100",
)


def _require_unique(field: str, duplicates: str) -> None:
    if duplicates:
        raise fault("duplicate", "seeds", f"repeat the {field} {duplicates}, which must be unique")


TELEMETRY_FEATURES: Final = (
    "gradient_norm",
    "gradient_health",
    "has_vanishing",
    "has_exploding",
    "epochs_in_stage",
    "accuracy",
    "accuracy_delta",
    "stage",
    "alpha",
    "progress",
)
"""Names of the ten seed telemetry features, in order."""


def telemetry_features(
    telemetry: SeedTelemetry | None,
    *,
    stage: SeedStage,
    alpha: float,
    epochs_in_stage: int,
    accuracy: float,
    accuracy_delta: float,
    progress: float,
) -> tuple[float, ...]:
    """The ten features of a seed, in the order of `TELEMETRY_FEATURES`, clamped and finite (NaN counts as 0).

    Args:
        telemetry: gradient health; None counts as healthy with norm 0.
        stage: the seed's stage.
        alpha: blending weight, 0–1.
        epochs_in_stage: epochs in the current stage.
        accuracy: the seed's current validation accuracy, percent.
        accuracy_delta: its change since the report before, percentage points.
        progress: epoch / max_epochs.
    """
    health = telemetry or SeedTelemetry()
    return (
        min(health.gradient_norm, 10.0) / 10.0,
        health.gradient_health,
        float(health.has_vanishing),
        float(health.has_exploding),
        min(epochs_in_stage, 50) / 50.0,
        _clamp(accuracy / 100.0, 0.0, 1.0),
        _clamp(accuracy_delta / 10.0, -1.0, 1.0),
        _clamp((stage - 1) / 6.0, 0.0, 1.0),
        _clamp(alpha, 0.0, 1.0),
        _clamp(progress, 0.0, 1.0),
    )


def _clamp(value: float, low: float, high: float) -> float:
    if math.isnan(value):
        return 0.0
    return max(low, min(high, value))
