"""Why: the parts of a DecisionRecord."""

from __future__ import annotations

import pytest
from tamiyo_core import explain_features, explain_slots
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_leyline import FEATURE_NAMES


def test_every_slot_is_explained_and_germination_last() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    step = run.report(
        10,
        seed("s2", "TRAINING", slot_id="b"),
        seed("s1", "PROBATIONARY", slot_id="a"),
        seed("f", "FOSSILIZED"),
    )
    slots = explain_slots(run.engine, step)
    assert [(slot.slot_id, slot.seed_id) for slot in slots] == [("a", "s1"), ("b", "s2"), (None, None)]
    assert [slot.mask["FOSSILIZE"] for slot in slots] == [True, False, False]
    assert slots[2].mask["GERMINATE_NORM"]
    assert all(slot.reason for slot in slots)


def test_a_decision_tells_the_numbers_it_compared() -> None:
    fall = seed("s1", "TRAINING", improvement_since_stage_start=-9.0, epochs_in_current_stage=9)
    run = Rehearsal()
    compared = explain_slots(run.engine, run.report(10, fall))[0].comparisons
    assert [(c.name, c.value, c.threshold, c.holds) for c in compared] == [
        ("improvement_since_stage_start", -9.0, -2.0, True),
        ("epochs_in_stage", 9.0, 5.0, True),
    ]


def test_probabilities_are_told_by_name() -> None:
    run = Rehearsal(
        {"tracker": {"plateau_smoothing": 0.0}, "heuristic": {"blueprint_exploration": 0.2}},
    )
    for epoch in range(9):
        run.report(epoch, val_accuracy=50.0, available_slots=0)
    (slot,) = explain_slots(run.engine, run.report(9, val_accuracy=50.0))
    assert slot.probabilities is not None
    assert slot.probabilities["GERMINATE_NORM"] == pytest.approx(0.85)
    assert slot.runner_up == "WAIT"


def test_the_features_are_told_by_name() -> None:
    features = explain_features(Rehearsal().report(7, val_accuracy=61.5))
    assert tuple(features) == FEATURE_NAMES
    assert (features["epoch"], features["val_accuracy"], features["val_loss"]) == (7.0, 61.5, 10.0)
