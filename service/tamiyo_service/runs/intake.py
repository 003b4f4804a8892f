"""Where reports come in: single ones, and batches over many runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pydantic import ValidationError
from tamiyo_leyline import EpochReport, RunConfig

from tamiyo_service.clock import Clock
from tamiyo_service.errors import DefectError, TamiyoError
from tamiyo_service.runs.change import Change, Together, joined
from tamiyo_service.runs.creation import draft_session, new_run
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.reports import Reply, Reports
from tamiyo_service.runs.session import Session, Sessions, Standing
from tamiyo_service.runs.stretches import Stretches
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import DecisionKey, Entry, RunRow, Write

Refusal = TamiyoError | ValidationError


class _Draft(NamedTuple):
    """What a run's part of a batch has come to so far."""

    standing: Standing
    writes: tuple[Write, ...] = ()
    answers: tuple[Reply | Refusal, ...] = ()


class _AllRefusedError(Exception):
    """Nothing in a batch is worth creating its run for."""

    def __init__(self, refusals: Sequence[Reply | Refusal]) -> None:
        super().__init__()
        self.refusals = refusals


class Intake:
    """Answers reports durably.

    Args:
        store: makes decisions durable.
        engines: where engines are shared.
        sessions: the runs in memory.
        desk: where changes are handed in.
        clock: tells when a decision is made.
        auto_create: whether a report of an unknown run creates it, unless the request says otherwise.
    """

    def __init__(
        self,
        store: Store,
        engines: Engines,
        sessions: Sessions,
        desk: Desk,
        clock: Clock,
        *,
        auto_create: bool,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._engines = engines
        self._desk = desk
        self._clock = clock
        self._auto_create = auto_create
        self._reports = Reports(store.report, clock)
        self._default = RunConfig()
        self._stretches = Stretches()

    async def warm_up(self) -> None:
        """Go through a decision once and forget it: schemas are built when they are first used."""
        report = EpochReport.model_validate_json('{"epoch": 0, "available_slots": 1}')
        await self._reports.answer(draft_session("warm-up", self._default, self._engines), report)

    async def report(
        self, run_id: str, report: EpochReport, *, create: bool | None = None, backfill: bool = False
    ) -> Reply:
        """The reply to one report, stored before it is returned.

        Raises:
            TamiyoError: if it is refused or cannot be stored; nothing was changed.
            pydantic.ValidationError: if an accuracy given as a fraction leaves 0–1.
        """
        work_out = partial(self._reports.answer, report=report, backfill=backfill)
        wanted = self._auto_create if create is None else create
        creation = partial(self._create_for, run_id, report) if wanted else None
        return await self._desk.change(run_id, work_out, create=creation)

    async def batch(self, reports: Sequence[tuple[str, EpochReport]]) -> list[Reply | Refusal]:
        """The answers to many reports, in their order; those of one run are applied one after the other.

        A refusal, or a defect, concerns its report alone. The writes of all runs meet in few transactions.
        """
        by_run: dict[str, list[int]] = {}
        for number, (run_id, _) in enumerate(reports):
            by_run.setdefault(run_id, []).append(number)
        parts = {run_id: [reports[number][1] for number in numbers] for run_id, numbers in by_run.items()}
        done = await self._answer_runs(parts)
        answers: dict[int, Reply | Refusal] = {}
        for run_id, numbers in by_run.items():
            error = done.errors.get(run_id)
            told = done.answers[run_id] if error is None else [_refusal(error)] * len(numbers)
            answers.update(zip(numbers, told, strict=True))
        return [answers[number] for number in range(len(reports))]

    async def _answer_runs(
        self, parts: Mapping[str, Sequence[EpochReport]]
    ) -> Together[Sequence[Reply | Refusal]]:
        """What the reports of each run lead to: together as far as possible, the others by themselves."""
        await self._sessions.load(parts)
        if self._auto_create:
            await self._create_together(parts)
        works = {run_id: partial(self._work_through, reports) for run_id, reports in parts.items()}
        done = await self._desk.change_together(works)
        alone = [run_id for run_id in parts if run_id not in done.answers and run_id not in done.errors]
        results = [self._answer_run(run_id, parts[run_id]) for run_id in alone]
        for run_id, result in zip(alone, await asyncio.gather(*results, return_exceptions=True), strict=True):
            if isinstance(result, Exception):
                done.errors[run_id] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                done.answers[run_id] = result
        return done

    async def _create_together(self, parts: Mapping[str, Sequence[EpochReport]]) -> None:
        """Create the runs that are not known yet, unless every one of their reports would be refused."""
        wanted = []
        for run_id in parts:
            if run_id not in self._sessions:
                draft = draft_session(run_id, self._default, self._engines)
                change = await self._work_through(parts[run_id], draft)
                if change.write is not None:
                    wanted.append(run_id)
        # What goes wrong with one is told when it is tried by itself.
        for created in await asyncio.gather(*map(self._create, wanted), return_exceptions=True):
            if not isinstance(created, BaseException) and created[1]:
                self._sessions.add(created[0])

    async def _answer_run(self, run_id: str, reports: Sequence[EpochReport]) -> Sequence[Reply | Refusal]:
        work_out = partial(self._work_through, reports)
        creation = partial(self._create_for_any, run_id, reports) if self._auto_create else None
        try:
            return await self._desk.change(run_id, work_out, create=creation)
        except _AllRefusedError as error:
            return error.refusals

    async def _work_through(
        self, reports: Sequence[EpochReport], session: Session
    ) -> Change[Sequence[Reply | Refusal]]:
        """All reports of one run as a single change; refused ones leave no trace in it."""
        draft = _Draft(session.standing)
        for report in reports:
            draft = await self._next(draft, session, report)
            await self._stretches.worked()
        final = all(isinstance(answer, Reply) for answer in draft.answers)
        return Change(draft.standing, joined(draft.writes) if draft.writes else None, draft.answers, final)

    async def _next(self, draft: _Draft, session: Session, report: EpochReport) -> _Draft:
        drafted = Session(session.run_pk, session.run_id, session.engine, draft.standing)
        reports = Reports(partial(self._look_up, draft), self._clock)
        try:
            change = await reports.answer(drafted, report)
        except Exception as error:  # noqa: BLE001 - the API logs it under the id that this report's answer has
            return draft._replace(answers=(*draft.answers, _refusal(error)))
        writes = draft.writes if change.write is None else (*draft.writes, change.write)
        return _Draft(change.standing, writes, (*draft.answers, change.answer))

    async def _look_up(self, draft: _Draft, key: DecisionKey) -> Entry | None:
        """An earlier report, which may be of this very batch."""
        entries = (write.entries[0] for write in draft.writes)
        own = next((e for e in entries if (e.attempt, e.epoch) == (key.attempt, key.epoch)), None)
        return own if own is not None else await self._store.report(key)

    async def _create_for(self, run_id: str, report: EpochReport) -> None:
        """Create a run with defaults, unless its report would be refused."""
        await self._reports.answer(draft_session(run_id, self._default, self._engines), report)
        await self._create(run_id)

    async def _create_for_any(self, run_id: str, reports: Sequence[EpochReport]) -> None:
        """Create a run with defaults, unless every one of its reports would be refused."""
        draft = draft_session(run_id, self._default, self._engines)
        change = await self._work_through(reports, draft)
        if change.write is None:
            raise _AllRefusedError(change.answer)
        await self._create(run_id)

    async def _create(self, run_id: str) -> tuple[RunRow, bool]:
        return await self._store.create_run(new_run(run_id, self._default, self._clock()))


def _refusal(error: Exception) -> Refusal:
    """What becomes of a report that met this error."""
    if isinstance(error, TamiyoError | ValidationError):
        return error
    defect = DefectError(f"answering a report raised {type(error).__name__}")
    defect.__cause__ = error
    return defect
