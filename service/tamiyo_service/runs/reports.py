"""What a report leads to: an earlier reply, a refusal, or a new decision."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import orjson
from tamiyo_core import Engine, parse_command_id
from tamiyo_leyline import AccuracyUnit, EpochReport
from tamiyo_leyline.fields import MAX_COUNT

from tamiyo_service.clock import Clock
from tamiyo_service.errors import (
    AttemptConflictError,
    EpochConflictError,
    RunCompletedError,
    StaleEpochError,
    UnknownBlueprintError,
    UnknownCommandError,
)
from tamiyo_service.runs.change import Change
from tamiyo_service.runs.deciding import decide, same_content
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.store.rows import DecisionKey, Entry

LookUp = Callable[[DecisionKey], Awaitable[Entry | None]]


class Reply(NamedTuple):
    """The answer to a report."""

    key: DecisionKey
    body: str
    """The reply as JSON: every repetition gets the same bytes."""
    replayed: bool


class Reports:
    """Works out the answers to reports, one at a time for each run.

    Args:
        look_up: finds an earlier report.
        clock: tells when a decision is made.
    """

    def __init__(self, look_up: LookUp, clock: Clock) -> None:
        self._look_up = look_up
        self._clock = clock

    async def answer(self, session: Session, report: EpochReport, *, backfill: bool = False) -> Change[Reply]:
        """What a report of the session's run leads to; nothing is changed yet.

        Raises:
            ConflictError: if it contradicts what was reported before.
            UnknownBlueprintError: if a seed's blueprint is not of the run's topology.
            UnknownCommandError: if an outcome names a command this run never issued.
            pydantic.ValidationError: if an accuracy given as a fraction leaves 0–1.
        """
        standing = session.standing
        if session.engine.config.accuracy_unit is AccuracyUnit.FRACTION:
            report = report.in_percent()
        payload = report.model_dump_json(exclude_none=True)
        key = DecisionKey(session.run_pk, report.attempt, report.epoch)
        if _is_past(report, session):
            earlier = await self._earlier(key, standing)
            return Change(standing, None, _repeat(key, payload, earlier), final=True)
        _require_open(session)
        _require_blueprints(report, session.engine)
        if report.outcomes:
            await self.require_issued(session, [outcome.command_id for outcome in report.outcomes])
        after, write = decide(session, report, payload, self._clock(), backfill=backfill)
        return Change(after, write, Reply(key, write.entries[0].reply or "", replayed=False))

    async def require_issued(self, session: Session, command_ids: Sequence[str]) -> None:
        """Check that the run issued every one of these commands.

        Raises:
            UnknownCommandError: naming the first that it did not.
        """
        for number, command_id in enumerate(command_ids):
            tracked = session.engine.tracks(session.standing.state, command_id)
            if not tracked and not await self._issued(session, command_id):
                raise UnknownCommandError(
                    f"run {session.run_id} issued no command {command_id!r}; "
                    "quote a command_id from one of its replies",
                    field=f"outcomes.{number}.command_id",
                )

    async def _issued(self, session: Session, command_id: str) -> bool:
        ref = parse_command_id(command_id)
        if ref is None or ref.run_id != session.run_id or max(ref.attempt, ref.epoch) > MAX_COUNT:
            return False
        entry = await self._look_up(DecisionKey(session.run_pk, ref.attempt, ref.epoch))
        if entry is None or entry.reply is None:
            return False
        return any(command["command_id"] == command_id for command in orjson.loads(entry.reply)["commands"])

    async def _earlier(self, key: DecisionKey, standing: Standing) -> tuple[str, str]:
        """Payload and reply of an epoch of the past."""
        last = standing.last
        if last is not None and (key.attempt, key.epoch) == (standing.attempt, last.epoch):
            return last.payload, last.reply
        entry = await self._look_up(key)
        if entry is None or entry.reply is None:
            raise _stale(key, standing)
        return entry.payload, entry.reply


def _is_past(report: EpochReport, session: Session) -> bool:
    """Whether the report belongs to an epoch that is over.

    Raises:
        AttemptConflictError: if no rewind opened its attempt.
    """
    standing = session.standing
    if report.attempt > standing.attempt:
        where = f"the run is at attempt {standing.attempt}"
        if session.is_draft:
            where = f"there is no run {session.run_id} yet, and its first attempt is 0"
        raise AttemptConflictError(f"no rewind opened attempt {report.attempt}; {where}", field="attempt")
    last_epoch = standing.last_epoch
    return report.attempt < standing.attempt or (last_epoch is not None and report.epoch <= last_epoch)


def _repeat(key: DecisionKey, payload: str, earlier: tuple[str, str]) -> Reply:
    earlier_payload, reply = earlier
    if not same_content(payload, earlier_payload):
        raise EpochConflictError(
            f"epoch {key.epoch} of attempt {key.attempt} was reported before with other content; "
            "the first report stands: go on with a later epoch, or rewind",
            field="epoch",
        )
    return Reply(key, reply, replayed=True)


def _stale(key: DecisionKey, standing: Standing) -> StaleEpochError:
    why = f"is not later than epoch {standing.last_epoch}; report a later one, or rewind"
    if key.attempt < standing.attempt:
        why = f"attempt {key.attempt} is over; report under attempt {standing.attempt}, or rewind"
    return StaleEpochError(
        f"epoch {key.epoch} of attempt {key.attempt} was never reported and {why}", field="epoch"
    )


def _require_open(session: Session) -> None:
    result = session.standing.result
    if result is not None:
        raise RunCompletedError(f"run {session.run_id} is completed ({result}); rewind it to report again")


def _require_blueprints(report: EpochReport, engine: Engine) -> None:
    topology = engine.config.topology
    names = topology.names
    for number, seed in enumerate(report.seeds):
        if seed.blueprint_id not in names:
            raise UnknownBlueprintError(
                f"unknown blueprint {seed.blueprint_id!r}; topology {topology.name} has {', '.join(names)}",
                field=f"seeds.{number}.blueprint_id",
            )
