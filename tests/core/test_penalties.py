"""Penalties fall with epochs; a blueprint is barred while they stand."""

from __future__ import annotations

import pytest
from tamiyo_core.penalties import PenaltyRule
from tamiyo_core.state import Penalty
from tamiyo_leyline import HeuristicConfig

DEFAULT = PenaltyRule(HeuristicConfig())
ONE_CULL = (Penalty("norm", 2.0, 100),)


@pytest.mark.parametrize("elapsed", [0, 1, 7, 50, 99, 100, 216])
def test_a_penalty_halves_over_fifty_epochs(elapsed: int) -> None:
    assert DEFAULT.at(ONE_CULL, 100 + elapsed)["norm"] == pytest.approx(2.0 * 0.5 ** (elapsed / 50))


def test_a_penalty_vanishes_below_a_tenth() -> None:
    assert "norm" in DEFAULT.at(ONE_CULL, 316)
    assert DEFAULT.at(ONE_CULL, 317) == {}


def test_asking_often_changes_nothing() -> None:
    penalties = ONE_CULL
    for epoch in range(100, 150):
        DEFAULT.at(penalties, epoch)
    assert DEFAULT.at(penalties, 150) == {"norm": 1.0}


def test_one_cull_bars_for_fifty_epochs_and_two_for_about_a_hundred() -> None:
    def barred(penalties: tuple[Penalty, ...]) -> int:
        return sum(DEFAULT.at(penalties, epoch).get("norm", 0.0) >= 1.0 for epoch in range(101, 400))

    assert barred(ONE_CULL) == 50
    assert barred(DEFAULT.after_cull(ONE_CULL, "norm", 100)) == 100


def test_a_cull_adds_to_what_is_left_and_leaves_the_others_alone() -> None:
    both = DEFAULT.after_cull(DEFAULT.after_cull(ONE_CULL, "lora", 120), "norm", 150)
    assert both == (Penalty("lora", 2.0, 120), Penalty("norm", 3.0, 150))


def test_vanished_penalties_are_forgotten() -> None:
    assert DEFAULT.after_cull(ONE_CULL, "lora", 1000) == (Penalty("lora", 2.0, 1000),)


def test_the_largest_penalty_stays_finite() -> None:
    rule = PenaltyRule(HeuristicConfig(blueprint_penalty_on_cull=1.7e308, blueprint_penalty_decay=1.0))
    penalties: tuple[Penalty, ...] = ()
    for epoch in range(9):
        penalties = rule.after_cull(penalties, "norm", epoch)
    assert penalties[0].value == 1e300


@pytest.mark.parametrize("decay", [0.0, 5e-324, 1.0])
def test_every_decay_gives_a_finite_penalty_at_every_epoch(decay: float) -> None:
    rule = PenaltyRule(HeuristicConfig(blueprint_penalty_decay=decay))
    assert rule.at(ONE_CULL, 100) == {"norm": 2.0}
    assert rule.at(ONE_CULL, 2**53 - 1) == ({"norm": 2.0} if decay == 1.0 else {})
