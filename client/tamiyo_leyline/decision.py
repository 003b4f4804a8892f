"""Decisions as they travel: the reply, the full record, telemetry events."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tamiyo_leyline.command import AdaptationCommand
from tamiyo_leyline.enums import CommandStatus, TelemetryEventType
from tamiyo_leyline.fields import AS_OBJECT, Answer, Count, Probability, Timestamp
from tamiyo_leyline.report import EpochReport
from tamiyo_leyline.signals import TrainingSignals


class PolicyIdentity(Answer):
    """Which policy decided."""

    name: str = Field(description="Name of the policy.")
    version: str = Field(description="Version of its rules or artifact.")
    sha256: str | None = Field(None, description="SHA-256 of the artifact; null for a policy without one.")


class DecisionReply(Answer):
    """Answer to an epoch report. A repeated report gets the same bytes again."""

    run_id: str = Field(description="The run.")
    attempt: Count = Field(description="The attempt the report belongs to.")
    epoch: Count = Field(description="The epoch the report belongs to.")
    decision_id: str = Field(description="Unique id of this decision.")
    commands: tuple[AdaptationCommand, ...] = Field(
        description="One for each slot that needs one; exactly one REQUEST_STATE when none does."
    )
    policy: PolicyIdentity = Field(description="The policy that decided.")


class Comparison(Answer):
    """A number a rule looked at."""

    name: str = Field(description="What was compared.")
    value: float | None = Field(description="The measured value; null: not measured.")
    threshold: float = Field(description="The setting it was held against.")
    holds: bool = Field(description="Whether the condition held.")


class SlotDecision(Answer):
    """How one slot (or the question of germination: slot_id and seed_id null) was decided."""

    slot_id: str | None = Field(description="The slot; null for germination.")
    seed_id: str | None = Field(description="The seed in it; null for germination.")
    action: str = Field(description="Name of the action taken.")
    reason: str = Field(description="Why, in words.")
    confidence: Probability = Field(description="Estimated chance that this proves right, 0–1.")
    mask: dict[str, bool] = Field(description="Which actions were legal, by name.")
    probabilities: dict[str, float] | None = Field(description="Probability of each action; null: no chance.")
    value: float | None = Field(description="Estimated value of the state; null without a critic.")
    entropy: float | None = Field(description="Entropy over legal actions, nats; null without probabilities.")
    uncertainty: float | None = Field(description="Disagreement of the ensemble; null without one.")
    runner_up: str | None = Field(description="The action that came second; null when none was considered.")
    comparisons: tuple[Comparison, ...] = Field(description="The numbers compared, in order.")
    ordered: bool = Field(False, description="Whether an operator ordered it in place of the policy.")


class ShadowDecision(DecisionReply):
    """What a shadow policy would have decided; nobody was told."""

    decided_at: Timestamp = Field(description="When it was worked out, UTC.")
    agrees: bool = Field(description="Whether its commands do what those of the reply do.")
    slots: tuple[SlotDecision, ...] = Field(description="Every slot decided, then germination.")


class OutcomeRecord(Answer):
    """What became of a command of this decision."""

    command_id: str = Field(description="The command.")
    status: CommandStatus = Field(description="EXECUTED, REFUSED, FAILED or EXPIRED.")
    epoch: Count = Field(description="The report in which it became known.")
    detail: str = Field("", description="Why, in the trainer's words.")


class TelemetryEvent(Answer):
    """Something that happened in a run."""

    type: TelemetryEventType = Field(description="What happened.")
    epoch: Count = Field(description="The epoch of the report that showed it.")
    message: str = Field(description="In words.")
    seed_id: str | None = Field(None, description="The seed concerned.")
    slot_id: str | None = Field(None, description="Its slot.")
    command_id: str | None = Field(None, description="The command concerned.")


class DecisionItem(DecisionReply):
    """A decision in a list."""

    decided_at: Timestamp = Field(description="When, UTC.")
    action: str = Field(description="The first action taken, WAIT when there was none.")
    warnings: tuple[str, ...] = Field((), description="What looked wrong in the report.")
    outcomes: tuple[OutcomeRecord, ...] = Field((), description="What became of its commands.")
    superseded: bool = Field(False, description="Whether a later rewind discarded it.")


class DecisionRecord(DecisionItem):
    """A decision with everything it was made from."""

    report: EpochReport = Field(description="The report it answered, accuracies in percent.")
    signals: Annotated[TrainingSignals, AS_OBJECT] = Field(description="What the tracker made of it.")
    features: dict[str, float] = Field(description="The 27 features, by name.")
    slots: tuple[SlotDecision, ...] = Field(description="Every slot decided, then germination.")
    penalties: dict[str, float] = Field(description="Penalty of each penalised blueprint at this epoch.")
    embargo_until_epoch: int | None = Field(description="First epoch that may germinate; null: no embargo.")
    events: tuple[TelemetryEvent, ...] = Field((), description="Telemetry events of this report.")
    shadow: tuple[ShadowDecision, ...] = Field((), description="What shadow policies would have decided.")
