"""A target that is missed, or was never measured, is never called met."""

from __future__ import annotations

import math

import pytest

from bench.__main__ import benches
from bench.targets import TARGETS, Target

AT_MOST = Target("core", "figures.median_us", 60.0, True, "a time")
AT_LEAST = Target("core", "speedup", 2.0, False, "a speed")


@pytest.mark.parametrize(("value", "met"), [(59.0, True), (60.0, True), (60.1, False), (math.nan, False)])
def test_upper_bound_is_met_up_to_itself(value: float, met: bool) -> None:
    assert AT_MOST.met(value) is met


@pytest.mark.parametrize(("value", "met"), [(2.0, True), (1.9, False), (math.nan, False)])
def test_lower_bound_is_met_from_itself_on(value: float, met: bool) -> None:
    assert AT_LEAST.met(value) is met


def test_value_is_found_within_nested_figures() -> None:
    assert AT_MOST.value({"figures": {"median_us": 41.5}}) == 41.5


@pytest.mark.parametrize("figures", [{}, {"figures": {}}, {"figures": 3.0}, {"figures": {"median_us": None}}])
def test_figure_that_was_not_measured_is_not_a_number(figures: dict[str, object]) -> None:
    assert math.isnan(AT_MOST.value(figures))


def test_every_target_has_its_bench() -> None:
    assert {target.bench for target in TARGETS} <= set(benches())
