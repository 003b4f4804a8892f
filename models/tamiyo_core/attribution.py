"""What a seed is worth: its improvements, and the host's own progress to be taken off them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tamiyo_leyline import SeedMetrics

from tamiyo_core.rules import (
    DRIFT_DAMPING,
    DRIFT_MINIMUM,
    LARGEST_POINTS,
    SMALLEST_REFERENCE,
)
from tamiyo_core.state import SeedTrack


class Improvements(NamedTuple):
    """What was measured of one seed, points (objective val_loss: percent); None: not measured."""

    since_stage_start: float | None
    total: float | None
    over_counterfactual: float | None
    """Against the host with the seed's alpha at 0."""


NOT_MEASURED = Improvements(None, None, None)


def accuracy_improvements(metrics: SeedMetrics) -> Improvements:
    """The improvements of validation accuracy, percentage points."""
    current, counterfactual = metrics.current_val_accuracy, metrics.counterfactual_val_accuracy
    return Improvements(
        metrics.improvement_since_stage_start,
        metrics.total_improvement,
        None if current is None or counterfactual is None else current - counterfactual,
    )


def loss_improvements(metrics: SeedMetrics) -> Improvements:
    """The improvements of validation loss, percent of the loss each starts from."""
    current = metrics.current_val_loss
    return Improvements(
        relative_improvement(metrics.loss_at_stage_start, current),
        relative_improvement(metrics.initial_val_loss, current),
        relative_improvement(metrics.counterfactual_val_loss, current),
    )


def relative_improvement(reference: float | None, current: float | None) -> float | None:
    """100 · (reference − current) / |reference|, in percent; None where either is missing or not finite.

    A reference of zero counts as `SMALLEST_REFERENCE`; the result stays within ± `LARGEST_POINTS`.
    """
    if reference is None or current is None or not math.isfinite(reference) or not math.isfinite(current):
        return None
    size = max(abs(reference), SMALLEST_REFERENCE)
    return bounded_points(100.0 * ((reference - current) / size))


def bounded_points(value: float) -> float:
    """`value` within ± `LARGEST_POINTS`."""
    return max(-LARGEST_POINTS, min(LARGEST_POINTS, value))


def host_slope(slopes: Sequence[float]) -> float:
    """The host's progress per epoch: median of the last measured improvements, at least 0."""
    if len(slopes) < DRIFT_MINIMUM:
        return 0.0
    return max(0.0, statistics.median(slopes))


def expected_drift(track: SeedTrack, epoch: int) -> float:
    """What the host would have gained since the seed began to train: s · Σₖ₌₁..ₙ 0.8ᵏ, a damped trend.

    Gardner & McKenzie (1985), "Forecasting trends in time series", with damping 0.8; points.
    """
    if track.training_epoch is None or track.drift_slope == 0.0:
        return 0.0
    decayed = 1.0 - DRIFT_DAMPING ** (epoch - track.training_epoch)
    return track.drift_slope * DRIFT_DAMPING * decayed / (1.0 - DRIFT_DAMPING)


def attributed(improvements: Improvements, drift: float) -> float | None:
    """The part of a seed's improvement that is its own; None: not measured.

    The counterfactual says it directly; without one, the host's expected drift is taken off the total.
    """
    if improvements.over_counterfactual is not None or improvements.total is None:
        return improvements.over_counterfactual
    return improvements.total - drift
