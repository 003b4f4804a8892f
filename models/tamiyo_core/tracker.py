"""SignalTracker: reports in, training signals out. A pure function of state and report."""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

from tamiyo_leyline import (
    EpochReport,
    Objective,
    RunConfig,
    TrainingMetrics,
    TrainingSignals,
)

from tamiyo_core.attribution import relative_improvement
from tamiyo_core.changes import SeedChanges, compare_seeds, ordered_seeds
from tamiyo_core.rules import DRIFT_WINDOW, FRACTION_REPORTS, ROUNDING
from tamiyo_core.seed_tracker import SeedTracker
from tamiyo_core.state import SeedTrack, TrackerState

_LARGEST = sys.float_info.max


class _Progress(NamedTuple):
    """What one report says about the host's progress."""

    diverged: bool
    measured: bool
    """Whether the objective was measured, and finite."""
    loss_delta: float
    accuracy_delta: float
    objective: float | None
    """Improvement of the objective since its last measurement; None: there was none to compare with."""


class _Plateau(NamedTuple):
    """The plateau counter and the average behind it, after a report."""

    epochs: int
    average: float
    averaged: int
    smoothed: float
    """The average without its bias."""
    surgery_unmeasured: bool


_DIVERGED = _Progress(True, False, 0.0, 0.0, None)


