"""Where reports come in, one by one."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from tamiyo_leyline import EpochReport, RunConfig

from tamiyo_service.errors import VersionConflictError
from tamiyo_service.runs.deciding import Reply
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.newcomers import Newcomers
from tamiyo_service.runs.reports import Reports
from tamiyo_service.runs.seat import Seat, Ticket
from tamiyo_service.runs.session import Sessions


class Intake:
    """Answers reports durably.

    Args:
        sessions: the runs in memory.
        desk: where changes are handed in.
        newcomers: creates runs.
        seat: decides plain reports.
        reports: works out the answers to the others.
        auto_create: whether a report of an unknown run creates it, unless the request says otherwise.
    """

    def __init__(
        self,
        sessions: Sessions,
        desk: Desk,
        newcomers: Newcomers,
        seat: Seat,
        reports: Reports,
        *,
        auto_create: bool,
    ) -> None:
        self._sessions = sessions
        self._desk = desk
        self._newcomers = newcomers
        self._auto_create = auto_create
        self._reports = reports
        self._seat = seat

    async def warm_up(self) -> None:
        """Go through a decision once and forget it: schemas are built when they are first used."""
        report = EpochReport.model_validate_json('{"epoch": 0, "available_slots": 1}')
        await self._reports.answer(self._newcomers.draft("warm-up", RunConfig()), report)

    def take(self, run_id: str, body: bytes, *, backfill: bool = False) -> Ticket | None:
        """Have a report decided, if the run is in memory and its turn can be had at once."""
        session = self._sessions.idle(run_id)
        return None if session is None else self._seat.take(session, body, backfill=backfill)

    async def report(
        self,
        run_id: str,
        body: bytes,
        *,
        create: bool | None = None,
        backfill: bool = False,
        ticket: Ticket | None = None,
    ) -> Reply:
        """The reply to one report, stored before it is returned.

        Args:
            run_id: the run.
            body: the report as JSON.
            create: whether an unknown run is created with defaults; None: as the service is set up.
            backfill: whether the report is late: observed only.
            ticket: what `take` gave for it; None: it was not asked.

        Raises:
            RunNotFoundError: if there is no such run, and none is to be created.
            TamiyoError: if it is refused or cannot be stored; nothing was changed.
            pydantic.ValidationError: if it is no report, or an accuracy given as a fraction leaves 0–1.
        """
        reply = await _decided(ticket or self.take(run_id, body, backfill=backfill))
        if reply is not None:
            return reply
        report = EpochReport.model_validate_json(body)
        wanted = self._auto_create if create is None else create
        creation = partial(self._create_for, run_id, report) if wanted else None
        if run_id not in self._sessions:
            # Those whose runs come in together are decided together, too.
            session = await self._desk.turn(run_id, creation)
            reply = await _decided(self._seat.take(session, body, backfill=backfill))
            if reply is not None:
                return reply
        work_out = partial(self._reports.answer, report=report, backfill=backfill)
        return await self._desk.change(run_id, work_out, create=creation)

    async def _create_for(self, run_id: str, report: EpochReport) -> None:
        """Create a run with defaults, unless its report would be refused."""
        config = await self._newcomers.config()
        await self._reports.require_first(self._newcomers.draft(run_id, config), report)
        run, created = await self._newcomers.create(run_id, config)
        if created:
            self._sessions.add(run)


async def _decided(ticket: Ticket | None) -> Reply | None:
    """The reply to a report at the seat; None: it takes the long way."""
    if ticket is not None:
        with suppress(VersionConflictError):
            await ticket.done
            return ticket.reply
    return None
