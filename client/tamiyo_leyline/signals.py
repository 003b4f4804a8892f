"""What a tracker derives from reports, and the 27 features a policy network reads.

Signals are named tuples rather than schemas: one is built for every report of every run, and nothing in
them comes from outside. They travel as JSON objects.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from tamiyo_leyline.enums import SeedStage
from tamiyo_leyline.fields import AS_OBJECT, Loss, StageName

MISSING_LOSS: Final = 10.0
"""Stands for a loss that is not finite or was never measured, and caps best_val_loss."""
FEATURE_LIMIT: Final = 3.0e38
"""Largest magnitude of a feature: every feature is finite as a 32-bit float."""
VISIBLE_HISTORY: Final = 5
_PADDING: Final = (0.0,) * VISIBLE_HISTORY


class TrainingMetrics(NamedTuple):
    """The host's training at one report."""

    epoch: Annotated[int, Field(description="Number of the evaluation.")]
    global_step: Annotated[int, Field(description="Optimizer steps so far.")]
    train_loss: Annotated[Loss | None, Field(description="Reported, else the last measured; null: never.")]
    val_loss: Annotated[Loss | None, Field(description="Reported, else the last measured; null: never.")]
    loss_delta: Annotated[float, Field(description="Previous − current validation loss: positive is better.")]
    train_accuracy: Annotated[float | None, Field(description="Percent, last measured; null: never.")]
    val_accuracy: Annotated[float | None, Field(description="Percent, last measured; null: never.")]
    accuracy_delta: Annotated[float, Field(description="Percentage points since the last measured epoch.")]
    smoothed_accuracy_delta: Annotated[
        float,
        Field(description="Bias-corrected moving average of the improvement: points (val_loss: percent)."),
    ]
    plateau_epochs: Annotated[int, Field(description="Measured reports in a row without improvement.")]
    best_val_accuracy: Annotated[float | None, Field(description="Percent, best of the whole run.")]
    best_val_loss: Annotated[float | None, Field(description="Lowest of the whole run.")]
    grad_norm_host: Annotated[float | None, Field(description="L2 norm of the host's gradients.")]
    diverged: Annotated[bool, Field(description="Whether a loss of this report is not finite.")]
    measured: Annotated[bool, Field(description="Whether this report measured the objective.")]


class SeedSignals(NamedTuple):
    """One seed at one report. Improvements are percentage points (objective val_loss: percent)."""

    seed_id: Annotated[str, Field(description="The seed.")]
    slot_id: Annotated[str, Field(description="The slot it sits in.")]
    blueprint_id: Annotated[str, Field(description="Its blueprint.")]
    stage: Annotated[StageName, Field(description="Current stage, by name.")]
    is_live: Annotated[bool, Field(description="Whether a policy decides about it.")]
    alpha: Annotated[float, Field(description="Blending weight, 0–1.")]
    epochs_in_stage: Annotated[int, Field(description="Reported, else since the stage's first report.")]
    improvement_since_stage_start: Annotated[float | None, Field(description="null: not measured.")]
    total_improvement: Annotated[float | None, Field(description="Since germination; null: not measured.")]
    attributed_improvement: Annotated[
        float | None, Field(description="The part of the improvement owed to the seed; null: not measured.")
    ]
    expected_drift: Annotated[float, Field(description="What the host would have gained without the seed.")]
    best_stage_improvement: Annotated[float | None, Field(description="Best since the stage began.")]
    epochs_since_best: Annotated[int, Field(description="Epochs since that best; 0 if never measured.")]
    epochs_since_settled: Annotated[
        int | None, Field(description="Epoch numbers since alpha first reached 0.95; null: not yet.")
    ]
    blended_epoch: Annotated[int | None, Field(description="First report at BLENDING or later.")]
    accuracy_history: Annotated[tuple[float, ...], Field(description="Own window, percent, oldest first.")]
    gradient_norm: Annotated[float | None, Field(description="L2 norm of the seed's gradients.")]
    gradient_health: Annotated[float | None, Field(description="0–1; null: no telemetry.")]
    has_vanishing: Annotated[bool, Field(description="Whether its gradients vanish.")]
    has_exploding: Annotated[bool, Field(description="Whether its gradients explode.")]


