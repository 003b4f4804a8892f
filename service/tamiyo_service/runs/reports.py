"""What a report leads to: an earlier reply, a refusal, or a new decision."""

from __future__ import annotations

from tamiyo_core import Engine
from tamiyo_leyline import AccuracyUnit, EpochReport

from tamiyo_service.clock import Clock
from tamiyo_service.errors import (
    AttemptConflictError,
    EpochConflictError,
    StaleEpochError,
    UnknownBlueprintError,
)
from tamiyo_service.observability.tallies import ReportTally
from tamiyo_service.runs.advising import Advisor
from tamiyo_service.runs.change import Change
from tamiyo_service.runs.deciding import Case, Reply, decide, same_content
from tamiyo_service.runs.inputs import require_open
from tamiyo_service.runs.issued import IssuedCommands, LookUp
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.store.rows import DecisionKey


class Reports:
    """Works out the answers to reports, one at a time for each run.

    Args:
        look_up: finds an earlier report.
        advisor: asks networks.
        clock: tells when a decision is made.
        tally: counts reports.
    """

    def __init__(self, look_up: LookUp, advisor: Advisor, clock: Clock, tally: ReportTally) -> None:
        self._look_up = look_up
        self._issued = IssuedCommands(look_up)
        self._advisor = advisor
        self._clock = clock
        self._tally = tally

    async def answer(self, session: Session, report: EpochReport, *, backfill: bool = False) -> Change[Reply]:
        """What a report of the session's run leads to; nothing is changed yet.

        Raises:
            ConflictError: if it contradicts what was reported before.
            UnknownBlueprintError: if a seed's blueprint is not of the run's topology.
            UnknownCommandError: if an outcome names a command this run never issued.
            pydantic.ValidationError: if an accuracy given as a fraction leaves 0–1.
        """
        standing = session.standing
        case = _case(session, report, backfill=backfill)
        if _is_past(case.report, session):
            earlier = await self._earlier(case.key, standing)
            repeated = _repeat(case.key, case.payload, earlier)
            self._tally.replayed += 1
            return Change(standing, None, repeated, final=True)
        await self._require_sound(session, case.report)
        (decided,) = await decide([case], self._advisor, self._clock, self._tally)
        return Change(decided.standing, decided.write, decided.reply)

    async def require_first(self, session: Session, report: EpochReport) -> None:
        """Return if a run may begin with this report.

        Args:
            session: of the run as it would be.
            report: its first.

        Raises:
            AttemptConflictError, UnknownBlueprintError, UnknownCommandError, pydantic.ValidationError: as
                `answer`.
        """
        case = _case(session, report, backfill=False)
        _is_past(case.report, session)
        await self._require_sound(session, case.report)

    async def _require_sound(self, session: Session, report: EpochReport) -> None:
        require_open(session)
        _require_blueprints(report, session.engine)
        if report.outcomes:
            await self._issued.require(session, [outcome.command_id for outcome in report.outcomes])

    async def _earlier(self, key: DecisionKey, standing: Standing) -> tuple[str, str]:
        """Payload and reply of an epoch of the past."""
        last = standing.last
        if last is not None and (key.attempt, key.epoch) == (standing.attempt, last.epoch):
            return last.payload, last.reply
        entry = await self._look_up(key)
        if entry is None or entry.reply is None:
            raise _stale(key, standing)
        return entry.payload, entry.reply


def plain_case(session: Session, report: EpochReport, *, backfill: bool) -> Case | None:
    """A report that can be decided without looking anything up; None: it takes `Reports.answer`.

    Raises:
        pydantic.ValidationError: if an accuracy given as a fraction leaves 0–1.
    """
    case = _case(session, report, backfill=backfill)
    report, standing = case.report, session.standing
    last_epoch = standing.last_epoch
    if (
        report.attempt != standing.attempt
        or (last_epoch is not None and report.epoch <= last_epoch)
        or standing.result is not None
        or not all(session.engine.tracks(standing.state, one.command_id) for one in report.outcomes)
        or any(seed.blueprint_id not in session.engine.config.topology.names for seed in report.seeds)
    ):
        return None
    return case


def _case(session: Session, report: EpochReport, *, backfill: bool) -> Case:
    if session.engine.config.accuracy_unit is AccuracyUnit.FRACTION:
        report = report.in_percent()
    return Case(session, report, report.model_dump_json(exclude_none=True), backfill)


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


def _require_blueprints(report: EpochReport, engine: Engine) -> None:
    topology = engine.config.topology
    names = topology.names
    for number, seed in enumerate(report.seeds):
        if seed.blueprint_id not in names:
            raise UnknownBlueprintError(
                f"unknown blueprint {seed.blueprint_id!r}; topology {topology.name} has {', '.join(names)}",
                field=f"seeds.{number}.blueprint_id",
            )
