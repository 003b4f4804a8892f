"""SignalTracker: reports in, training signals out. A pure function of state and report."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tamiyo_leyline import (
    EpochReport,
    Objective,
    RunConfig,
    SeedMetrics,
    SeedSignals,
    SeedStage,
    SeedStateReport,
    SeedTelemetry,
    TrainingMetrics,
    TrainingSignals,
)

from tamiyo_core.changes import SeedChanges, compare_seeds
from tamiyo_core.rules import (
    DRIFT_DAMPING,
    DRIFT_MINIMUM,
    DRIFT_WINDOW,
    FRACTION_REPORTS,
    SETTLED_ALPHA,
    SMALLEST_REFERENCE,
)
from tamiyo_core.state import SeedTrack, TrackerState

_HEALTHY = SeedTelemetry()
_UNMEASURED = SeedMetrics()
_LARGEST = sys.float_info.max


class _Improvement(NamedTuple):
    """What one report says about the host's progress."""

    diverged: bool
    measured: bool
    loss_delta: float
    accuracy_delta: float
    objective: float | None
    """Improvement of the objective since its last measurement; None: there was none to compare with."""


class _Plateau(NamedTuple):
    """The plateau counter and the average behind it, after a report."""

    epochs: int
    average: float
    averaged: int
    surgery_unmeasured: bool


