"""What is told of a run at a glance: the lines, bands and marks of a chart, and a row of the fleet."""

from __future__ import annotations

from pydantic import Field
from tamiyo_leyline import PolicyIdentity, RunResult, RunStatus
from tamiyo_leyline.api import SeedView
from tamiyo_leyline.fields import Answer, Count, StageName, Timestamp


class Line(Answer):
    """Measurements over epochs; what was not measured, or is not finite, is left out."""

    epochs: tuple[int, ...] = Field(description="Where something was measured, rising.")
    values: tuple[float, ...] = Field(description="What was measured, one for each epoch.")


class Period(Answer):
    """Epochs through which something held."""

    first_epoch: Count = Field(description="The first of them.")
    last_epoch: Count = Field(description="The last of them, included.")
    reason: str | None = Field(None, description="Of a hold: why.")


class StageBand(Answer):
    """Epochs that a seed spent in one stage."""

    stage: StageName = Field(description="The stage, by name.")
    first_epoch: Count = Field(description="The first report that shows it there.")
    last_epoch: Count = Field(description="The last report that does.")


class SeedBand(Answer):
    """A seed's way through its stages."""

    seed_id: str = Field(description="The seed.")
    slot_id: str = Field(description="Its slot.")
    blueprint_id: str = Field(description="Its blueprint.")
    stages: tuple[StageBand, ...] = Field(description="Its stages, in their order.")
    alpha: Line = Field(description="Its blending weight, 0–1, where it changed.")


class DecisionMark(Answer):
    """A decision other than WAIT, as a chart marks it."""

    attempt: Count = Field(description="The attempt of its report.")
    epoch: Count = Field(description="The epoch of its report.")
    action: str = Field(description="The first action taken.")
    seed_id: str | None = Field(None, description="The seed it is about; null for a germination.")
    reason: str = Field(description="Why, in words.")


class RunSeries(Answer):
    """A run's history for charts: what counts of it after rewinds, made short."""

    run_id: str = Field(description="The run.")
    attempt: Count = Field(description="The attempt whose history this is, with what it continues.")
    first_epoch: int | None = Field(description="First epoch looked at that was reported; null: none was.")
    last_epoch: int | None = Field(description="Last epoch looked at that was reported; null: none was.")
    reports: Count = Field(description="How many reports were looked at.")
    earlier: bool = Field(description="Whether reports before `first_epoch` were left out for their number.")
    lines: dict[str, Line] = Field(
        description="By name: train_loss, val_loss, train_accuracy and val_accuracy (percent); confidence of "
        "the decision (0–1); of a learned policy's first question entropy (nats), value and uncertainty. "
        "Lines without a measurement are absent."
    )
    seeds: tuple[SeedBand, ...] = Field(description="Seeds in the order they appeared.")
    decisions: tuple[DecisionMark, ...] = Field(description="Decisions other than WAIT, in order.")
    plateaus: tuple[Period, ...] = Field(
        description="From the report that saw a plateau long enough to germinate until it ended."
    )
    embargoes: tuple[Period, ...] = Field(description="Epochs after a cull without germination.")
    holds: tuple[Period, ...] = Field(description="Epochs decided under an operator's hold.")
    divergences: tuple[int, ...] = Field(description="Epochs with a loss that is not finite.")
    rewinds: tuple[int, ...] = Field(description="Epochs after which a rewind went on.")
    omitted: Count = Field(
        description="How many seeds and decisions were left out, the earliest: look at fewer epochs."
    )


class LastDecision(Answer):
    """The last decision of a run that was no WAIT."""

    attempt: Count = Field(description="The attempt of its report.")
    epoch: Count = Field(description="The epoch of its report.")
    action: str = Field(description="The first action taken.")
    reason: str = Field(description="Why, in words.")
    at: Timestamp = Field(description="When, UTC.")


class FleetRun(Answer):
    """A run as a row of the fleet."""

    run_id: str = Field(description="The run.")
    status: RunStatus = Field(description="ACTIVE, HELD or COMPLETED.")
    result: RunResult | None = Field(description="How a completed run ended.")
    attempt: Count = Field(description="The current attempt.")
    last_epoch: int | None = Field(description="Last epoch reported; null: none yet.")
    max_epochs: int = Field(description="Evaluations planned, as configured.")
    created_at: Timestamp = Field(description="UTC.")
    last_report_at: Timestamp | None = Field(description="Last report, UTC; null: none yet.")
    silent_after_seconds: float | None = Field(
        description="Seconds without a report after which the run counts as gone silent: five times the mean "
        "time between its reports so far, at least a minute; null: it is completed."
    )
    policy: PolicyIdentity = Field(description="The policy that decides.")
    counts: dict[str, int] = Field(description="Decisions by action, over all attempts.")
    seeds: tuple[SeedView, ...] = Field(description="The seeds of the last report.")
    labels: dict[str, str] = Field(description="The operator's own keys and values.")
    last_decision: LastDecision | None = Field(description="The last that was no WAIT; null: none yet.")
    measure: str = Field(description="What is told of it: val_accuracy (percent) or val_loss.")
    latest: float | None = Field(description="The last measurement of the sparkline; null: none.")
    sparkline: Line = Field(
        description="The measure in reports that count after rewinds, over the whole run, the last included."
    )


class FleetPage(Answer):
    """One page of the fleet, the newest run first."""

    items: tuple[FleetRun, ...] = Field(description="The page's runs.")
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null: the last page.")
    now: Timestamp = Field(description="What time it is to the service, UTC.")
