"""SeedTracker: what the reports say of every seed. The part of the tracker that looks at seeds."""

from __future__ import annotations

from collections.abc import Sequence

from tamiyo_leyline import SeedMetrics, SeedSignals, SeedStage, SeedStateReport

from tamiyo_core.attribution import (
    NOT_MEASURED,
    Improvements,
    accuracy_improvements,
    attributed,
    expected_drift,
    host_slope,
    loss_improvements,
)
from tamiyo_core.changes import NO_CHANGES, SeedChanges
from tamiyo_core.rules import SETTLED_ALPHA
from tamiyo_core.state import SeedTrack, TrackerState


class SeedTracker:
    """Turns the seeds of a report into tracks to remember and signals to decide on.

    Args:
        window: accuracies kept of each seed.
        by_loss: whether improvements are measured in validation loss.
    """

    def __init__(self, *, window: int, by_loss: bool) -> None:
        self._window = window
        self._improvements = loss_improvements if by_loss else accuracy_improvements

    def observe(
        self, state: TrackerState, epoch: int, seeds: Sequence[SeedStateReport], changes: SeedChanges
    ) -> tuple[tuple[SeedTrack, ...], tuple[SeedSignals, ...]]:
        """Take the seeds of a report in.

        Args:
            state: after the report before.
            epoch: of the report.
            seeds: as reported, by slot_id.
            changes: since the report before; a seed that appeared begins a new track.
        """
        if not seeds:
            return (), ()
        tracks: list[SeedTrack] = []
        signals: list[SeedSignals] = []
        for before, seed in zip(_tracks_of(seeds, state, changes), seeds, strict=True):
            track, seen = self._observe_one(before, seed, epoch, state.slopes)
            tracks.append(track)
            signals.append(seen)
        return tuple(tracks), tuple(signals)

    def _observe_one(
        self, before: SeedTrack | None, seed: SeedStateReport, epoch: int, slopes: tuple[float, ...]
    ) -> tuple[SeedTrack, SeedSignals]:
        metrics, health = seed.metrics, seed.telemetry
        improvements = NOT_MEASURED if metrics is None else self._improvements(metrics)
        track = self._track(before or _new_track(seed, epoch), seed, epoch, slopes, improvements)
        drift = expected_drift(track, epoch)
        epochs_in_stage = None if metrics is None else metrics.epochs_in_current_stage
        best, settled_epoch = track.best_improvement, track.settled_epoch
        signals = SeedSignals(
            track.seed_id,
            track.slot_id,
            track.blueprint_id,
            track.stage,
            track.stage.is_live,
            track.alpha,
            epoch - track.stage_epoch if epochs_in_stage is None else epochs_in_stage,
            improvements.since_stage_start,
            improvements.total,
            attributed(improvements, drift),
            drift,
            best,
            0 if best is None else epoch - track.best_epoch,
            None if settled_epoch is None else epoch - settled_epoch,
            track.blended_epoch,
            track.accuracy_history,
            None if health is None else health.gradient_norm,
            None if health is None else health.gradient_health,
            health is not None and health.has_vanishing,
            health is not None and health.has_exploding,
        )
        return track, signals

    def _track(
        self,
        track: SeedTrack,
        seed: SeedStateReport,
        epoch: int,
        slopes: tuple[float, ...],
        improvements: Improvements,
    ) -> SeedTrack:
        stage, improvement = seed.stage, improvements.since_stage_start
        same_stage = track.stage is stage
        best, best_epoch = (track.best_improvement, track.best_epoch) if same_stage else (None, 0)
        if improvement is not None and (best is None or improvement > best):
            best, best_epoch = improvement, epoch
        training_epoch, drift_slope = track.training_epoch, track.drift_slope
        if training_epoch is None and SeedStage.TRAINING <= stage <= SeedStage.FOSSILIZED:
            training_epoch, drift_slope = epoch, host_slope(slopes)
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
            self._extended(track.accuracy_history, seed.metrics),
            _violations(track, seed.metrics),
        )

    def _extended(self, history: tuple[float, ...], metrics: SeedMetrics | None) -> tuple[float, ...]:
        if metrics is None or metrics.current_val_accuracy is None:
            return history
        return (*history, metrics.current_val_accuracy)[-self._window :]


def _tracks_of(
    seeds: Sequence[SeedStateReport], state: TrackerState, changes: SeedChanges
) -> Sequence[SeedTrack | None]:
    """What is known of each seed; None: it is new."""
    if changes is NO_CHANGES:
        return state.seeds
    known = {track.seed_id: track for track in state.seeds}
    for seed in changes.appeared:
        known.pop(seed.seed_id, None)
    return [known.get(seed.seed_id) for seed in seeds]


def _new_track(seed: SeedStateReport, epoch: int) -> SeedTrack:
    return SeedTrack(seed.seed_id, seed.slot_id, seed.blueprint_id, seed.stage, seed.alpha, epoch)


def _violations(track: SeedTrack, metrics: SeedMetrics | None) -> int:
    reported = None if metrics is None else metrics.isolation_violations
    return track.isolation_violations if reported is None else reported


def _first(known: int | None, epoch: int, holds: bool) -> int | None:
    return epoch if known is None and holds else known
