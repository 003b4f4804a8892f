from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tamiyo_leyline import FEATURE_NAMES, SeedSignals, SeedStage, TrainingMetrics, TrainingSignals

HISTORY = range(5)
NAMES = [
    *["epoch", "global_step", "train_loss", "val_loss", "loss_delta"],
    *["train_accuracy", "val_accuracy", "accuracy_delta"],
    *["plateau_epochs", "best_val_accuracy", "best_val_loss"],
    *[f"loss_hist_{place}" for place in HISTORY],
    *[f"acc_hist_{place}" for place in HISTORY],
    *["has_active_seed", "seed_stage", "seed_epochs_in_stage", "seed_alpha", "seed_improvement"],
    "available_slots",
]
METRICS = TrainingMetrics(
    epoch=12,
    global_step=1200,
    train_loss=0.4,
    val_loss=0.5,
    loss_delta=0.02,
    train_accuracy=80.0,
    val_accuracy=78.0,
    accuracy_delta=0.6,
    smoothed_accuracy_delta=0.4,
    plateau_epochs=2,
    best_val_accuracy=79.0,
    best_val_loss=0.48,
    grad_norm_host=1.0,
    diverged=False,
    measured=True,
)
SEED = SeedSignals(
    seed_id="seed-1",
    slot_id="slot-a",
    blueprint_id="norm",
    stage=SeedStage.BLENDING,
    is_live=True,
    alpha=0.5,
    epochs_in_stage=4,
    improvement_since_stage_start=1.25,
    total_improvement=2.0,
    attributed_improvement=None,
    expected_drift=0.5,
    best_stage_improvement=1.5,
    epochs_since_best=1,
    epochs_since_settled=None,
    blended_epoch=9,
    accuracy_history=(76.0, 77.0),
    gradient_norm=1.0,
    gradient_health=0.9,
    has_vanishing=False,
    has_exploding=False,
)
SIGNALS = TrainingSignals(METRICS, (SEED,), 1, (0.9, 0.8, 0.7, 0.6, 0.55, 0.5), (70.0, 75.0, 78.0))


def features(signals: TrainingSignals) -> dict[str, float]:
    return signals.to_fast()._asdict()


def with_metrics(**values: Any) -> TrainingSignals:
    return SIGNALS._replace(metrics=METRICS._replace(**values))


def with_seeds(*seeds: SeedSignals) -> TrainingSignals:
    return SIGNALS._replace(seeds=seeds)


def test_the_27_features_stand_in_the_order_of_the_tensor_schema() -> None:
    assert list(FEATURE_NAMES) == NAMES
    assert len(NAMES) == 27


def test_features_of_a_measured_epoch_with_one_seed() -> None:
    assert SIGNALS.to_vector() == [
        *[12.0, 1200.0, 0.4, 0.5, 0.02, 80.0, 78.0, 0.6, 2.0, 79.0, 0.48],
        *[0.8, 0.7, 0.6, 0.55, 0.5],
        *[0.0, 0.0, 70.0, 75.0, 78.0],
        *[1.0, 4.0, 4.0, 0.5, 1.25],
        1.0,
    ]


def test_to_fast_names_what_to_vector_lists() -> None:
    assert SIGNALS.to_fast().to_vector() == SIGNALS.to_vector()
    assert SIGNALS.to_fast().seed_alpha == 0.5


@given(signals=st.from_type(TrainingSignals))
def test_features_are_27_floats_that_32_bits_hold(signals: TrainingSignals) -> None:
    vector = signals.to_vector()
    assert len(vector) == 27
    assert all(isinstance(value, float) and math.isfinite(value) for value in vector)
    struct.pack("27f", *vector)  # raises OverflowError beyond the range of 32 bits


@pytest.mark.parametrize("count", range(8))
def test_the_last_five_values_are_padded_on_the_left(count: int) -> None:
    history = tuple(float(value) for value in range(1, count + 1))
    signals = SIGNALS._replace(loss_history=history, accuracy_history=history)
    expected = [0.0] * (5 - count) + list(history[-5:])
    vector = signals.to_vector()
    assert vector[11:16] == expected
    assert vector[16:21] == expected


@pytest.mark.parametrize("loss", [None, math.nan, math.inf, -math.inf])
def test_losses_not_finite_or_never_measured_are_ten(loss: float | None) -> None:
    values = features(with_metrics(train_loss=loss, val_loss=loss, best_val_loss=loss))
    assert values["train_loss"] == values["val_loss"] == values["best_val_loss"] == 10.0


def test_only_the_best_loss_is_capped() -> None:
    values = features(with_metrics(train_loss=25.0, val_loss=30.0, best_val_loss=20.0))
    assert (values["train_loss"], values["val_loss"], values["best_val_loss"]) == (25.0, 30.0, 10.0)


@pytest.mark.parametrize("accuracy", [None, math.nan])
def test_accuracies_never_measured_are_zero(accuracy: float | None) -> None:
    values = features(
        with_metrics(train_accuracy=accuracy, val_accuracy=accuracy, best_val_accuracy=accuracy)
    )
    assert values["train_accuracy"] == values["val_accuracy"] == values["best_val_accuracy"] == 0.0


def test_figures_beyond_32_bits_are_held_at_their_limit() -> None:
    values = features(with_metrics(val_loss=1e300, loss_delta=-math.inf))
    assert (values["val_loss"], values["loss_delta"]) == (3.0e38, -3.0e38)


def test_without_a_live_seed_the_seed_features_are_zero() -> None:
    fossil = SEED._replace(stage=SeedStage.FOSSILIZED, is_live=False)
    for signals in (with_seeds(), with_seeds(fossil)):
        assert signals.summary_seed is None
        assert signals.to_vector()[21:26] == [0.0] * 5


def test_an_improvement_not_measured_is_zero() -> None:
    assert features(with_seeds(SEED._replace(improvement_since_stage_start=None)))["seed_improvement"] == 0.0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"stage": SeedStage.TRAINING, "alpha": 1.0}, {"stage": SeedStage.SHADOWING, "alpha": 0.0}),
        ({"alpha": 0.25}, {"alpha": 0.5}),
        ({"seed_id": "a"}, {"seed_id": "b"}),
        ({"stage": SeedStage.FOSSILIZED, "is_live": False}, {"stage": SeedStage.GERMINATED}),
        ({"stage": SeedStage.CULLED, "is_live": False}, {"stage": SeedStage.TRAINING}),
    ],
)
def test_the_summary_seed_is_the_live_one_furthest_along(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    earlier, later = SEED._replace(**first), SEED._replace(**second)
    assert with_seeds(earlier, later).summary_seed == later
    assert with_seeds(later, earlier).summary_seed == later
