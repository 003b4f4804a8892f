"""From a report to the journal's entry, and back from the entry to the step that made it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import orjson
from pydantic import TypeAdapter
from tamiyo_core import Engine, Policy, RunState, Step, decision_id, parse_command_id, uniform_draw
from tamiyo_leyline import AdaptationCommand, EpochReport, PolicyIdentity, TelemetryEvent

from tamiyo_service.clock import from_micros, to_micros
from tamiyo_service.runs.session import Last, Session, Standing
from tamiyo_service.runs.snapshots import restored, snapshot
from tamiyo_service.store.rows import Entry, InputKind, OutcomeRow, Write

_EVENTS: Final = TypeAdapter(tuple[TelemetryEvent, ...])
_COMMANDS: Final = TypeAdapter(tuple[AdaptationCommand, ...])
_DRAW_PURPOSE: Final = "exploration"


def decide(
    session: Session, report: EpochReport, payload: str, now: datetime, *, backfill: bool
) -> tuple[Standing, Write]:
    """Where a new report leads, and what must be stored before it does.

    Args:
        session: of the run, its turn held.
        report: new, accuracies in percent, its blueprints known.
        payload: the report as JSON.
        now: UTC.
        backfill: whether the report is late: observed only.
    """
    standing = session.standing
    step = _step(session, standing.state, report, standing.hold, now, backfill=backfill)
    decision = decision_id(session.run_id, report.attempt, report.epoch)
    reply = reply_json(session.run_id, report, decision, step, session.engine.policy)
    entry = Entry(
        run_pk=session.run_pk,
        seq=standing.seq + 1,
        kind=InputKind.REPORT,
        attempt=report.attempt,
        epoch=report.epoch,
        at=to_micros(now),
        action=step.action,
        risk=max([command.risk_level for command in step.commands]),
        policy=session.engine.policy.name,
        backfill=backfill,
        hold=standing.hold,
        warnings=orjson.dumps(step.warnings).decode() if step.warnings else None,
        events=_EVENTS.dump_json(step.events, exclude_none=True).decode() if step.events else None,
        payload=payload,
        reply=reply,
        state=snapshot(session.engine, step.state),
    )
    after = Standing(
        step.state, standing.attempt, entry.seq, standing.hold, None, Last(report.epoch, payload, reply)
    )
    return after, Write((entry,), _outcome_rows(session.run_pk, step) if step.outcomes else ())


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
    now = from_micros(entry.at)
    return report, _step(session, state, report, entry.hold, now, backfill=entry.backfill)


def identity_of(engine: Engine) -> PolicyIdentity:
    """The policy of an engine as it travels."""
    return _identity(engine.policy.name, engine.policy.version)


@lru_cache(maxsize=256)
def _identity(name: str, version: str) -> PolicyIdentity:
    return PolicyIdentity(name=name, version=version)


@lru_cache(maxsize=256)
def _identity_json(name: str, version: str) -> str:
    return _identity(name, version).model_dump_json()


def same_content(payload: str, other: str) -> bool:
    """Whether two validated inputs are equal, whatever the order of their keys."""
    return payload == other or _parsed(payload) == _parsed(other)


def _parsed(payload: str) -> Any:
    return orjson.loads(payload)


def _step(
    session: Session, state: RunState, report: EpochReport, hold: str | None, now: datetime, *, backfill: bool
) -> Step:
    run_id, engine = session.run_id, session.engine
    draw = 1.0
    if engine.needs_draw:
        draw = uniform_draw(run_id, report.attempt, report.epoch, _DRAW_PURPOSE)
    decision = decision_id(run_id, report.attempt, report.epoch)
    return engine.step(state, report, decision_id=decision, now=now, hold=hold, draw=draw, backfill=backfill)


def reply_json(run_id: str, report: EpochReport, decision: str, step: Step, policy: Policy) -> str:
    """What `DecisionReply.model_dump_json` gives, put together from its parts.

    Run and decision ids consist of characters that JSON writes as they are.
    """
    commands = _COMMANDS.dump_json(step.commands).decode()
    return (
        f'{{"run_id":"{run_id}","attempt":{report.attempt},"epoch":{report.epoch},"decision_id":"{decision}",'
        f'"commands":{commands},"policy":{_identity_json(policy.name, policy.version)}}}'
    )


def _outcome_rows(run_pk: int, step: Step) -> tuple[OutcomeRow, ...]:
    named = ((parse_command_id(outcome.command_id), outcome) for outcome in step.outcomes)
    return tuple(
        OutcomeRow(
            run_pk, ref.attempt, ref.epoch, outcome.command_id, outcome.status, outcome.epoch, outcome.detail
        )
        for ref, outcome in named
        if ref is not None
    )