class SignalTracker:
    """Turns each report into the signals a policy sees.

    Args:
        config: of the run; only its tracker settings and objective matter here.
    """

    def __init__(self, config: RunConfig) -> None:
        self._threshold = config.tracker.plateau_threshold
        self._smoothing = config.tracker.plateau_smoothing
        self._window = config.tracker.history_window
        self._by_loss = config.objective is Objective.VAL_LOSS

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
        if changes is None:
            changes = compare_seeds(state.seeds, seeds)
        progress = self._progress(state, report)
        plateau = self._plateau(state, progress, surgery=changes.surgery)
        tracks, seed_signals = self._observe_seeds(state, report.epoch, seeds, changes)
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
            self._corrected(plateau.average, plateau.averaged),
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

    def _progress(self, state: TrackerState, report: EpochReport) -> _Improvement:
        if _not_finite(report.train_loss) or _not_finite(report.val_loss):
            return _Improvement(True, False, 0.0, 0.0, None)
        loss_delta = accuracy_delta = 0.0
        objective = None
        if report.val_loss is not None and state.val_loss is not None:
            loss_delta = _finite(state.val_loss - report.val_loss)
            if self._by_loss:
                objective = relative_improvement(state.val_loss, report.val_loss)
        if report.val_accuracy is not None and state.val_accuracy is not None:
            accuracy_delta = report.val_accuracy - state.val_accuracy
            if not self._by_loss:
                objective = accuracy_delta
        measured = (report.val_loss if self._by_loss else report.val_accuracy) is not None
        return _Improvement(False, measured, loss_delta, accuracy_delta, objective)

    def _plateau(self, state: TrackerState, progress: _Improvement, *, surgery: bool) -> _Plateau:
        average, averaged = state.average, state.averaged
        if surgery:
            return _Plateau(0, average, averaged, not progress.measured)
        if not progress.measured:
            return _Plateau(state.plateau_epochs, average, averaged, state.surgery_unmeasured)
        if progress.objective is None or state.surgery_unmeasured:
            return _Plateau(state.plateau_epochs, average, averaged, False)
        average = self._smoothing * average + (1.0 - self._smoothing) * progress.objective
        averaged += 1
        improved = self._corrected(average, averaged) >= self._threshold
        return _Plateau(0 if improved else state.plateau_epochs + 1, average, averaged, False)

    def _corrected(self, average: float, averaged: int) -> float:
        """The average without its bias towards the initial zero: m / (1 − βⁿ) (Kingma & Ba, 2015)."""
        if averaged == 0:
            return 0.0
        return _finite(average / (1.0 - self._smoothing**averaged))

    def _remember(
        self,
        state: TrackerState,
        report: EpochReport,
        progress: _Improvement,
        plateau: _Plateau,
        tracks: tuple[SeedTrack, ...],
    ) -> TrackerState:
        # A diverged report's measurements stay out: the last finite values stand in, in the histories too.
        stands = progress.diverged
        val_loss = _latest(report.val_loss, state.val_loss, stands=stands)
        val_accuracy = _latest(report.val_accuracy, state.val_accuracy, stands=stands)
        span = 1 if state.measured_epoch is None else report.epoch - state.measured_epoch
        return TrackerState(
            state.reports + 1,
            report.epoch,
            report.epoch if progress.measured else state.measured_epoch,
            _latest(report.train_loss, state.train_loss, stands=stands),
            val_loss,
            _latest(report.train_accuracy, state.train_accuracy, stands=stands),
            val_accuracy,
            _best(state.best_val_accuracy, val_accuracy, max),
            _best(state.best_val_loss, val_loss, min),
            _best(_best(state.highest_accuracy, report.val_accuracy, max), report.train_accuracy, max),
            plateau.epochs,
            plateau.average,
            plateau.averaged,
            plateau.surgery_unmeasured,
            state.diverged_reports + progress.diverged,
            self._extended(state.loss_history, None if report.val_loss is None else val_loss),
            self._extended(state.accuracy_history, None if report.val_accuracy is None else val_accuracy),
            state.slopes
            if progress.objective is None
            else (*state.slopes, progress.objective / span)[-DRIFT_WINDOW:],
            tracks,
        )

    def _extended(self, history: tuple[float, ...], value: float | None) -> tuple[float, ...]:
        return history if value is None else (*history, value)[-self._window :]

    def _observe_seeds(
        self, state: TrackerState, epoch: int, seeds: Sequence[SeedStateReport], changes: SeedChanges
    ) -> tuple[tuple[SeedTrack, ...], tuple[SeedSignals, ...]]:
        if not seeds:
            return (), ()
        born = {seed.seed_id for seed in changes.appeared}
        known = {track.seed_id: track for track in state.seeds if track.seed_id not in born}
        slope = host_slope(state.slopes)
        pairs = [self._observe_seed(known.get(seed.seed_id), seed, epoch, slope) for seed in seeds]
        return tuple(track for track, _ in pairs), tuple(signals for _, signals in pairs)

    def _observe_seed(
        self, before: SeedTrack | None, seed: SeedStateReport, epoch: int, slope: float
    ) -> tuple[SeedTrack, SeedSignals]:
        metrics = seed.metrics or _UNMEASURED
        since_start, total, counterfactual = (
            _loss_improvements(metrics) if self._by_loss else _accuracy_improvements(metrics)
        )
        track = self._track(before, seed, epoch, slope, since_start)
        drift = expected_drift(track, epoch)
        if counterfactual is None and total is not None:
            counterfactual = total - drift
        health = seed.telemetry or _HEALTHY
        reported_epochs = metrics.epochs_in_current_stage
        signals = SeedSignals(
            seed.seed_id,
            seed.slot_id,
            seed.blueprint_id,
            seed.stage,
            seed.stage.is_live,
            seed.alpha,
            epoch - track.stage_epoch if reported_epochs is None else reported_epochs,
            since_start,
            total,
            counterfactual,
            drift,
            track.best_improvement,
            0 if track.best_improvement is None else epoch - track.best_epoch,
            None if track.settled_epoch is None else epoch - track.settled_epoch,
            track.blended_epoch,
            track.accuracy_history,
            None if seed.telemetry is None else health.gradient_norm,
            None if seed.telemetry is None else health.gradient_health,
            health.has_vanishing,
            health.has_exploding,
        )
        return track, signals

    def _track(
        self,
        before: SeedTrack | None,
        seed: SeedStateReport,
        epoch: int,
        slope: float,
        improvement: float | None,
    ) -> SeedTrack:
        stage = seed.stage
        metrics = seed.metrics or _UNMEASURED
        track = before or SeedTrack(seed.seed_id, seed.slot_id, seed.blueprint_id, stage, seed.alpha, epoch)
        same_stage = track.stage == stage
        best, best_epoch = (track.best_improvement, track.best_epoch) if same_stage else (None, 0)
        if improvement is not None and (best is None or improvement > best):
            best, best_epoch = improvement, epoch
        training_epoch, drift_slope = track.training_epoch, track.drift_slope
        if training_epoch is None and SeedStage.TRAINING <= stage <= SeedStage.FOSSILIZED:
            training_epoch, drift_slope = epoch, slope
        blended = SeedStage.BLENDING <= stage <= SeedStage.FOSSILIZED
        return SeedTrack(
            seed.seed_id,
            seed.slot_id,
            seed.blueprint_id,
            stage,
            seed.alpha,
            track.stage_epoch if same_stage else epoch,
            training_epoch,
            drift_slope,
            best,
            best_epoch,
            _first(track.settled_epoch, epoch, seed.alpha >= SETTLED_ALPHA),
            _first(track.blended_epoch, epoch, blended),
            self._extended(track.accuracy_history, metrics.current_val_accuracy),
            metrics.isolation_violations or 0,
        )


