"""Names of decisions and commands, and the random number of a report."""

from __future__ import annotations

import statistics

import pytest
from tamiyo_core import command_id, decision_id, parse_command_id, uniform_draw


def test_a_command_id_says_where_it_was_issued() -> None:
    name = command_id(decision_id("team:run-1.2", 3, 40), 2)
    assert name == "team:run-1.2@3.40.2"
    assert parse_command_id(name) == ("team:run-1.2", 3, 40, 2)


@pytest.mark.parametrize("text", ["", "run", "run@1.2", "@1.2.3", "run@1.2.x", "run@1.2.3.4", "run@١.2.3"])
def test_other_texts_are_no_command_ids(text: str) -> None:
    assert parse_command_id(text) is None


def test_a_draw_is_the_same_for_the_same_report_and_differs_for_others() -> None:
    draws = {
        uniform_draw(*place)
        for place in [
            ("a", 0, 1, "x"),
            ("a", 0, 2, "x"),
            ("a", 1, 1, "x"),
            ("b", 0, 1, "x"),
            ("a", 0, 1, "y"),
        ]
    }
    assert len(draws) == 5
    assert uniform_draw("a", 0, 1, "x") == uniform_draw("a", 0, 1, "x")


def test_draws_are_uniform() -> None:
    draws = sorted(uniform_draw("run", 0, epoch, "blueprint") for epoch in range(10_000))
    assert draws[0] >= 0.0
    assert draws[-1] < 1.0
    worst = max(abs(draw - (n + 0.5) / 10_000) for n, draw in enumerate(draws))
    # Kolmogorov–Smirnov: 1.63 / √n is the 1 % point.
    assert worst < 1.63 / 100
    assert statistics.mean(draws) == pytest.approx(0.5, abs=0.01)