class SignalTracker:
    """Turns each report into the signals a policy sees.

    A report whose training or validation loss is not finite *diverged*: all its host measurements stay out,
    finite ones too (the accuracy of a network full of NaN says nothing), and the last finite values stand in,
    in the histories as well. A value that is absent was not measured: its delta is 0.0 and its history stays.

    Args:
        config: of the run; only its tracker settings and objective matter here.
    """

    def __init__(self, config: RunConfig) -> None:
        self._threshold = config.tracker.plateau_threshold - ROUNDING
        self._smoothing = config.tracker.plateau_smoothing
        self._window = config.tracker.history_window
        self._by_loss = config.objective is Objective.VAL_LOSS
        self._seeds = SeedTracker(window=self._window, by_loss=self._by_loss)

    def initial(self) -> TrackerState:
        """The state before any report."""
        return TrackerState()

    def observe(
        self, state: TrackerState, report: EpochReport, changes: SeedChanges | None = None
    ) -> tuple[TrackerState, TrainingSignals]:
        """Take one report in.

        Args:
            state: after the report before.
            report: accuracies in percent; its epoch is greater than the last one.
            changes: of the seeds, where the caller has them already.

        Returns:
            The new state and the signals of this report.
        """
        seeds = ordered_seeds(report)
        changes = compare_seeds(state.seeds, seeds) if changes is None else changes
        progress = self._progress(state, report)
        plateau = self._plateau(state, progress, surgery=changes.surgery)
        tracks, seed_signals = self._seeds.observe(state, report.epoch, seeds, changes)
        after = self._remember(state, report, progress, plateau, tracks)
        metrics = TrainingMetrics(
            report.epoch,
            report.global_step,
            after.train_loss if report.train_loss is None else report.train_loss,
            after.val_loss if report.val_loss is None else report.val_loss,
            progress.loss_delta,
            after.train_accuracy,
            after.val_accuracy,
            progress.accuracy_delta,
            plateau.smoothed,
            plateau.epochs,
            after.best_val_accuracy,
            after.best_val_loss,
            report.grad_norm_host,
            progress.diverged,
            progress.measured,
        )
        signals = TrainingSignals(
            metrics, seed_signals, report.available_slots, after.loss_history, after.accuracy_history
        )
        return after, signals

    def _progress(self, state: TrackerState, report: EpochReport) -> _Progress:
        loss, accuracy = report.val_loss, report.val_accuracy
        if not (_finite(report.train_loss) and _finite(loss)):
            return _DIVERGED
        loss_delta = accuracy_delta = 0.0
        objective = None
        if loss is not None and state.val_loss is not None:
            loss_delta = max(-_LARGEST, min(_LARGEST, state.val_loss - loss))
            if self._by_loss:
                objective = relative_improvement(state.val_loss, loss)
        if accuracy is not None and state.val_accuracy is not None:
            accuracy_delta = accuracy - state.val_accuracy
            if not self._by_loss:
                objective = accuracy_delta
        measured = (loss if self._by_loss else accuracy) is not None
        return _Progress(False, measured, loss_delta, accuracy_delta, objective)

    def _plateau(self, state: TrackerState, progress: _Progress, *, surgery: bool) -> _Plateau:
        average, averaged, epochs = state.average, state.averaged, state.plateau_epochs
        stays_out = state.surgery_unmeasured
        if surgery:
            epochs, stays_out = 0, not progress.measured
        elif progress.measured:
            if progress.objective is not None and not stays_out:
                average = self._smoothing * average + (1.0 - self._smoothing) * progress.objective
                averaged += 1
                smoothed = self._corrected(average, averaged)
                epochs = 0 if smoothed >= self._threshold else epochs + 1
                return _Plateau(epochs, average, averaged, smoothed, False)
            stays_out = False
        return _Plateau(epochs, average, averaged, self._corrected(average, averaged), stays_out)

    def _corrected(self, average: float, averaged: int) -> float:
        """The average without its bias towards the initial zero: m / (1 − βⁿ) (Kingma & Ba, 2015)."""
        if averaged == 0:
            return 0.0
        return average / (1.0 - self._smoothing**averaged)  # at most LARGEST_POINTS: finite

    def _remember(
        self,
        state: TrackerState,
        report: EpochReport,
        progress: _Progress,
        plateau: _Plateau,
        tracks: tuple[SeedTrack, ...],
    ) -> TrackerState:
        stands = progress.diverged
        train_loss, val_loss = report.train_loss, report.val_loss
        train_accuracy, val_accuracy = report.train_accuracy, report.val_accuracy
        last_loss = state.val_loss if stands or val_loss is None else val_loss
        last_accuracy = state.val_accuracy if stands or val_accuracy is None else val_accuracy
        return TrackerState(
            state.reports + 1,
            report.epoch,
            report.epoch if progress.measured else state.measured_epoch,
            state.train_loss if stands or train_loss is None else train_loss,
            last_loss,
            state.train_accuracy if stands or train_accuracy is None else train_accuracy,
            last_accuracy,
            _highest(state.best_val_accuracy, last_accuracy),
            _lowest(state.best_val_loss, last_loss),
            _highest(_highest(state.highest_accuracy, val_accuracy), train_accuracy),
            plateau.epochs,
            plateau.average,
            plateau.averaged,
            plateau.surgery_unmeasured,
            state.diverged_reports + progress.diverged,
            state.loss_history if val_loss is None else self._extended(state.loss_history, last_loss),
            state.accuracy_history
            if val_accuracy is None
            else self._extended(state.accuracy_history, last_accuracy),
            _slopes(state, report.epoch, progress.objective),
            tracks,
        )

    def _extended(self, history: tuple[float, ...], value: float | None) -> tuple[float, ...]:
        return history if value is None else (*history, value)[-self._window :]


def looks_like_fractions(state: TrackerState) -> bool:
    """Whether the accuracies so far look like 0–1 where 0–100 is meant."""
    highest = state.highest_accuracy
    return state.reports >= FRACTION_REPORTS and highest is not None and 0.0 < highest <= 1.0


def _slopes(state: TrackerState, epoch: int, improvement: float | None) -> tuple[float, ...]:
    """The last measured improvements, each divided by the epochs it spans."""
    if improvement is None or state.measured_epoch is None:
        return state.slopes
    return (*state.slopes, improvement / (epoch - state.measured_epoch))[-DRIFT_WINDOW:]


def _finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)


def _highest(best: float | None, value: float | None) -> float | None:
    return value if best is None or (value is not None and value > best) else best


def _lowest(best: float | None, value: float | None) -> float | None:
    return value if best is None or (value is not None and value < best) else best
