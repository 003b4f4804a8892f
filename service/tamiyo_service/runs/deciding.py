"""From a report to the journal's entry, and back from the entry to the step that made it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from pydantic import TypeAdapter
from tamiyo_core import (
    Advice,
    AskingPolicy,
    Engine,
    Observation,
    Policy,
    RowAdvice,
    Step,
    decision_id,
    parse_command_id,
)
from tamiyo_core.learned import LearnedPolicy
from tamiyo_core.ledger_page import Transition
from tamiyo_leyline import AdaptationCommand, EpochReport, PolicyIdentity, TelemetryEvent

from tamiyo_service.clock import Clock, from_micros, to_micros
from tamiyo_service.observability.tallies import ReportTally
from tamiyo_service.runs.advising import Advisor, advice
from tamiyo_service.runs.session import Last, Session, Standing
from tamiyo_service.runs.snapshots import override_of, override_text, restored, snapshot
from tamiyo_service.store.rows import DecisionKey, Entry, InputKind, OutcomeRow, Write

_EVENTS: Final = TypeAdapter(tuple[TelemetryEvent, ...])
_COMMANDS: Final = TypeAdapter(tuple[AdaptationCommand, ...])


class Case(NamedTuple):
    """A report to decide."""

    session: Session
    """Of the run, its turn held."""
    report: EpochReport
    """New, accuracies in percent, its blueprints known."""
    payload: str
    """The report as JSON."""
    backfill: bool
    """Whether the report is late: observed only."""

    @property
    def key(self) -> DecisionKey:
        """Of the decision to make."""
        return DecisionKey(self.session.run_pk, self.report.attempt, self.report.epoch)

    @property
    def asks(self) -> AskingPolicy | None:
        """The policy that decides, if it asks a network."""
        return self.session.engine.asks


class Reply(NamedTuple):
    """The answer to a report."""

    key: DecisionKey
    body: str
    """The reply as JSON: every repetition gets the same bytes."""
    replayed: bool


class Decided(NamedTuple):
    """Where a report leads."""

    standing: Standing
    write: Write
    """What must be stored before the run stands there."""
    reply: Reply


async def decide(cases: Sequence[Case], advisor: Advisor, clock: Clock, tally: ReportTally) -> list[Decided]:
    """Where reports of different runs lead; nothing is changed yet.

    Args:
        cases: to decide.
        advisor: asks networks.
        clock: tells when the decisions are made.
        tally: counts reports.
    """
    began = time.perf_counter()
    observations = observe(cases)
    observing = time.perf_counter() - began
    asked = [(case.asks, one.questions) for case, one in zip(cases, observations, strict=True)]
    advices = await advice(advisor, asked)
    began = time.perf_counter()
    decided = conclude(cases, observations, advices, clock())
    tally.deciding.observe(observing + time.perf_counter() - began, len(cases))
    return decided


def observe(cases: Sequence[Case]) -> list[Observation]:
    """The first half of deciding: every report taken in by its run's engine, then all questions asked."""
    taken = [
        case.session.engine.take_in(
            case.session.standing.state,
            case.report,
            held=case.session.standing.hold is not None,
            draw=case.session.engine.draw_for(case.session.run_id, case.report.attempt, case.report.epoch),
        )
        for case in cases
    ]
    return [case.session.engine.ask(observation) for case, observation in zip(cases, taken, strict=True)]


def conclude(
    cases: Sequence[Case],
    observations: Sequence[Observation],
    advices: Sequence[Advice | None],
    now: datetime,
) -> list[Decided]:
    """The second half, stage by stage: each stage for all reports before the next.

    Args:
        cases: of different runs.
        observations: of each.
        advices: to the questions of each; None: there were none.
        now: UTC.
    """
    ids = [decision_id(case.session.run_id, case.report.attempt, case.report.epoch) for case in cases]
    considered = [
        case.session.engine.consider(observation, advice)
        for case, observation, advice in zip(cases, observations, advices, strict=True)
    ]
    steps = [
        case.session.engine.answer(
            one,
            decision_id=decision,
            now=now,
            hold=case.session.standing.hold,
            backfill=case.backfill,
            override=case.session.standing.override,
        )
        for case, one, decision in zip(cases, considered, ids, strict=True)
    ]
    replies = [
        reply_json(case.session.run_id, case.report, decision, step, case.session.engine.policy)
        for case, decision, step in zip(cases, ids, steps, strict=True)
    ]
    events = [events_json(step.events) for step in steps]
    states = [snapshot(case.session.engine, step.state) for case, step in zip(cases, steps, strict=True)]
    at = to_micros(now)
    return [_decided(*row, at) for row in zip(cases, steps, replies, events, states, strict=True)]


