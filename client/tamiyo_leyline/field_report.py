"""What became of a seed, told once it is over."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamiyo_leyline.decision import PolicyIdentity
from tamiyo_leyline.enums import CommandStatus
from tamiyo_leyline.fields import AS_OBJECT, Answer, Count, Probability, StageName, Timestamp
from tamiyo_leyline.signals import TrainingSignals


class FieldDecision(Answer):
    """A decision that began or ended a seed's life."""

    decision_id: str = Field(description="The decision.")
    command_id: str = Field(description="Its command that concerned the seed.")
    attempt: Count = Field(description="The attempt of the report decided on.")
    epoch: Count = Field(description="Its epoch.")
    action: str = Field(description="Name of the action: GERMINATE_NORM, FOSSILIZE, CULL.")
    policy: PolicyIdentity = Field(description="Who decided.")
    confidence: Probability = Field(description="Estimated chance that this would prove right, 0–1.")
    probability: float | None = Field(
        description="With which the policy chose the action; null: no chance was involved, or it cannot be "
        "worked out here."
    )
    reason: str = Field(description="Why, in words.")
    status: CommandStatus = Field(description="What became of the command.")
    ordered: bool = Field(False, description="Whether an operator ordered it in place of the policy.")


class FieldReport(Answer):
    """The life of one seed, from the report that first showed it to the one that showed its end."""

    report_id: str = Field(description="Unique id: run, attempt and epoch of the end, and the seed.")
    run_id: str = Field(description="The run.")
    attempt: Count = Field(description="The attempt in which it ended.")
    seed_id: str = Field(description="The seed.")
    slot_id: str = Field(description="Its slot.")
    blueprint_id: str = Field(description="Its blueprint.")
    final_stage: StageName = Field(description="The stage it ended in: FOSSILIZED, or the failed one seen.")
    success: bool = Field(description="Whether it was fossilised.")
    vanished: bool = Field(description="Whether the report of its end no longer has it.")
    superseded: bool = Field(description="Whether a later rewind discarded its end.")
    germinated_at: Timestamp = Field(description="When the report that first showed it came, UTC.")
    completed_at: Timestamp = Field(description="When the report of its end came, UTC.")
    germinated_epoch: Count = Field(description="Epoch of the report that first showed it.")
    completed_epoch: Count = Field(description="Epoch of the report that showed its end.")
    epochs_per_stage: dict[str, int] = Field(description="Epoch numbers spent in each stage, by name.")
    accuracy_at_germination: float | None = Field(
        description="Percent: as the trainer says, else the host's then; null: not measured."
    )
    accuracy_at_completion: float | None = Field(description="Percent, the last reported of the seed.")
    best_accuracy: float | None = Field(description="Percent: as the trainer says, else the best reported.")
    total_improvement: float | None = Field(
        description="Percentage points since germination (objective val_loss: percent); null: not measured."
    )
    attributed_improvement: float | None = Field(description="The part owed to the seed; null: not measured.")
    parameters: int | None = Field(description="Number of its parameters; null: not reported.")
    signals_at_germination: Annotated[TrainingSignals, AS_OBJECT] = Field(
        description="Of the report on which its germination was decided; of the one that first showed it, "
        "where no command asked for it."
    )
    command_ids: tuple[str, ...] = Field(description="Commands that concerned it, in order.")
    germinated_by: FieldDecision | None = Field(description="Null: no command asked for it.")
    ended_by: FieldDecision | None = Field(description="Null: no command ended it.")
    failure_stage: StageName | None = Field(description="The live stage it was last in; null: it succeeded.")
    failure_reason: str | None = Field(description="Why it failed, in words; null: it succeeded.")
