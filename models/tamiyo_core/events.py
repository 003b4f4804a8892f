"""Telemetry events of one report, as values: telling them to anybody is the caller's business."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from tamiyo_leyline import (
    AdaptationCommand,
    CommandStatus,
    CommandType,
    SeedStage,
    SeedStateReport,
    TelemetryEvent,
    TelemetryEventType,
    TrainingSignals,
)

from tamiyo_core.changes import SeedChanges, SeedMove
from tamiyo_core.ledger_page import Transition
from tamiyo_core.rules import DEGRADATION_POINTS
from tamiyo_core.state import TrackerState


def seed_events(epoch: int, changes: SeedChanges, fossilized: Collection[str]) -> Iterator[TelemetryEvent]:
    """What happened to the seeds: germinated, moved, fossilized, culled."""
    for seed in changes.appeared:
        yield _of_seed(TelemetryEventType.SEED_GERMINATED, epoch, seed, f"{seed.blueprint_id} germinated")
    for move in changes.moved:
        yield _of_seed(_stage_event(move), epoch, move.now, _stage_words(move))
    for track in changes.left:
        kept = track.seed_id in fossilized
        yield TelemetryEvent(
            type=TelemetryEventType.SEED_FOSSILIZED if kept else TelemetryEventType.SEED_CULLED,
            epoch=epoch,
            message=f"{track.blueprint_id} is gone",
            seed_id=track.seed_id,
            slot_id=track.slot_id,
        )


def gradient_events(
    epoch: int, before: TrackerState, seeds: Sequence[SeedStateReport]
) -> Iterator[TelemetryEvent]:
    """Anomalies of the seeds' gradients: exploding, vanishing, leaking into the host."""
    violations = {track.seed_id: track.isolation_violations for track in before.seeds}
    for seed in seeds:
        if seed.telemetry is not None and (seed.telemetry.has_exploding or seed.telemetry.has_vanishing):
            kind = "exploding" if seed.telemetry.has_exploding else "vanishing"
            yield _of_seed(TelemetryEventType.GRADIENT_ANOMALY, epoch, seed, f"{kind} gradients")
        leaks = (seed.metrics.isolation_violations if seed.metrics else None) or 0
        if leaks > violations.get(seed.seed_id, 0):
            yield _of_seed(
                TelemetryEventType.ISOLATION_VIOLATION, epoch, seed, f"{leaks} isolation violations so far"
            )


def training_events(
    before: TrackerState, signals: TrainingSignals, *, plateau_alarm: int, surgery: bool
) -> Iterator[TelemetryEvent]:
    """What happened to the training: the epoch itself, plateau, improvement, degradation, divergence."""
    metrics = signals.metrics
    epoch = metrics.epoch
    accuracy = "not measured" if metrics.val_accuracy is None else f"{metrics.val_accuracy:.2f} %"
    yield _plain(TelemetryEventType.EPOCH_COMPLETED, epoch, f"validation accuracy {accuracy}")
    if metrics.diverged:
        yield _plain(TelemetryEventType.DIVERGENCE_DETECTED, epoch, "a loss is not finite")
    if before.plateau_epochs < metrics.plateau_epochs == plateau_alarm:
        message = f"no improvement in {metrics.plateau_epochs} measured reports"
        yield _plain(TelemetryEventType.PLATEAU_DETECTED, epoch, message)
    if before.plateau_epochs > 0 == metrics.plateau_epochs and not surgery:
        message = f"improving again: {metrics.smoothed_accuracy_delta:+.2f}"
        yield _plain(TelemetryEventType.IMPROVEMENT_DETECTED, epoch, message)
    if metrics.accuracy_delta < -DEGRADATION_POINTS:
        message = f"validation accuracy changed by {metrics.accuracy_delta:+.2f} points"
        yield _plain(TelemetryEventType.PERFORMANCE_DEGRADATION, epoch, message)


def command_events(
    epoch: int, transitions: Iterable[Transition], commands: Iterable[AdaptationCommand]
) -> Iterator[TelemetryEvent]:
    """What became of earlier commands, and the new ones."""
    for transition in transitions:
        executed = transition.status is CommandStatus.EXECUTED
        kind = TelemetryEventType.COMMAND_EXECUTED if executed else TelemetryEventType.COMMAND_FAILED
        message = f"{transition.status}: {transition.detail}" if transition.detail else transition.status
        yield TelemetryEvent(type=kind, epoch=epoch, message=message, command_id=transition.command_id)
    for command in commands:
        if command.command_type is not CommandType.REQUEST_STATE:
            yield TelemetryEvent(
                type=TelemetryEventType.COMMAND_ISSUED,
                epoch=epoch,
                message=f"{command.command_type}: {command.reason}",
                seed_id=command.target_seed_id,
                slot_id=command.target_slot_id,
                command_id=command.command_id,
            )


def _stage_event(move: SeedMove) -> TelemetryEventType:
    if move.now.stage is SeedStage.FOSSILIZED:
        return TelemetryEventType.SEED_FOSSILIZED
    if move.before.stage.is_live and move.now.stage.is_failed:
        return TelemetryEventType.SEED_CULLED
    return TelemetryEventType.SEED_STAGE_CHANGED


def _stage_words(move: SeedMove) -> str:
    return f"{move.now.blueprint_id}: {move.before.stage.name} → {move.now.stage.name}"


def _of_seed(kind: TelemetryEventType, epoch: int, seed: SeedStateReport, message: str) -> TelemetryEvent:
    return TelemetryEvent(type=kind, epoch=epoch, message=message, seed_id=seed.seed_id, slot_id=seed.slot_id)


def _plain(kind: TelemetryEventType, epoch: int, message: str) -> TelemetryEvent:
    return TelemetryEvent(type=kind, epoch=epoch, message=message)
