"""One signal per seed: windows, epochs in stage, and what of an improvement is the seed's own."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import pytest
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_leyline import SeedSignals

ALONE = {"heuristic": {"cull_after_epochs_without_improvement": 1000, "cull_after_stalled_epochs": None}}


def signal(run: Rehearsal, epoch: int, one: dict[str, Any], **fields: Any) -> SeedSignals:
    return run.report(epoch, one, **fields).signals.seeds[0]


def test_every_seed_has_its_own_signal_in_order_of_slots() -> None:
    seeds = [seed(name, "TRAINING", slot_id=slot) for name, slot in (("x", "b"), ("y", "a"))]
    step = Rehearsal().report(0, *seeds, seed("z", "FOSSILIZED", slot_id="c"))
    assert [(s.seed_id, s.is_live) for s in step.signals.seeds] == [("y", True), ("x", True), ("z", False)]


def test_every_seed_keeps_its_own_bounded_window() -> None:
    run = Rehearsal({"tracker": {"history_window": 3}})
    for epoch in range(6):
        step = run.report(
            epoch,
            seed("s1", "TRAINING", current_val_accuracy=10.0 + epoch),
            seed("s2", "TRAINING", current_val_accuracy=20.0 + epoch),
        )
    histories = [one.accuracy_history for one in step.signals.seeds]
    assert histories == [(13.0, 14.0, 15.0), (23.0, 24.0, 25.0)]


def test_a_seed_that_is_not_measured_keeps_its_history() -> None:
    run = Rehearsal()
    run.report(0, seed("s1", "TRAINING", current_val_accuracy=10.0))
    assert signal(run, 1, seed("s1", "TRAINING")).accuracy_history == (10.0,)


def test_the_summary_is_the_live_seed_furthest_along() -> None:
    step = Rehearsal().report(
        0,
        seed("f", "FOSSILIZED", alpha=1.0, slot_id="a"),
        seed("t", "TRAINING", slot_id="b"),
        seed("p", "BLENDING", alpha=0.4, slot_id="c"),
        seed("q", "BLENDING", alpha=0.5, slot_id="d"),
        seed("r", "BLENDING", alpha=0.5, slot_id="e"),
        seed("c", "CULLED", slot_id="g"),
    )
    summary = step.signals.summary_seed
    assert summary is not None
    assert summary.seed_id == "r"
    fast = step.signals.to_fast()
    assert (fast.has_active_seed, fast.seed_stage, fast.seed_alpha) == (1.0, 4.0, 0.5)


def test_epochs_in_stage_are_the_reported_ones() -> None:
    one = seed("s1", "TRAINING", epochs_in_current_stage=7)
    assert signal(Rehearsal(), 30, one).epochs_in_stage == 7


def test_epochs_in_stage_count_from_its_first_report_where_none_are_reported() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING"))
    assert signal(run, 13, seed("s1", "TRAINING")).epochs_in_stage == 3
    assert signal(run, 20, seed("s1", "BLENDING")).epochs_in_stage == 0
    assert signal(run, 24, seed("s1", "BLENDING")).epochs_in_stage == 4


def test_settling_counts_from_the_first_alpha_of_95_percent() -> None:
    run = Rehearsal()
    assert signal(run, 10, seed("s1", "BLENDING", alpha=0.94)).epochs_since_settled is None
    assert signal(run, 11, seed("s1", "BLENDING", alpha=0.95)).epochs_since_settled == 0
    assert signal(run, 14, seed("s1", "BLENDING", alpha=0.5)).epochs_since_settled == 3


def test_a_reborn_seed_starts_anew_under_its_old_id() -> None:
    run = Rehearsal()
    run.report(1, seed("s1", "BLENDING", alpha=1.0, current_val_accuracy=50.0))
    run.report(2, seed("s1", "CULLED", current_val_accuracy=50.0))
    one = signal(run, 9, seed("s1", "GERMINATED", current_val_accuracy=60.0))
    assert (one.accuracy_history, one.blended_epoch, one.epochs_in_stage) == ((60.0,), None, 0)
    assert one.epochs_since_settled is None


def test_the_counterfactual_says_directly_what_a_seed_is_worth() -> None:
    one = seed(
        "s1",
        "PROBATIONARY",
        current_val_accuracy=61.0,
        counterfactual_val_accuracy=60.5,
        initial_val_accuracy=40.0,
    )
    assert signal(Rehearsal(), 0, one).attributed_improvement == pytest.approx(0.5)


def test_without_any_figure_the_improvement_is_not_measured() -> None:
    assert signal(Rehearsal(), 0, seed("s1", "PROBATIONARY")).attributed_improvement is None
    one = seed("s1", "PROBATIONARY", current_val_accuracy=61.0)
    assert signal(Rehearsal(), 0, one).attributed_improvement is None


def drift_by_hand(values: dict[int, float], epochs: int) -> float:
    """The damped trend, summed term by term, from measured values by epoch."""
    pairs = sorted(values.items())
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in itertools.pairwise(pairs)][-5:]
    slope = max(0.0, statistics.median(slopes)) if len(slopes) >= 3 else 0.0
    return slope * sum(0.8**k for k in range(1, epochs + 1))


@pytest.mark.parametrize(
    "values",
    [
        {0: 10.0, 1: 12.0, 2: 13.0, 3: 15.0},
        {0: 10.0, 2: 12.0, 7: 18.0, 8: 18.5, 20: 40.0, 21: 41.0, 22: 41.5},
        {0: 50.0, 1: 40.0, 2: 30.0, 3: 20.0},
        {0: 10.0, 1: 12.0, 2: 14.0},
        {0: 10.0},
    ],
    ids=["every epoch", "with gaps", "falling", "two deltas", "none"],
)
@pytest.mark.parametrize("elapsed", [0, 1, 4, 30])
def test_host_drift_is_a_damped_trend_of_the_deltas_before_training(
    values: dict[int, float], elapsed: int
) -> None:
    run = Rehearsal(ALONE)
    for epoch, value in values.items():
        run.report(epoch, seed("s1", "GERMINATED"), val_accuracy=value, available_slots=0)
    start = max(values) + 1
    run.report(start, seed("s1", "TRAINING"), val_accuracy=90.0)
    epoch = start + max(elapsed, 1)
    one = seed("s1", "TRAINING", initial_val_accuracy=40.0, current_val_accuracy=50.0)
    if elapsed == 0:
        run = Rehearsal(ALONE)
        for earlier, value in values.items():
            run.report(earlier, val_accuracy=value, available_slots=0)
        epoch = start
    measured = signal(run, epoch, one, val_accuracy=95.0)
    expected = drift_by_hand(values, elapsed)
    assert measured.expected_drift == pytest.approx(expected, abs=1e-9)
    assert measured.attributed_improvement == pytest.approx(10.0 - expected, abs=1e-9)


def test_drift_counts_from_the_first_report_at_training_or_later() -> None:
    run = Rehearsal(ALONE)
    for epoch in range(5):
        run.report(epoch, val_accuracy=10.0 + epoch, available_slots=0)
    assert signal(run, 5, seed("s1", "SHADOWING"), val_accuracy=15.0).expected_drift == 0.0
    assert signal(run, 6, seed("s1", "SHADOWING"), val_accuracy=16.0).expected_drift == pytest.approx(0.8)


def test_a_delta_is_divided_by_the_epochs_it_spans_whatever_was_reported_between() -> None:
    run = Rehearsal(ALONE)
    for epoch in range(16):
        value = 10.0 + epoch if epoch % 5 == 0 else None
        run.report(epoch, val_accuracy=value, val_loss="NaN" if epoch == 7 else None, available_slots=0)
    run.report(16, seed("s1", "TRAINING"))
    assert signal(run, 17, seed("s1", "TRAINING")).expected_drift == pytest.approx(0.8)


def test_a_seed_that_has_not_trained_drifts_nowhere() -> None:
    run = Rehearsal(ALONE)
    for epoch in range(5):
        run.report(epoch, val_accuracy=10.0 + epoch, available_slots=0)
    run.report(5, seed("s1", "GERMINATED"))
    assert signal(run, 9, seed("s1", "GERMINATED")).expected_drift == 0.0


def test_under_val_loss_improvements_are_percent_of_the_reference() -> None:
    one = seed(
        "s1",
        "PROBATIONARY",
        initial_val_loss=2.0,
        loss_at_stage_start=1.0,
        counterfactual_val_loss=0.8,
        current_val_loss=0.6,
    )
    measured = signal(Rehearsal({"objective": "val_loss"}), 0, one)
    assert measured.total_improvement == pytest.approx(70.0)
    assert measured.improvement_since_stage_start == pytest.approx(40.0)
    assert measured.attributed_improvement == pytest.approx(25.0)


def test_under_val_loss_drift_is_percent_of_the_previous_loss() -> None:
    run = Rehearsal(ALONE | {"objective": "val_loss"})
    losses = [1.0, 0.9, 0.81, 0.729]
    for epoch, loss in enumerate(losses):
        run.report(epoch, val_loss=loss, available_slots=0)
    run.report(4, seed("s1", "TRAINING"), val_loss=0.7)
    one = seed("s1", "TRAINING", initial_val_loss=1.0, current_val_loss=0.5)
    measured = signal(run, 6, one, val_loss=0.7)
    assert measured.expected_drift == pytest.approx(10.0 * (0.8 + 0.64))
    assert measured.attributed_improvement == pytest.approx(50.0 - 10.0 * (0.8 + 0.64))


@pytest.mark.parametrize("loss", ["NaN", "Infinity"])
def test_under_val_loss_a_diverged_seed_is_not_measured(loss: str) -> None:
    one = seed("s1", "PROBATIONARY", counterfactual_val_loss=1.0, initial_val_loss=1.0, current_val_loss=loss)
    measured = signal(Rehearsal({"objective": "val_loss"}), 0, one)
    assert (measured.attributed_improvement, measured.total_improvement) == (None, None)


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (0.99, "FOSSILIZE"),
        (0.998, "WAIT"),
        (1.01, "CULL"),
    ],
)
def test_under_val_loss_thresholds_are_read_as_percent(current: float, expected: str) -> None:
    run = Rehearsal({"objective": "val_loss"})
    one = seed("s1", "PROBATIONARY", epochs_in_current_stage=1, counterfactual_val_loss=1.0)
    one["metrics"] |= {"current_val_loss": current}
    assert run.report(30, one).action == expected


def test_gradients_are_told_only_where_the_trainer_sent_telemetry() -> None:
    told = signal(Rehearsal(), 0, seed("s1", "TRAINING", telemetry={"gradient_norm": 2.0}))
    assert (told.gradient_norm, told.gradient_health) == (2.0, 1.0)
    silent = signal(Rehearsal(), 0, seed("s1", "TRAINING"))
    assert (silent.gradient_norm, silent.gradient_health) == (None, None)