class FastTrainingSignals(NamedTuple):
    """The TensorSchema: 27 features in the order a network reads them."""

    epoch: float
    global_step: float
    train_loss: float
    val_loss: float
    loss_delta: float
    train_accuracy: float
    val_accuracy: float
    accuracy_delta: float
    plateau_epochs: float
    best_val_accuracy: float
    best_val_loss: float
    loss_hist_0: float
    loss_hist_1: float
    loss_hist_2: float
    loss_hist_3: float
    loss_hist_4: float
    acc_hist_0: float
    acc_hist_1: float
    acc_hist_2: float
    acc_hist_3: float
    acc_hist_4: float
    has_active_seed: float
    seed_stage: float
    seed_epochs_in_stage: float
    seed_alpha: float
    seed_improvement: float
    available_slots: float

    def to_vector(self) -> list[float]:
        """The 27 features as a list of finite floats."""
        return list(self)


FEATURE_NAMES: Final = FastTrainingSignals._fields
"""Names of the 27 features, in order."""
TENSOR_SCHEMA_VERSION: Final = 1
"""Raised when a feature changes its place or meaning."""


class TrainingSignals(NamedTuple):
    """Everything a policy sees of a run at one report."""

    metrics: Annotated[TrainingMetrics, AS_OBJECT, Field(description="The host's training.")]
    seeds: Annotated[
        tuple[Annotated[SeedSignals, AS_OBJECT], ...], Field(description="One per reported seed, by slot_id.")
    ]
    available_slots: Annotated[int, Field(description="Slots free for a new seed.")]
    loss_history: Annotated[tuple[float, ...], Field(description="Validation losses, oldest first.")]
    accuracy_history: Annotated[tuple[float, ...], Field(description="Validation accuracies, oldest first.")]

    @property
    def summary_seed(self) -> SeedSignals | None:
        """The live seed furthest along: by stage, then alpha, then seed_id; None without a live seed."""
        furthest = None
        for seed in self.seeds:
            if seed.is_live and (furthest is None or _progress(seed) > _progress(furthest)):
                furthest = seed
        return furthest

    def to_fast(self) -> FastTrainingSignals:
        """The 27 features; missing history is padded on the left with zeros.

        Every feature is finite, as a 32-bit float too: see `loss_feature` and `feature`.
        """
        m = self.metrics
        values = (
            float(m.epoch),
            float(m.global_step),
            loss_feature(m.train_loss),
            loss_feature(m.val_loss),
            feature(m.loss_delta),
            feature(m.train_accuracy),
            feature(m.val_accuracy),
            feature(m.accuracy_delta),
            float(m.plateau_epochs),
            feature(m.best_val_accuracy),
            min(loss_feature(m.best_val_loss), MISSING_LOSS),
            *padded(tuple(map(loss_feature, self.loss_history[-VISIBLE_HISTORY:]))),
            *padded(tuple(map(feature, self.accuracy_history[-VISIBLE_HISTORY:]))),
            *_seed_features(self.summary_seed),
            float(self.available_slots),
        )
        return FastTrainingSignals._make(values)

    def to_vector(self) -> list[float]:
        """The 27 features as a list of finite floats."""
        return list(self.to_fast())


def loss_feature(loss: float | None) -> float:
    """The loss as a feature: `MISSING_LOSS` where it is not finite or was never measured."""
    if loss is None or not math.isfinite(loss):
        return MISSING_LOSS
    return feature(loss)


def feature(value: float | None) -> float:
    """The value as a feature, within ±`FEATURE_LIMIT`: 0.0 where it is NaN or was never measured."""
    if value is None:
        return 0.0
    if -FEATURE_LIMIT <= value <= FEATURE_LIMIT:
        return value
    return 0.0 if math.isnan(value) else math.copysign(FEATURE_LIMIT, value)


def padded(history: tuple[float, ...]) -> tuple[float, ...]:
    """Up to five values, oldest first, padded on the left with zeros."""
    return _PADDING[len(history) :] + history


def _progress(seed: SeedSignals) -> tuple[SeedStage, float, str]:
    return (seed.stage, seed.alpha, seed.seed_id)


def _seed_features(seed: SeedSignals | None) -> tuple[float, float, float, float, float]:
    if seed is None:
        return (0.0, 0.0, 0.0, 0.0, 0.0)
    return (
        1.0,
        float(seed.stage),
        float(seed.epochs_in_stage),
        feature(seed.alpha),
        feature(seed.improvement_since_stage_start),
    )
