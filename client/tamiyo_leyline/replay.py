"""Replay on the wire: what another policy or configuration would have decided about the reports of a run."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from tamiyo_leyline.config import (
    PRESETS,
    HeuristicConfig,
    LearnedConfig,
    PolicyChoice,
    RunConfig,
    TrackerConfig,
)
from tamiyo_leyline.constraints import WholeNumber, fault
from tamiyo_leyline.decision import PolicyIdentity, SlotDecision
from tamiyo_leyline.enums import CommandStatus
from tamiyo_leyline.fields import MAX_COUNT, Answer, Count, Probability, Request

ReplayItems = Literal["all", "acting", "divergences", "none"]
"""Which reports a replay lists."""
_Count = Annotated[int, WholeNumber(0, MAX_COUNT)]


class _Settings(Request):
    """Some settings of a section."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, sent: Any) -> Any:
        unknown = [name for name in sent if name not in cls.model_fields] if isinstance(sent, dict) else []
        if unknown:
            valid = ", ".join(cls.model_fields)
            raise fault("unknown_setting", str(unknown[0])[:80], f"is no setting; valid: {valid}")
        return sent


class HeuristicChanges(_Settings, HeuristicConfig):
    """Settings of the heuristic that a replay changes; the others are those of the run."""

    @model_validator(mode="after")
    def _probation_is_ordered(self) -> Self:
        # Two of the run's settings may be needed to tell: `ReplayRequest.applied_to` does.
        return self


class LearnedChanges(_Settings, LearnedConfig):
    """Settings of the learned policy that a replay changes; the others are those of the run."""


class TrackerChanges(_Settings, TrackerConfig):
    """Settings of the tracker that a replay changes; the others are those of the run."""


class ReplayRequest(Request):
    """With which policy and settings to replay a run: whatever is absent is that of the run."""

    policy: PolicyChoice | None = Field(
        None,
        description="The policy that decides. Without a version: the run's, if it has the same name, else "
        "the active one. Absent: the run's.",
    )
    heuristic: HeuristicChanges | None = Field(
        None,
        description="Settings to change. A preset brings its values (for the tracker, too), but for those "
        "named here; null as preset takes them back to their defaults.",
    )
    learned: LearnedChanges | None = Field(None, description="Settings to change.")
    tracker: TrackerChanges | None = Field(None, description="Settings to change.")
    attempt: _Count | None = Field(
        None, description="The attempt whose history is replayed, with what it continues; absent: the last."
    )
    since_epoch: _Count = Field(
        0,
        description="First epoch to tell of and to count. The policy is shown the reports before it as well.",
    )
    until_epoch: _Count = Field(MAX_COUNT, description="Last epoch.")
    items: ReplayItems = Field(
        "all",
        description="Which reports to list: all; acting: those that either of the two answered with more "
        "than WAIT; divergences; none.",
    )
    explain: bool = Field(False, description="Whether listed reports tell how each slot was decided.")

    def applied_to(self, config: RunConfig) -> RunConfig:
        """The configuration of a run with the changes of this request, its labels and shadows left out.

        Raises:
            pydantic.ValidationError: if they do not go together.
        """
        content = json.loads(config.model_dump_json(exclude={"labels", "shadow"}))
        if self.heuristic is not None and "preset" in self.heuristic.model_fields_set:
            _apply_preset(content, config.heuristic.preset, self.heuristic.preset)
        for name in ("heuristic", "learned", "tracker"):
            changes = getattr(self, name)
            if changes is not None:
                content[name] |= json.loads(changes.model_dump_json(exclude_unset=True))
        content["policy"] = self._policy(config.policy).model_dump()
        return RunConfig.model_validate_json(json.dumps(content))

    def _policy(self, of_run: PolicyChoice) -> PolicyChoice:
        chosen = self.policy
        if chosen is None:
            return of_run
        name = chosen.name if "name" in chosen.model_fields_set else of_run.name
        version = chosen.version
        if version is None and "version" not in chosen.model_fields_set and name == of_run.name:
            version = of_run.version
        return PolicyChoice(name=name, version=version)


def _apply_preset(content: dict[str, Any], before: str | None, now: str | None) -> None:
    """Take back what one preset has set, then take the values of another.

    A stored configuration has every setting filled in: what equals the value of its preset is taken for the
    preset's, what differs for the run's own.
    """
    for section, values in PRESETS.get(before or "", {}).items():
        for name, value in values.items():
            if content[section][name] == value:
                content[section][name] = _default(section, name)
    for section, values in PRESETS.get(now or "", {}).items():
        content[section] |= values


def _default(section: str, name: str) -> Any:
    schema = HeuristicConfig if section == "heuristic" else TrackerConfig
    return schema.model_fields[name].default