def ordered_seeds(report: EpochReport) -> Sequence[SeedStateReport]:
    """The report's seeds by slot_id: their order in the report means nothing."""
    if len(report.seeds) < 2:
        return report.seeds
    return sorted(report.seeds, key=lambda seed: seed.slot_id)


def looks_like_fractions(state: TrackerState) -> bool:
    """Whether the accuracies so far look like 0–1 where 0–100 is meant."""
    highest = state.highest_accuracy
    return state.reports >= FRACTION_REPORTS and highest is not None and 0.0 < highest <= 1.0


def relative_improvement(reference: float | None, current: float | None) -> float | None:
    """100 · (reference − current) / |reference|, in percent; None where either is missing or not finite."""
    if reference is None or current is None or not math.isfinite(reference) or not math.isfinite(current):
        return None
    return _finite(100.0 * (_finite(reference - current) / max(abs(reference), SMALLEST_REFERENCE)))


def host_slope(slopes: Sequence[float]) -> float:
    """The host's progress per epoch: median of the last measured improvements, at least 0."""
    if len(slopes) < DRIFT_MINIMUM:
        return 0.0
    return max(0.0, statistics.median(slopes))


def expected_drift(track: SeedTrack, epoch: int) -> float:
    """What the host would have gained since the seed began to train: s · Σₖ₌₁..ₙ 0.8ᵏ, a damped trend.

    Gardner & McKenzie (1985), "Forecasting trends in time series", with damping 0.8; points.
    """
    if track.training_epoch is None or track.drift_slope == 0.0:
        return 0.0
    decayed = 1.0 - DRIFT_DAMPING ** (epoch - track.training_epoch)
    return track.drift_slope * DRIFT_DAMPING * decayed / (1.0 - DRIFT_DAMPING)


def _accuracy_improvements(metrics: SeedMetrics) -> tuple[float | None, float | None, float | None]:
    current, counterfactual = metrics.current_val_accuracy, metrics.counterfactual_val_accuracy
    attributed = None if current is None or counterfactual is None else current - counterfactual
    return metrics.improvement_since_stage_start, metrics.total_improvement, attributed


def _loss_improvements(metrics: SeedMetrics) -> tuple[float | None, float | None, float | None]:
    current = metrics.current_val_loss
    return (
        relative_improvement(metrics.loss_at_stage_start, current),
        relative_improvement(metrics.initial_val_loss, current),
        relative_improvement(metrics.counterfactual_val_loss, current),
    )


def _not_finite(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _finite(value: float) -> float:
    """`value`, with an overflow brought back to the largest float."""
    return max(-_LARGEST, min(_LARGEST, value))


def _latest(reported: float | None, last: float | None, *, stands: bool) -> float | None:
    return last if stands or reported is None else reported


def _best(best: float | None, value: float | None, better: Callable[[float, float], float]) -> float | None:
    if value is None or best is None:
        return best if value is None else value
    return better(best, value)


def _first(known: int | None, epoch: int, holds: bool) -> int | None:
    return epoch if known is None and holds else known
