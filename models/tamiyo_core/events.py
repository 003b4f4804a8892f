"""Telemetry events of one report, as values: telling them to anybody is the caller's business."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from tamiyo_leyline import (
    AdaptationCommand,
    CommandStatus,
    CommandType,
    SeedStage,
    SeedStateReport,
    TelemetryEvent,
    TelemetryEventType,
    TrainingMetrics,
)

from tamiyo_core.changes import SeedChanges, SeedMove
from tamiyo_core.ledger_page import Transition
from tamiyo_core.policy import Decision
from tamiyo_core.rules import DEGRADATION_POINTS
from tamiyo_core.state import SeedTrack, TrackerState

_GERMINATED: Final = " germinated"


def event(
    kind: TelemetryEventType,
    epoch: int,
    message: str,
    seed_id: str | None = None,
    slot_id: str | None = None,
    command_id: str | None = None,
) -> TelemetryEvent:
    """An event.

    Args:
        kind: what happened.
        epoch: of the report that showed it.
        message: in words.
        seed_id: the seed concerned.
        slot_id: its slot.
        command_id: the command concerned.
    """
    return TelemetryEvent.assembled(
        {
            "type": kind,
            "epoch": epoch,
            "message": message,
            "seed_id": seed_id,
            "slot_id": slot_id,
            "command_id": command_id,
        }
    )


def training_events(
    before: TrackerState, metrics: TrainingMetrics, *, plateau_alarm: int, surgery: bool
) -> list[TelemetryEvent]:
    """What happened to the training: the epoch itself, plateau, improvement, degradation, divergence.

    Args:
        before: state of the tracker after the report before.
        metrics: of this report.
        plateau_alarm: plateau that is worth an event.
        surgery: whether the host itself changed.
    """
    epoch, plateau = metrics.epoch, metrics.plateau_epochs
    accuracy = "not measured" if metrics.val_accuracy is None else f"{metrics.val_accuracy:.2f} %"
    events = [event(TelemetryEventType.EPOCH_COMPLETED, epoch, f"validation accuracy {accuracy}")]
    if metrics.diverged:
        events.append(event(TelemetryEventType.DIVERGENCE_DETECTED, epoch, "a loss is not finite"))
    if before.plateau_epochs < plateau == plateau_alarm:
        message = f"no improvement in {plateau} measured reports"
        events.append(event(TelemetryEventType.PLATEAU_DETECTED, epoch, message))
    if before.plateau_epochs > 0 == plateau and not surgery:
        message = f"improving again: {metrics.smoothed_accuracy_delta:+.2f}"
        events.append(event(TelemetryEventType.IMPROVEMENT_DETECTED, epoch, message))
    if metrics.accuracy_delta < -DEGRADATION_POINTS:
        message = f"validation accuracy changed by {metrics.accuracy_delta:+.2f} points"
        events.append(event(TelemetryEventType.PERFORMANCE_DEGRADATION, epoch, message))
    return events


def seed_events(epoch: int, changes: SeedChanges, fossilized: Collection[str]) -> list[TelemetryEvent]:
    """What happened to the seeds: germinated, moved, fossilized, culled.

    Args:
        epoch: of the report.
        changes: of the seeds since the report before.
        fossilized: seeds that are gone because they were fossilised.
    """
    return [
        *(_of_germination(epoch, seed) for seed in changes.appeared),
        *(_of_seed(_stage_event(move), epoch, move.now, _stage_words(move)) for move in changes.moved),
        *(_of_lost_seed(epoch, track, track.seed_id in fossilized) for track in changes.left),
    ]


def closing_events(
    epoch: int, transitions: Iterable[Transition], ended: Iterable[tuple[SeedTrack, bool]]
) -> list[TelemetryEvent]:
    """What was told after the last report of a run.

    Args:
        epoch: the one after it.
        transitions: of commands.
        ended: seeds whose end was executed, and whether they were fossilised.
    """
    lost = [_of_lost_seed(epoch, track, kept) for track, kept in ended]
    return [*lost, *command_events(epoch, transitions, ())]


def germinated_blueprint(message: str) -> str:
    """The blueprint that the message of a SEED_GERMINATED names."""
    return message.removesuffix(_GERMINATED)


def gradient_events(
    epoch: int, before: TrackerState, seeds: Sequence[SeedStateReport]
) -> list[TelemetryEvent]:
    """Anomalies of the seeds' gradients: exploding, vanishing, leaking into the host."""
    events = []
    for seed in seeds:
        health = seed.telemetry
        if health is not None and (health.has_exploding or health.has_vanishing):
            kind = "exploding" if health.has_exploding else "vanishing"
            events.append(_of_seed(TelemetryEventType.GRADIENT_ANOMALY, epoch, seed, f"{kind} gradients"))
        leaks = None if seed.metrics is None else seed.metrics.isolation_violations
        if leaks and leaks > _known_leaks(before, seed.seed_id):
            message = f"{leaks} isolation violations so far"
            events.append(_of_seed(TelemetryEventType.ISOLATION_VIOLATION, epoch, seed, message))
    return events


