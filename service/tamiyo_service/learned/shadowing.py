"""What a shadow policy would have decided about a report: a pure function of what is stored, and of advice.

It sees the run as it was: the trainer's reports, and what became of the commands that were really given.
Only its own state is its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter
from tamiyo_core import Engine, RunState, SnapshotError, Step, decision_id, explain_slots
from tamiyo_core.engine import Observation
from tamiyo_core.policy import Advice, Question, RowAdvice
from tamiyo_leyline import AdaptationCommand, EpochReport, SlotDecision

from tamiyo_service.clock import from_micros
from tamiyo_service.store.shadows import Chosen, Followed, ShadowRow

_COMMANDS: Final = TypeAdapter(tuple[AdaptationCommand, ...])
_SLOTS: Final = TypeAdapter(tuple[SlotDecision, ...])
"""The random number is the one the run's own policy had."""
_WAIT: Final = "REQUEST_STATE"


class Case(NamedTuple):
    """A report and a policy that is to decide about it."""

    report: Followed
    engine: Engine
    """Of the run's configuration with the shadow policy in place of its own."""
    sha256: str | None
    """Of the artifact whose network it asks; None: it asks none."""

    @property
    def chosen(self) -> Chosen:
        """Which policy decides about which run."""
        policy = self.engine.policy
        return Chosen(self.report.entry.run_pk, policy.name, policy.version)


class Seen(NamedTuple):
    """A case whose report was taken in."""

    case: Case
    observation: Observation

    @property
    def questions(self) -> tuple[Question, ...]:
        """What the network is asked."""
        return self.observation.questions


def observe(case: Case, policy_state: str | None) -> Seen:
    """Take the report in.

    Args:
        case: the report and the policy.
        policy_state: snapshot of the policy's state after the report before; None: it begins here.

    Raises:
        SnapshotError: if what is stored is damaged.
    """
    entry, engine = case.report.entry, case.engine
    report = EpochReport.model_validate_json(entry.payload)
    draw = engine.draw_for(case.report.run_id, report.attempt, report.epoch)
    state = _state(case, policy_state)
    return Seen(case, engine.observe(state, report, held=entry.hold is not None, draw=draw))


def conclude(seen: Seen, advice: Advice | None, at: int) -> ShadowRow:
    """Decide.

    Args:
        seen: the report, taken in.
        advice: to its questions.
        at: the present moment, in microseconds since 1970.

    Raises:
        IllegalDecisionError: if the policy breaks its contract.
    """
    case = seen.case
    entry, engine = case.report.entry, case.engine
    attempt, epoch = entry.attempt, entry.epoch or 0
    step = engine.conclude(
        seen.observation,
        decision_id=decision_id(case.report.run_id, attempt, epoch),
        now=from_micros(entry.at),
        hold=entry.hold,
        backfill=entry.backfill,
        advice=advice,
    )
    run_pk, policy, version = case.chosen
    return ShadowRow(
        run_pk=run_pk,
        seq=entry.seq,
        policy=policy,
        version=version,
        attempt=attempt,
        epoch=epoch,
        at=at,
        agrees=_agrees(step, entry.reply or ""),
        action=step.action,
        sha256=case.sha256,
        commands=_COMMANDS.dump_json(step.commands).decode(),
        slots=_SLOTS.dump_json(explain_slots(engine, step)).decode(),
        state=orjson.dumps(engine.policy.snapshot(step.state.policy)).decode(),
    )


def joined_advice(rows: Sequence[RowAdvice | str]) -> Advice:
    """The answers to the questions of one report: one that is missing spoils them all."""
    missing = next((row for row in rows if isinstance(row, str)), None)
    return tuple(row for row in rows if isinstance(row, RowAdvice)) if missing is None else missing


def _state(case: Case, policy_state: str | None) -> RunState:
    """The run as it was before the report, with the shadow policy's state in place of its policy's."""
    engine, before = case.engine, case.report.before
    policy = engine.policy
    if before is None:
        state = engine.initial()
    else:
        data = orjson.loads(before.state)
        if not isinstance(data, list) or not data:
            raise SnapshotError("not a snapshot of a run")
        state = engine.restore([*data[:-1], policy.snapshot(policy.initial())])
    if policy_state is None:
        return state
    return state._replace(policy=policy.restore(orjson.loads(policy_state)))


def _agrees(step: Step, reply: str) -> bool:
    """Whether the commands would have done the same as those of the reply."""
    given = orjson.loads(reply)["commands"]
    return _deeds(_COMMANDS.dump_python(step.commands, mode="json")) == _deeds(given)


def _deeds(commands: Sequence[dict[str, Any]]) -> set[tuple[Any, ...]]:
    """What commands do to which seed; a WAIT does nothing."""
    return {
        (command["command_type"], command.get("target_seed_id"), command.get("blueprint_id"))
        for command in commands
        if command["command_type"] != _WAIT
    }
