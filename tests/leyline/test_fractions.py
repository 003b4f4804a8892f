from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tamiyo_leyline import EpochReport, field_errors

SEED = {"seed_id": "seed-1", "slot_id": "slot-a", "blueprint_id": "norm", "stage": "TRAINING"}
fractions = st.floats(min_value=0.0, max_value=1.0)


def report(metrics: dict[str, float] | None = None, **fields: Any) -> EpochReport:
    seeds = [SEED if metrics is None else SEED | {"metrics": metrics}]
    return EpochReport.model_validate({"epoch": 1, "available_slots": 1, "seeds": seeds} | fields)


def test_accuracies_are_multiplied_by_100_and_nothing_else_is() -> None:
    percent = report(val_accuracy=0.25, train_accuracy=0.5, val_loss=0.25, gpu_utilization=0.5).in_percent()
    assert (percent.val_accuracy, percent.train_accuracy) == (25.0, 50.0)
    assert (percent.val_loss, percent.gpu_utilization) == (0.25, 0.5)


def test_accuracies_not_measured_stay_so() -> None:
    percent = report().in_percent()
    assert percent == report()


def test_seed_accuracies_and_improvements_are_multiplied_too() -> None:
    metrics = (
        report(
            {
                "initial_val_accuracy": 0.25,
                "current_val_accuracy": 0.5,
                "best_val_accuracy": 0.75,
                "counterfactual_val_accuracy": 0.125,
                "improvement_since_stage_start": 0.0625,
                "current_val_loss": 0.5,
                "current_alpha": 0.5,
            }
        )
        .in_percent()
        .seeds[0]
        .metrics
    )
    assert metrics is not None
    assert (metrics.initial_val_accuracy, metrics.current_val_accuracy) == (25.0, 50.0)
    assert (metrics.best_val_accuracy, metrics.counterfactual_val_accuracy) == (75.0, 12.5)
    assert (metrics.total_improvement, metrics.improvement_since_stage_start) == (25.0, 6.25)
    assert (metrics.current_val_loss, metrics.current_alpha) == (0.5, 0.5)


@given(initial=fractions, start=fractions, current=fractions, rounding=st.floats(-9e-7, 9e-7))
def test_the_converted_report_can_be_read_again(
    initial: float, start: float, current: float, rounding: float
) -> None:
    percent = report(
        {
            "initial_val_accuracy": initial,
            "accuracy_at_stage_start": start,
            "current_val_accuracy": current,
            "total_improvement": current - initial + rounding,
        }
    ).in_percent()
    assert EpochReport.model_validate_json(percent.model_dump_json()) == percent


def test_every_accuracy_above_one_is_named() -> None:
    metrics = {"current_val_accuracy": 50.0, "best_val_accuracy": 1.0}
    with pytest.raises(ValidationError) as caught:
        report(metrics, val_accuracy=78.0, train_accuracy=0.5).in_percent()
    assert {error.field: error.message for error in field_errors(caught.value)} == {
        "val_accuracy": "must be between 0 and 1: this run's accuracy_unit is fraction, got 78.0",
        "seeds.0.metrics.current_val_accuracy": (
            "must be between 0 and 1: this run's accuracy_unit is fraction, got 50.0"
        ),
    }


@pytest.mark.parametrize("field", ["total_improvement", "improvement_since_stage_start"])
@pytest.mark.parametrize("points", [30.0, -1.5])
def test_an_improvement_in_points_is_refused_with_the_remedy(field: str, points: float) -> None:
    with pytest.raises(ValidationError) as caught:
        report({field: points}).in_percent()
    assert {error.field: error.message for error in field_errors(caught.value)} == {
        f"seeds.0.metrics.{field}": (
            "must be between -1 and 1: this run's accuracy_unit is fraction; "
            f"divide percentage points by 100, got {points}"
        )
    }


@pytest.mark.parametrize("whole", [1.0, -1.0])
def test_an_improvement_may_be_as_large_as_fractions_allow(whole: float) -> None:
    metrics = report({"total_improvement": whole}).in_percent().seeds[0].metrics
    assert metrics is not None
    assert metrics.total_improvement == 100.0 * whole


def test_converting_leaves_the_report_unchanged() -> None:
    original = report({"current_val_accuracy": 0.5}, val_accuracy=0.5)
    before = original.model_dump_json()
    original.in_percent()
    assert original.model_dump_json() == before
