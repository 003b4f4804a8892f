"""The command a decision becomes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, NamedTuple

from pydantic import Field

from tamiyo_leyline.enums import ActionKind, CommandType, RiskLevel, SeedStage
from tamiyo_leyline.fields import (
    MAX_REASON,
    Answer,
    Number,
    Probability,
    Reason,
    RiskName,
    StageName,
    Timestamp,
)


class AdaptationCommand(Answer):
    """What a trainer is asked to do with one seed. A GERMINATE names no slot: the trainer chooses."""

    command_id: str = Field(description="Unique id; quote it in outcomes.")
    issued_at: Timestamp = Field(description="When the decision was made, UTC.")
    command_type: CommandType = Field(description="What to do; REQUEST_STATE means: wait, report again.")
    target_seed_id: str | None = Field(None, description="The seed it concerns.")
    target_slot_id: str | None = Field(None, description="The slot that seed sits in.")
    blueprint_id: str | None = Field(None, description="For GERMINATE: the blueprint to build.")
    target_stage: StageName | None = Field(None, description="The stage the seed is to reach.")
    alpha_value: Probability | None = Field(None, description="For SET_ALPHA.")
    learning_rate: Number | None = Field(None, description="For SET_LEARNING_RATE.")
    reason: Reason = Field(description="Why, in words.")
    confidence: Probability = Field(description="Estimated chance that this proves right, 0–1.")
    risk_level: RiskName = Field(description="How much it can hurt the training.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Free text by key.")
    expected_stage: StageName | None = Field(
        None, description="The seed's stage this command presumes; refuse it when the seed has moved on."
    )
    expires_after_epoch: int = Field(description="Do not apply it after this epoch.")


class CommandShape(NamedTuple):
    """How a kind of action travels."""

    command_type: CommandType
    target_stage: SeedStage | None
    risk_level: RiskLevel


COMMAND_SHAPES: Final[dict[ActionKind, CommandShape]] = {
    ActionKind.WAIT: CommandShape(CommandType.REQUEST_STATE, None, RiskLevel.GREEN),
    ActionKind.GERMINATE: CommandShape(CommandType.GERMINATE, SeedStage.GERMINATED, RiskLevel.YELLOW),
    ActionKind.FOSSILIZE: CommandShape(CommandType.ADVANCE_STAGE, SeedStage.FOSSILIZED, RiskLevel.YELLOW),
    ActionKind.CULL: CommandShape(CommandType.CULL, SeedStage.CULLED, RiskLevel.ORANGE),
}
"""Command type, target stage and usual risk of each kind of action."""

COMMAND_LIFETIME_EPOCHS: Final = 1
"""A command of epoch e must not be applied after epoch e + this."""


def command_for(
    kind: ActionKind,
    *,
    command_id: str,
    issued_at: datetime,
    epoch: int,
    reason: str,
    confidence: float,
    seed: tuple[str, str, SeedStage] | None = None,
    blueprint_id: str | None = None,
    risk_level: RiskLevel | None = None,
) -> AdaptationCommand:
    """The command that carries an action of `epoch` to the trainer.

    Args:
        kind: what was decided.
        command_id: id of the new command.
        issued_at: when it was decided, UTC.
        epoch: the epoch of the report it answers.
        reason: why, never empty.
        confidence: 0–1.
        seed: (seed_id, slot_id, stage) of the seed concerned.
        blueprint_id: for GERMINATE.
        risk_level: overrides the usual risk of the action.

    Raises:
        pydantic.ValidationError: if the reason is empty or the confidence outside 0–1.
    """
    shape = COMMAND_SHAPES[kind]
    seed_id, slot_id, stage = seed or (None, None, None)
    values = {
        "command_id": command_id,
        "issued_at": issued_at,
        "command_type": shape.command_type,
        "target_seed_id": seed_id,
        "target_slot_id": slot_id,
        "blueprint_id": blueprint_id,
        "target_stage": shape.target_stage,
        "alpha_value": None,
        "learning_rate": None,
        "reason": reason,
        "confidence": confidence,
        "risk_level": shape.risk_level if risk_level is None else risk_level,
        "annotations": {},
        "expected_stage": stage,
        "expires_after_epoch": epoch + COMMAND_LIFETIME_EPOCHS,
    }
    if 0.0 <= confidence <= 1.0 and 0 < len(reason) <= MAX_REASON and issued_at.tzinfo is UTC:
        return AdaptationCommand.assembled(values)
    return AdaptationCommand.model_validate(values)