class LoggedChoice(Answer):
    """What the run decided about a slot."""

    action: str = Field(description="Name of the action.")
    reason: str | None = Field(
        description="Why, in words; where all of several slots waited, the words of all together; null: it "
        "waited beside other commands, and what for is not in the reply."
    )
    confidence: Probability | None = Field(
        description="Its confidence, 0–1; null: the reply has none for this slot alone."
    )
    outcome: CommandStatus | None = Field(
        None, description="What became of the command, as far as it is known; null for a WAIT."
    )


class ReplayedChoice(Answer):
    """What the replayed policy decided about a slot."""

    action: str = Field(description="Name of the action.")
    reason: str = Field(description="Why, in words.")
    confidence: Probability = Field(description="Its confidence, 0–1.")
    runner_up: str | None = Field(None, description="The action that came second; null: none was considered.")
    margin: float | None = Field(
        None,
        description="Probability of the action less that of the most probable other one; null: no chance.",
    )
    fallback: str | None = Field(
        None, description="Why another policy decided than the one asked for; null: that one did."
    )


class ReplaySlot(Answer):
    """One slot, decided twice."""

    slot_id: str | None = Field(description="The slot; null for germination.")
    seed_id: str | None = Field(description="The seed in it; null for germination.")
    logged: LoggedChoice = Field(description="What the run decided.")
    replayed: ReplayedChoice = Field(description="What the replayed policy decides.")
    agrees: bool = Field(description="Whether that is the same action.")


class ReplayItem(Answer):
    """One report, decided twice."""

    attempt: Count = Field(description="The attempt of the report.")
    epoch: Count = Field(description="The epoch of the report.")
    decision_id: str = Field(description="The run's decision.")
    logged_action: str = Field(description="The run's first action, WAIT when there was none.")
    replayed_action: str = Field(description="The replayed policy's first action.")
    agrees: bool = Field(description="Whether every slot agrees.")
    open_loop: bool = Field(
        description="Whether a structural divergence came before: the trainer obeyed the run's decisions, "
        "and would have other seeds had it obeyed the replayed ones."
    )
    held: bool = Field(False, description="Whether an operator's hold let both only wait.")
    overridden: bool = Field(False, description="Whether an operator's order was to be carried out, by both.")
    backfill: bool = Field(False, description="Whether the report was late: both only observed it.")
    slots: tuple[ReplaySlot, ...] = Field(description="Every slot, then germination.")
    explanation: tuple[SlotDecision, ...] | None = Field(
        None, description="With `explain`: how the replayed policy decided each slot; otherwise null."
    )


class Divergence(Answer):
    """Where two policies differ."""

    attempt: Count = Field(description="The attempt of the report.")
    epoch: Count = Field(description="The epoch of the report.")
    decision_id: str = Field(description="The run's decision.")
    slot: ReplaySlot = Field(description="The first slot that does not agree.")


class SettingChange(Answer):
    """A setting that is not the run's."""

    name: str = Field(description="Its name, with its section.")
    logged: JsonValue = Field(description="The run's value.")
    replayed: JsonValue = Field(description="The replay's value.")


class ReplayCounts(Answer):
    """What a replay comes to, over the reports from `since_epoch` to `until_epoch`."""

    reports: Count = Field(description="Reports decided again.")
    agreeing: Count = Field(description="Those whose every slot agrees.")
    acting: Count = Field(description="Reports that either of the two answered with more than WAIT.")
    acting_agreeing: Count = Field(description="Those of them whose every slot agrees.")
    open_loop: Count = Field(description="Reports after the structural divergence.")
    held: Count = Field(description="Reports under an operator's hold.")
    backfilled: Count = Field(description="Late reports.")
    logged: dict[str, int] = Field(description="The run's decisions, by first action.")
    replayed: dict[str, int] = Field(description="The replayed policy's decisions, by first action.")


class Replay(Answer):
    """The reports of a run, decided again. Nothing of it is stored."""

    run_id: str = Field(description="The run.")
    attempt: Count = Field(description="The attempt whose history was replayed, with what it continues.")
    config: RunConfig = Field(description="The configuration of the replay, complete.")
    policy: PolicyIdentity = Field(description="The policy of the replay.")
    changes: tuple[SettingChange, ...] = Field(description="Settings in which it differs from the run's.")
    items: tuple[ReplayItem, ...] = Field(description="The reports asked for, in order.")
    counts: ReplayCounts = Field(description="How many of which kind.")
    agreement: Probability | None = Field(
        description="Share of the reports that agree, 0–1; null without a report."
    )
    acting_agreement: Probability | None = Field(
        description="The same of the reports that either answered with more than WAIT; null without one."
    )
    first_divergence: Divergence | None = Field(
        description="The first report of the history at which the two differ, also before `since_epoch`; "
        "null: none up to `until_epoch`."
    )
    structural_divergence: Divergence | None = Field(
        description="The first at which the trainer would have been left with other seeds: one of the two "
        "germinates, culls or fossilizes and the other does not, and it was not refused and did not fail. "
        "What follows is open-loop. null: none."
    )
    failure: str | None = Field(
        None, description="Why the replay ended early: the policy failed; null: it did not."
    )
