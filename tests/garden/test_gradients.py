from __future__ import annotations

import math

import pytest
import torch
from tamiyo_garden.gradients import GradientMeter, gradient_norm


def metered(*norms: float) -> GradientMeter:
    meter = GradientMeter()
    for norm in norms:
        meter.record(norm)
    return meter


def test_the_norm_is_that_of_all_gradients_together() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm(parameters) == pytest.approx(5.0)


def test_without_gradients_the_norm_is_0() -> None:
    assert gradient_norm([torch.nn.Parameter(torch.zeros(2))]) == 0.0


def test_an_epoch_without_steps_has_no_telemetry() -> None:
    assert metered().telemetry() is None
    assert metered().mean is None


def test_usual_gradients_are_healthy() -> None:
    telemetry = metered(0.5, 1.5).telemetry()
    assert telemetry is not None
    assert (telemetry.gradient_norm, telemetry.gradient_health) == (1.0, 1.0)
    assert not telemetry.has_vanishing
    assert not telemetry.has_exploding


def test_gradients_that_vanish_are_told() -> None:
    telemetry = metered(0.0, 1e-9).telemetry()
    assert telemetry is not None
    assert telemetry.has_vanishing
    assert telemetry.gradient_health == 0.0


@pytest.mark.parametrize("norm", [math.nan, math.inf, 1e6])
def test_gradients_that_explode_are_told_in_finite_numbers(norm: float) -> None:
    telemetry = metered(1.0, norm, 1.0, 1.0).telemetry()
    assert telemetry is not None
    assert telemetry.has_exploding
    assert telemetry.gradient_health == 0.75
    assert math.isfinite(telemetry.gradient_norm)


def test_an_epoch_of_nothing_but_nan_still_has_a_finite_norm() -> None:
    telemetry = metered(math.nan, math.nan).telemetry()
    assert telemetry is not None
    assert (telemetry.gradient_norm, telemetry.gradient_health) == (0.0, 0.0)
    assert telemetry.has_exploding