def command_events(
    epoch: int, transitions: Iterable[Transition], commands: Iterable[AdaptationCommand]
) -> list[TelemetryEvent]:
    """What became of earlier commands, and the new ones."""
    events = [_of_transition(epoch, transition) for transition in transitions]
    for command in commands:
        if command.command_type is not CommandType.REQUEST_STATE:
            events.append(_of_command(epoch, command))
    return events


def fallback_events(epoch: int, decisions: Iterable[Decision]) -> list[TelemetryEvent]:
    """That another policy decided than the one the run asked for: once, however many decisions it made."""
    reasons = dict.fromkeys(decision.fallback for decision in decisions if decision.fallback is not None)
    return [event(TelemetryEventType.POLICY_FALLBACK, epoch, reason) for reason in reasons]


def _known_leaks(before: TrackerState, seed_id: str) -> int:
    return next((track.isolation_violations for track in before.seeds if track.seed_id == seed_id), 0)


def _stage_event(move: SeedMove) -> TelemetryEventType:
    if move.now.stage is SeedStage.FOSSILIZED:
        return TelemetryEventType.SEED_FOSSILIZED
    if move.before.stage.is_live and move.now.stage.is_failed:
        return TelemetryEventType.SEED_CULLED
    return TelemetryEventType.SEED_STAGE_CHANGED


def _stage_words(move: SeedMove) -> str:
    return f"{move.now.blueprint_id}: {move.before.stage.name} → {move.now.stage.name}"


def _of_germination(epoch: int, seed: SeedStateReport) -> TelemetryEvent:
    message = f"{seed.blueprint_id}{_GERMINATED}"
    return _of_seed(TelemetryEventType.SEED_GERMINATED, epoch, seed, message)


def _of_lost_seed(epoch: int, track: SeedTrack, kept: bool) -> TelemetryEvent:
    kind = TelemetryEventType.SEED_FOSSILIZED if kept else TelemetryEventType.SEED_CULLED
    return event(kind, epoch, f"{track.blueprint_id} is gone", track.seed_id, track.slot_id)


def _of_transition(epoch: int, transition: Transition) -> TelemetryEvent:
    executed = transition.status is CommandStatus.EXECUTED
    kind = TelemetryEventType.COMMAND_EXECUTED if executed else TelemetryEventType.COMMAND_FAILED
    message = f"{transition.status}: {transition.detail}" if transition.detail else str(transition.status)
    return event(kind, epoch, message, command_id=transition.command_id)


def _of_command(epoch: int, command: AdaptationCommand) -> TelemetryEvent:
    return event(
        TelemetryEventType.COMMAND_ISSUED,
        epoch,
        f"{command.command_type}: {command.reason}",
        command.target_seed_id,
        command.target_slot_id,
        command.command_id,
    )


def _of_seed(kind: TelemetryEventType, epoch: int, seed: SeedStateReport, message: str) -> TelemetryEvent:
    return event(kind, epoch, message, seed.seed_id, seed.slot_id)
