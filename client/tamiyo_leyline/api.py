"""HTTP envelopes: what surrounds reports and decisions on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field

from tamiyo_leyline.command import AdaptationCommand
from tamiyo_leyline.config import PolicyChoice, RunConfig
from tamiyo_leyline.constraints import WholeNumber
from tamiyo_leyline.decision import DecisionItem, DecisionReply, PolicyIdentity
from tamiyo_leyline.enums import CommandStatus, RunResult, RunStatus
from tamiyo_leyline.fields import (
    MAX_COUNT,
    RUN_ID_PATTERN,
    Annotations,
    Answer,
    Count,
    Identifier,
    KnownOutcome,
    Note,
    OrderReason,
    Probability,
    Reason,
    Request,
    StageName,
    Text,
    Timestamp,
)
from tamiyo_leyline.problem import Problem
from tamiyo_leyline.report import EpochReport

LEYLINE_HEADER: Final = "Tamiyo-Leyline"
REPLAYED_HEADER: Final = "Tamiyo-Replayed"
MAX_BODY_BYTES: Final = 1024 * 1024
MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
MAX_BATCH_REPORTS: Final = 1024
MAX_CLIENT_DECISIONS: Final = 1024
DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1000

Item = TypeVar("Item", bound=BaseModel)


class Page(Answer, Generic[Item]):
    """One page of a list."""

    model_config = ConfigDict(json_schema_extra={"description": "One page of a list."})

    items: tuple[Item, ...] = Field(description="The page's items.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null: the last page.")


class RunDecisions(Answer):
    """One page of the decisions of a run."""

    items: tuple[DecisionItem, ...] = Field(description="The page's items.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null: the last page.")
    counts: dict[str, int] | None = Field(
        None, description="With `count=true`: decisions of all pages by action; otherwise absent."
    )


class SeedView(Answer):
    """A seed as last reported."""

    seed_id: str = Field(description="The seed.")
    slot_id: str = Field(description="Its slot.")
    blueprint_id: str = Field(description="Its blueprint.")
    stage: StageName = Field(description="Its stage, by name.")
    alpha: Probability = Field(description="Its blending weight, 0–1.")


class OverrideView(Answer):
    """An operator's order that no report has taken yet."""

    action: str = Field(description="Name of the action to take.")
    target_seed_id: str | None = Field(description="The seed; null: none, or with WAIT every slot.")
    reason: str = Field(description="Why.")
    by: str | None = Field(None, description="Who ordered it; null: nobody said.")


class HoldView(Answer):
    """An operator's hold: every decision is WAIT until somebody releases the run."""

    reason: str = Field(description="Why.")
    by: str | None = Field(None, description="Who ordered it; null: nobody said.")
    since: Timestamp = Field(description="UTC.")


class RunView(Answer):
    """A run as it stands."""

    run_id: str = Field(description="The run.")
    status: RunStatus = Field(description="ACTIVE, HELD or COMPLETED.")
    result: RunResult | None = Field(None, description="How a completed run ended.")
    attempt: Count = Field(description="The current attempt; raised by a rewind.")
    last_epoch: int | None = Field(description="Last epoch reported in this attempt; null: none yet.")
    created_at: Timestamp = Field(description="UTC.")
    updated_at: Timestamp = Field(description="Last change of any kind, UTC.")
    last_report_at: Timestamp | None = Field(description="Last report, UTC; null: none yet.")
    config: RunConfig = Field(description="The configuration with all defaults filled in.")
    rules_version: str = Field(description="Version of the rules the run started under.")
    policy: PolicyIdentity = Field(description="The policy that decides.")
    counts: dict[str, int] = Field(description="Decisions by action, over all attempts.")
    seeds: tuple[SeedView, ...] = Field(description="The seeds of the last report.")
    labels: dict[str, str] = Field(description="The operator's own keys and values.")
    hold: HoldView | None = Field(None, description="The hold in force; null: none.")
    override: OverrideView | None = Field(
        None, description="What an operator ordered for the next report; null: nothing."
    )


class BatchItem(Request):
    """One report of a batch. The run id is checked item by item: one bad id fails only its own report."""

    run_id: str = Field(description="The run.", json_schema_extra={"pattern": RUN_ID_PATTERN})
    report: EpochReport = Field(description="Its report.")


class BatchResult(Answer):
    """What became of one report of a batch: a reply or a problem."""

    status: int = Field(description="HTTP status this report alone would have had.")
    reply: DecisionReply | None = Field(None, description="The decision.")
    problem: Problem | None = Field(None, description="Why it was refused.")
    replayed: bool = Field(False, description="Whether the reply had been given before.")


class BatchResults(Answer):
    """Answer of ``POST /epochs``, in the order of the reports."""

    results: tuple[BatchResult, ...] = Field(description="One for each report.")


