"""Which blueprint is next: round-robin, sparing the barred; and the choice by chance."""

from __future__ import annotations

import pytest
from tamiyo_core.rotation import choose_blueprint, cursor_past, next_blueprint

ROTATION = ("a", "b", "c")


@pytest.mark.parametrize(("cursor", "name"), [(0, "a"), (1, "b"), (2, "c"), (3, "a"), (7, "b")])
def test_the_rotation_goes_round(cursor: int, name: str) -> None:
    assert next_blueprint(ROTATION, cursor, {}, 1.0) == name


@pytest.mark.parametrize(("penalty", "name"), [(0.99, "b"), (1.0, "c")])
def test_a_blueprint_is_barred_from_the_threshold_on(penalty: float, name: str) -> None:
    assert next_blueprint(ROTATION, 1, {"b": penalty}, 1.0) == name


def test_the_least_penalised_is_taken_when_all_are_barred() -> None:
    assert next_blueprint(ROTATION, 0, {"a": 3.0, "b": 2.0, "c": 4.0}, 1.0) == "b"


@pytest.mark.parametrize(("cursor", "name"), [(0, "a"), (1, "c"), (2, "c")])
def test_ties_are_broken_by_the_order_from_the_cursor(cursor: int, name: str) -> None:
    assert next_blueprint(ROTATION, cursor, {"a": 2.0, "b": 3.0, "c": 2.0}, 1.0) == name


@pytest.mark.parametrize(
    ("rotation", "cursor", "name", "expected"),
    [
        (ROTATION, 0, "a", 1),
        (ROTATION, 0, "c", 0),
        (ROTATION, 2, "b", 2),
        (ROTATION, 1, "unknown", 1),
        (("a", "a", "b"), 0, "a", 1),
        (("a", "a", "b"), 1, "a", 2),
    ],
)
def test_the_cursor_moves_past_the_chosen(
    rotation: tuple[str, ...], cursor: int, name: str, expected: int
) -> None:
    assert cursor_past(rotation, cursor, name) == expected


def test_without_exploration_no_chance_is_involved() -> None:
    assert choose_blueprint(ROTATION, 1, {}, 1.0, 0.0, 0.0) == ("b", None)


def test_exploration_draws_evenly_among_the_unbarred() -> None:
    penalties = {"b": 5.0}
    picks = [choose_blueprint(ROTATION, 0, penalties, 1.0, 0.4, n / 1000).blueprint_id for n in range(1000)]
    assert picks[:200] == ["a"] * 200
    assert picks[200:400] == ["c"] * 200
    assert picks[400:] == ["a"] * 600


def test_the_probabilities_are_those_of_the_draws() -> None:
    draws = [choose_blueprint(ROTATION, 1, {"a": 2.0}, 1.0, 0.5, n / 1000) for n in range(1000)]
    counted = {name: sum(d.blueprint_id == name for d in draws) / 1000 for name in ("b", "c")}
    assert draws[0].probabilities == pytest.approx(counted) == {"b": 0.75, "c": 0.25}


def test_when_all_are_barred_exploration_has_no_choice() -> None:
    barred = dict.fromkeys(ROTATION, 9.0)
    assert choose_blueprint(ROTATION, 1, barred, 1.0, 1.0, 0.7) == ("b", {"b": 1.0})


@pytest.mark.parametrize("draw", [0.0, 1.0 - 2**-53])
@pytest.mark.parametrize("exploration", [5e-324, 0.3, 1.0])
def test_every_draw_picks_a_blueprint(exploration: float, draw: float) -> None:
    choice = choose_blueprint(ROTATION, 0, {}, 1.0, exploration, draw)
    assert choice.blueprint_id in ROTATION
    assert choice.probabilities is not None
    assert sum(choice.probabilities.values()) == pytest.approx(1.0)