def _decided(case: Case, step: Step, reply: str, events: str, state: str, at: int) -> Decided:
    session, report = case.session, case.report
    standing = session.standing
    seq = standing.seq + 1
    entry = Entry(
        run_pk=session.run_pk,
        seq=seq,
        kind=InputKind.REPORT,
        attempt=report.attempt,
        epoch=report.epoch,
        at=at,
        action=step.action,
        risk=max([command.risk_level for command in step.commands]),
        policy=session.engine.policy.name,
        backfill=case.backfill,
        hold=standing.hold,
        warnings=orjson.dumps(step.warnings).decode() if step.warnings else None,
        events=events,
        payload=case.payload,
        reply=reply,
        state=state,
        advice=_advice_json(step.context.advice),
        override=override_text(standing.override),
    )
    last = Last(report.epoch, case.payload, reply)
    waiting = standing.override if case.backfill else None
    after = Standing(standing.engine, step.state, standing.attempt, seq, standing.hold, None, last, waiting)
    outcomes = outcome_rows(session.run_pk, step.outcomes, report.attempt) if step.outcomes else ()
    write = Write((entry,), outcomes)
    return Decided(after, write, Reply(case.key, reply, replayed=False))


def recompute(session: Session, before: Entry | None, entry: Entry) -> tuple[EpochReport, Step]:
    """The report of an entry and the step it led to, worked out again.

    Args:
        session: of the run; only its id and engine are read.
        before: the input just before the entry; None: it was the first.
        entry: of a report.
    """
    engine = session.engine
    report = EpochReport.model_validate_json(entry.payload)
    state = engine.initial() if before is None else restored(engine, before.state)
    step = engine.step(
        state,
        report,
        decision_id=decision_id(session.run_id, report.attempt, report.epoch),
        now=from_micros(entry.at),
        hold=entry.hold,
        draw=engine.draw_for(session.run_id, report.attempt, report.epoch),
        backfill=entry.backfill,
        advice=advice_of(entry.advice),
        override=override_of(entry.override),
    )
    return report, step


def identity_of(engine: Engine) -> PolicyIdentity:
    """The policy of an engine as it travels."""
    return _identity(engine.policy.name, engine.policy.version, _sha256(engine.policy))


@lru_cache(maxsize=256)
def _identity(name: str, version: str, sha256: str | None) -> PolicyIdentity:
    return PolicyIdentity(name=name, version=version, sha256=sha256)


@lru_cache(maxsize=256)
def _identity_json(name: str, version: str, sha256: str | None) -> str:
    return _identity(name, version, sha256).model_dump_json()


def _sha256(policy: Policy) -> str | None:
    return (policy.sha256 or None) if isinstance(policy, LearnedPolicy) else None


def same_content(payload: str, other: str) -> bool:
    """Whether two validated inputs are equal, whatever the order of their keys."""
    return payload == other or _parsed(payload) == _parsed(other)


def _parsed(payload: str) -> Any:
    return orjson.loads(payload)


def _advice_json(advice: Advice | None) -> str | None:
    if advice is None:
        return None
    # What is infinite becomes null.
    return orjson.dumps(advice if isinstance(advice, str) else list(map(tuple, advice))).decode()


def advice_of(text: str | None) -> Advice | None:
    """What a network said, as the journal has it."""
    advice = None if text is None else orjson.loads(text)
    if not isinstance(advice, list):
        return advice
    return tuple(RowAdvice(tuple(map(_log_prob, row)), value, doubt) for row, value, doubt in advice)


def _log_prob(value: float | None) -> float:
    return -math.inf if value is None else value


def reply_json(run_id: str, report: EpochReport, decision: str, step: Step, policy: Policy) -> str:
    """What `DecisionReply.model_dump_json` gives, put together from its parts.

    Run and decision ids consist of characters that JSON writes as they are.
    """
    commands = _COMMANDS.dump_json(step.commands).decode()
    return (
        f'{{"run_id":"{run_id}","attempt":{report.attempt},"epoch":{report.epoch},"decision_id":"{decision}",'
        f'"commands":{commands},"policy":{_identity_json(policy.name, policy.version, _sha256(policy))}}}'
    )


def events_json(events: tuple[TelemetryEvent, ...]) -> str:
    """Events as the journal has them."""
    return _EVENTS.dump_json(events, exclude_none=True).decode()


def outcome_rows(run_pk: int, transitions: Sequence[Transition], attempt: int) -> tuple[OutcomeRow, ...]:
    """What became of commands, to be stored.

    Args:
        run_pk: the run.
        transitions: of its commands.
        attempt: in which that became known.
    """
    named = ((parse_command_id(moved.command_id), moved) for moved in transitions)
    return tuple(
        OutcomeRow(
            run_pk, ref.attempt, ref.epoch, moved.command_id, moved.status, moved.epoch, moved.detail, attempt
        )
        for ref, moved in named
        if ref is not None
    )