class RewindRequest(Request):
    """A trainer resumed from a checkpoint."""

    to_epoch: Count | None = Field(description="Last epoch the checkpoint contains; null: none.")
    attempt: Annotated[int, WholeNumber(1, MAX_COUNT)] = Field(
        description="The attempt to open: the last one + 1."
    )


class RewindReply(Answer):
    """The attempt a rewind opened."""

    run_id: str = Field(description="The run.")
    attempt: Count = Field(description="The attempt to report under from now on.")
    resumed_epoch: int | None = Field(description="Epoch whose state it continues; null: the initial state.")


class CompleteRequest(Request):
    """A training ended."""

    result: RunResult = Field(description="succeeded, failed or aborted.", strict=False)


class OutcomeRequest(Request):
    """What became of one command."""

    status: KnownOutcome = Field(description="EXECUTED, REFUSED, FAILED or EXPIRED.")
    detail: Text = Field("", description="Why, in the trainer's words.")


class OutcomeReply(Answer):
    """The outcome as recorded; it takes effect with the run's next report."""

    run_id: str = Field(description="The run.")
    command_id: str = Field(description="The command.")
    status: CommandStatus = Field(description="What became of it.")


class ClientDecision(Request):
    """What a trainer did while Tamiyo was silent."""

    epoch: Count = Field(description="The epoch it decided about.")
    attempt: Count = Field(0, description="The attempt it belongs to.")
    commands: Annotated[
        tuple[AdaptationCommand, ...],
        FailFast(),
        Field(max_length=65, strict=False),
    ] = Field(description="What the trainer followed instead.")
    reason: Reason = Field(description="Why it decided for itself.")


class ClientDecisionsReply(Answer):
    """How many client decisions were new."""

    run_id: str = Field(description="The run.")
    recorded: Count = Field(description="Newly recorded.")
    known: Count = Field(description="Recorded before.")


class HoldRequest(Request):
    """An operator stops a run from changing its network."""

    reason: OrderReason = Field(description="Why; shown with every WAIT.")
    by: Identifier | None = Field(None, description="Who says so; taken as it is told.")


class OverrideRequest(Request):
    """An operator orders the command of the next report, in place of the policy's."""

    action: Identifier = Field(
        description="Name of an action of the run's topology; issued only if it is legal at that report."
    )
    target_seed_id: Identifier | None = Field(
        None,
        description="The seed to fossilize, cull or leave alone; absent: the only one, or with WAIT all.",
    )
    reason: OrderReason = Field(description="Why; shown with the command.")
    by: Identifier | None = Field(None, description="Who orders it; taken as it is told.")


class PolicyRequest(Request):
    """An operator gives a run another policy, from its next report on."""

    policy: PolicyChoice = Field(description="Name and version; without a version the active one.")
    reason: OrderReason = Field(description="Why.")
    by: Identifier | None = Field(None, description="Who orders it; taken as it is told.")


class NoteRequest(Request):
    """What an operator wants to remember of a run."""

    text: Note = Field(description="The note, at most 2 000 characters.")
    by: Identifier | None = Field(None, description="Who says so; taken as it is told.")


class NoteView(Answer):
    """A note of a run."""

    note_id: int = Field(description="Number of the note among the inputs of its run.")
    at: Timestamp = Field(description="When it was made, UTC.")
    text: str = Field(description="The note.")
    by: str | None = Field(None, description="Who made it, as told; null: nobody said.")
    attempt: Count = Field(description="The attempt the run was at.")
    last_epoch: int | None = Field(description="The last epoch reported then; null: none yet.")


class LabelsRequest(Request):
    """The labels a run is to have from now on, instead of those it has."""

    labels: Annotations = Field(description="Keys and values, at most 32.")
    by: Identifier | None = Field(None, description="Who says so; taken as it is told.")


class LiveEvent(Answer):
    """What one event of a live stream carries as its data."""

    id: str = Field(description="Its place in the history; send it back as Last-Event-ID to go on after it.")
    type: str = Field(description="What happened: decision, a telemetry event's type, or an input's kind.")
    run_id: str = Field(description="The run.")
    attempt: Count = Field(description="The attempt it belongs to.")
    epoch: int | None = Field(description="The epoch it belongs to; null: it came between reports.")
    at: Timestamp = Field(description="When, UTC.")
    data: dict[str, Any] = Field(
        description="A DecisionItem, a TelemetryEvent, or the content of another input."
    )


class Health(Answer):
    """Whether the service lives (healthz) or can decide (readyz)."""

    status: str = Field(description="ok, or what is wrong.")
    version: str = Field(description="Version of the service.")
    leyline: str = Field(description="Version of the wire it speaks.")
