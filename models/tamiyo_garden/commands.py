"""What each command does to the seed bed, and what it is refused for."""

from collections.abc import Callable
from typing import Final

from tamiyo_leyline import AdaptationCommand, CommandOutcome, CommandStatus, CommandType, SeedStage

from tamiyo_garden.bed import NoFreeSlotError, SeedBed, UnknownSeedError
from tamiyo_garden.blueprints import UnknownBlueprintError
from tamiyo_garden.seed import Seed


class CommandRefusedError(Exception):
    """The command would do what the garden does not allow. Its message is told to the service."""


def execute(command: AdaptationCommand, bed: SeedBed, next_epoch: int) -> CommandOutcome:
    """Carry out one command, or say why not. A refused or expired command changes nothing.

    Args:
        command: as the service issued it.
        bed: the seeds it is about.
        next_epoch: number of the epoch that will train next.
    """
    if next_epoch > command.expires_after_epoch:
        return _outcome(command, CommandStatus.EXPIRED, f"valid until epoch {command.expires_after_epoch}")
    try:
        detail = _HANDLERS[command.command_type](command, bed)
    except (CommandRefusedError, NoFreeSlotError, UnknownBlueprintError, UnknownSeedError) as refusal:
        return _outcome(command, CommandStatus.REFUSED, str(refusal))
    return _outcome(command, CommandStatus.EXECUTED, detail)


def _outcome(command: AdaptationCommand, status: CommandStatus, detail: str) -> CommandOutcome:
    return CommandOutcome(command_id=command.command_id, status=status, detail=detail)


def _request_state(command: AdaptationCommand, bed: SeedBed) -> str:
    return "the next report tells the state"


def _germinate(command: AdaptationCommand, bed: SeedBed) -> str:
    if command.blueprint_id is None:
        raise CommandRefusedError("GERMINATE names no blueprint")
    seed = bed.germinate(command.blueprint_id, command.target_slot_id)
    return f"{seed.record.seed_id} in {seed.record.slot_id}"


def _advance_stage(command: AdaptationCommand, bed: SeedBed) -> str:
    seed = _live_target(command, bed)
    if command.target_stage is not SeedStage.FOSSILIZED:
        raise CommandRefusedError("only FOSSILIZED takes a command; the gates open the other stages")
    if seed.record.stage is not SeedStage.PROBATIONARY:
        raise CommandRefusedError(f"{seed.record.seed_id} is {seed.record.stage.name}, not PROBATIONARY")
    if not seed.record.total_improvement > 0.0:
        raise CommandRefusedError(f"total improvement is {seed.record.total_improvement:+.2f} points")
    seed.fossilize()
    return f"{seed.record.seed_id} fossilized"


def _cull(command: AdaptationCommand, bed: SeedBed) -> str:
    seed = _live_target(command, bed)
    seed.cull()
    return f"{seed.record.seed_id} culled"


def _set_alpha(command: AdaptationCommand, bed: SeedBed) -> str:
    seed = _live_target(command, bed)
    if command.alpha_value is None:
        raise CommandRefusedError("SET_ALPHA names no alpha")
    if seed.record.stage not in (SeedStage.SHADOWING, SeedStage.PROBATIONARY):
        raise CommandRefusedError(f"alpha is not free to set in {seed.record.stage.name}")
    seed.blend(command.alpha_value)
    return f"{seed.record.seed_id}: alpha {command.alpha_value:g}"


def _set_learning_rate(command: AdaptationCommand, bed: SeedBed) -> str:
    seed = _live_target(command, bed)
    if command.learning_rate is None:
        raise CommandRefusedError("SET_LEARNING_RATE names no learning rate")
    if command.learning_rate < 0.0:
        raise CommandRefusedError(f"a learning rate is at least 0, got {command.learning_rate:g}")
    seed.record.learning_rate = command.learning_rate
    return f"{seed.record.seed_id}: learning rate {command.learning_rate:g}"


def _pause_seed(command: AdaptationCommand, bed: SeedBed) -> str:
    return _pause(_live_target(command, bed), True)


def _resume_seed(command: AdaptationCommand, bed: SeedBed) -> str:
    return _pause(_live_target(command, bed), False)


def _pause(seed: Seed, paused: bool) -> str:
    if seed.record.paused is paused:
        raise CommandRefusedError(f"{seed.record.seed_id} is {'already' if paused else 'not'} paused")
    seed.record.paused = paused
    return f"{seed.record.seed_id} {'paused' if paused else 'resumed'}"


def _live_target(command: AdaptationCommand, bed: SeedBed) -> Seed:
    seed = bed.seed(command.target_seed_id)
    stage = seed.record.stage
    if command.expected_stage is not None and stage is not command.expected_stage:
        raise CommandRefusedError(
            f"{seed.record.seed_id} is {stage.name}, the command presumes {command.expected_stage.name}"
        )
    if not stage.is_live:
        raise CommandRefusedError(f"{seed.record.seed_id} is {stage.name}, not live")
    return seed


_HANDLERS: Final[dict[CommandType, Callable[[AdaptationCommand, SeedBed], str]]] = {
    CommandType.REQUEST_STATE: _request_state,
    CommandType.GERMINATE: _germinate,
    CommandType.ADVANCE_STAGE: _advance_stage,
    CommandType.CULL: _cull,
    CommandType.SET_ALPHA: _set_alpha,
    CommandType.SET_LEARNING_RATE: _set_learning_rate,
    CommandType.PAUSE_SEED: _pause_seed,
    CommandType.RESUME_SEED: _resume_seed,
}
