"""The tracker's table, row by row: deltas, not finite, not measured, best, window, and the vectors."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tamiyo_core import SignalTracker, TrackerState
from tamiyo_leyline import EpochReport, RunConfig, TrainingSignals


class Watched:
    """A tracker and the state it is in."""

    def __init__(self, **config: Any) -> None:
        self.tracker = SignalTracker(RunConfig.model_validate(config))
        self.state = self.tracker.initial()

    def see(self, epoch: int, **fields: Any) -> TrainingSignals:
        self.state, signals = self.tracker.observe(
            self.state, EpochReport.model_validate({"epoch": epoch, "available_slots": 1} | fields)
        )
        return signals


def test_deltas_are_zero_without_an_earlier_value() -> None:
    metrics = Watched().see(0, val_accuracy=68.0, val_loss=0.4).metrics
    assert (metrics.accuracy_delta, metrics.loss_delta) == (0.0, 0.0)


def test_deltas_count_from_the_previous_value_and_positive_is_better() -> None:
    watched = Watched()
    watched.see(0, val_accuracy=50.0, val_loss=1.0)
    metrics = watched.see(1, val_accuracy=53.5, val_loss=1.25).metrics
    assert (metrics.accuracy_delta, metrics.loss_delta) == (3.5, -0.25)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["train_loss", "val_loss"])
def test_a_loss_that_is_not_finite_means_divergence(field: str, value: str) -> None:
    watched = Watched()
    assert not watched.see(0, train_loss=1.0, val_loss=1.0).metrics.diverged
    assert watched.see(1, **({"train_loss": 1.0, "val_loss": 1.0} | {field: value})).metrics.diverged
    assert watched.state.diverged_reports == 1


def test_the_last_finite_value_stands_in_for_a_diverged_one() -> None:
    watched = Watched()
    watched.see(0, val_accuracy=50.0, val_loss=1.0)
    diverged = watched.see(1, val_accuracy=10.0, val_loss="NaN")
    assert (diverged.metrics.loss_delta, diverged.metrics.accuracy_delta) == (0.0, 0.0)
    assert diverged.loss_history == (1.0, 1.0)
    assert diverged.accuracy_history == (50.0, 50.0)
    assert diverged.metrics.val_loss is not None
    assert math.isnan(diverged.metrics.val_loss)
    after = watched.see(2, val_accuracy=51.0, val_loss=0.75).metrics
    assert (after.accuracy_delta, after.loss_delta) == (1.0, 0.25)


def test_a_run_that_begins_diverged_has_no_history() -> None:
    watched = Watched()
    signals = watched.see(0, val_accuracy=10.0, val_loss="NaN")
    assert (signals.loss_history, signals.accuracy_history) == ((), ())
    assert signals.metrics.best_val_loss is None
    metrics = watched.see(1, val_accuracy=60.0, val_loss=0.5).metrics
    assert (metrics.accuracy_delta, metrics.loss_delta, metrics.plateau_epochs) == (0.0, 0.0, 0)


def test_divergence_leaves_the_best_values() -> None:
    watched = Watched()
    watched.see(0, val_accuracy=50.0, val_loss=1.0)
    metrics = watched.see(1, val_accuracy=99.0, val_loss="-Infinity").metrics
    assert (metrics.best_val_accuracy, metrics.best_val_loss) == (50.0, 1.0)


def test_an_unmeasured_epoch_changes_neither_deltas_nor_histories() -> None:
    watched = Watched()
    watched.see(0, val_accuracy=50.0, val_loss=1.0)
    unmeasured = watched.see(1, train_loss=0.9)
    assert (unmeasured.metrics.loss_delta, unmeasured.metrics.accuracy_delta) == (0.0, 0.0)
    assert (unmeasured.loss_history, unmeasured.accuracy_history) == ((1.0,), (50.0,))
    assert not unmeasured.metrics.measured
    assert not unmeasured.metrics.diverged
    assert watched.see(2, val_accuracy=52.0, val_loss=0.5).metrics.accuracy_delta == 2.0


def test_the_last_measured_value_stands_while_nothing_is_measured() -> None:
    watched = Watched()
    watched.see(0, train_loss=0.8, val_loss=1.0, train_accuracy=70.0, val_accuracy=50.0)
    metrics = watched.see(1).metrics
    assert (metrics.train_loss, metrics.val_loss) == (0.8, 1.0)
    assert (metrics.train_accuracy, metrics.val_accuracy) == (70.0, 50.0)


def test_best_values_are_those_of_the_whole_run() -> None:
    watched = Watched(tracker={"history_window": 2})
    losses = [1.0, 0.5, 0.9, 0.9, 0.9, 0.9]
    for epoch, loss in enumerate(losses):
        metrics = watched.see(epoch, val_loss=loss, val_accuracy=100.0 - 10.0 * loss).metrics
    assert (metrics.best_val_loss, metrics.best_val_accuracy) == (0.5, 95.0)


def test_histories_keep_the_window_and_the_features_show_the_last_five() -> None:
    watched = Watched()
    for epoch in range(25):
        signals = watched.see(epoch, val_loss=100.0 - epoch, val_accuracy=float(epoch))
    assert signals.accuracy_history == tuple(map(float, range(15, 25)))
    fast = signals.to_fast()
    assert (fast.acc_hist_0, fast.acc_hist_4) == (20.0, 24.0)
    assert (fast.loss_hist_0, fast.loss_hist_4) == (80.0, 76.0)


def test_observe_leaves_the_state_unchanged() -> None:
    watched = Watched()
    watched.see(0, val_accuracy=50.0)
    state = watched.state
    before = repr(state)
    report = EpochReport(epoch=1, available_slots=0, val_accuracy=51.0)
    assert watched.tracker.observe(state, report) == watched.tracker.observe(state, report)
    assert repr(state) == before


def test_the_initial_state_has_seen_nothing() -> None:
    assert SignalTracker(RunConfig()).initial() == TrackerState()


@pytest.mark.parametrize(
    "losses", [(1e308, -1e308), (-1e308, 1e308), (0.0, 1e308), (5e-324, 1e308), (0.0, 0.0)]
)
@pytest.mark.parametrize("objective", ["val_loss", "val_accuracy"])
def test_extreme_losses_never_overflow(losses: tuple[float, float], objective: str) -> None:
    watched = Watched(objective=objective)
    for epoch in range(12):
        signals = watched.see(epoch, val_loss=losses[epoch % 2])
    assert all(math.isfinite(value) for value in signals.to_vector())
    state = watched.state
    assert all(math.isfinite(value) for value in (state.average, *state.slopes, *state.loss_history))
