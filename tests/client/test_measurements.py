"""What a trainer has at hand becomes a report."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from tamiyo_client import UsageError
from tamiyo_client.measurements import EpochMeasurements, build_report
from tamiyo_leyline import EpochReport, SeedStage, SeedStateReport


def built(**measurements: Any) -> tuple[EpochReport, list[str]]:
    """The report of these measurements and the fields warned of."""
    warned: list[str] = []
    given: EpochMeasurements = {"epoch": 1, "available_slots": 2, **measurements}  # type: ignore[typeddict-item] # loose on purpose
    return build_report(given, warned.append), warned


class Tensor:
    """What a framework's zero-dimensional tensor looks like from outside."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def item(self) -> Any:
        if isinstance(self._value, Exception):
            raise self._value
        return self._value


def test_scalars_of_any_framework_are_numbers() -> None:
    report, warned = built(
        epoch=np.int64(3),
        global_step=Tensor(700),
        train_loss=Tensor(0.25),
        val_loss=np.float32(0.5),
        val_accuracy=np.array(71.5),
    )
    assert (report.epoch, report.global_step) == (3, 700)
    assert (report.train_loss, report.val_loss, report.val_accuracy) == (0.25, 0.5, 71.5)
    assert warned == []


def test_losses_that_are_not_finite_are_data() -> None:
    report, warned = built(train_loss=math.nan, val_loss=np.float64("-inf"))
    assert report.train_loss is not None
    assert math.isnan(report.train_loss)
    assert report.val_loss == -math.inf
    assert warned == []
    sent = json.loads(report.model_dump_json())
    assert (sent["train_loss"], sent["val_loss"]) == ("NaN", "-Infinity")


def test_other_measures_that_are_not_finite_count_as_not_measured() -> None:
    report, warned = built(val_accuracy=math.nan, grad_norm_host=Tensor(math.inf))
    assert report.val_accuracy is None
    assert report.grad_norm_host is None
    assert warned == ["val_accuracy", "grad_norm_host"]


def test_seeds_may_be_dicts_with_scalars_and_not_a_number() -> None:
    seed = {
        "seed_id": "a",
        "slot_id": "s",
        "blueprint_id": "norm",
        "stage": "TRAINING",
        "alpha": np.float64(0.5),
        "is_healthy": np.bool_(True),
        "metrics": {
            "current_val_accuracy": math.nan,
            "current_val_loss": math.nan,
            "parameters": np.int32(7),
        },
        "telemetry": {"gradient_norm": Tensor(2.0)},
        "annotations": {"note": "x"},
    }
    given = SeedStateReport(seed_id="b", slot_id="t", blueprint_id="norm", stage=SeedStage.BLENDING)
    report, warned = built(seeds=iter([seed, given]))
    first, second = report.seeds
    assert second is given
    assert (first.alpha, first.is_healthy, first.stage) == (0.5, True, SeedStage.TRAINING)
    assert first.metrics is not None
    assert first.metrics.current_val_accuracy is None
    assert first.metrics.parameters == 7
    assert math.isnan(first.metrics.current_val_loss or 0.0)
    assert first.telemetry is not None
    assert first.telemetry.gradient_norm == 2.0
    assert warned == ["current_val_accuracy"]


@pytest.mark.parametrize(
    ("telemetry", "kept"),
    [
        ({"gradient_norm": math.inf, "has_exploding": True}, True),
        ({"gradient_norm": math.nan, "gradient_health": 1.0}, False),
        ({"gradient_norm": math.nan}, False),
    ],
)
def test_telemetry_with_a_hole_never_claims_health(telemetry: dict[str, Any], kept: bool) -> None:
    seed = {"seed_id": "a", "slot_id": "s", "blueprint_id": "norm", "stage": 3, "telemetry": telemetry}
    report, _ = built(seeds=[seed])
    assert (report.seeds[0].telemetry is not None) is kept


def test_an_alpha_that_is_not_finite_is_refused() -> None:
    seed = {"seed_id": "a", "slot_id": "s", "blueprint_id": "norm", "stage": 3, "alpha": math.nan}
    with pytest.raises(UsageError, match=r"seeds\.0\.alpha"):
        built(seeds=[seed])


@pytest.mark.parametrize("value", [np.zeros(3), Tensor(RuntimeError("a Tensor with 2 elements"))])
def test_an_array_is_no_number(value: Any) -> None:
    with pytest.raises(UsageError, match="val_loss must be a single number"):
        built(val_loss=value)


def test_outcomes_may_be_dicts() -> None:
    report, _ = built(outcomes=[{"command_id": "c", "status": "FAILED"}])
    assert report.outcomes[0].command_id == "c"


def test_rounding_in_float32_is_no_mistake() -> None:
    noisy, start = np.float32(100.00001), np.float32(61.37)
    seed = {
        "seed_id": "s",
        "slot_id": "a",
        "blueprint_id": "norm",
        "stage": "TRAINING",
        "metrics": {
            "initial_val_accuracy": start,
            "current_val_accuracy": np.float32(98.611115),
            "total_improvement": np.float32(98.611115) - start,
        },
    }
    report, _ = built(train_accuracy=np.float32(1.0000001), val_accuracy=noisy, seeds=[seed])
    assert (report.train_accuracy, report.val_accuracy) == (1.0, 100.0)


@pytest.mark.parametrize("accuracy", [100.001, 101.0, -0.1])
def test_an_accuracy_out_of_range_is_refused(accuracy: float) -> None:
    with pytest.raises(UsageError, match="val_accuracy must be between 0 and 100"):
        built(val_accuracy=accuracy)
