"""Where reports come in: single ones, and batches over many runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pydantic import ValidationError
from tamiyo_leyline import EpochReport, RunConfig

from tamiyo_service.clock import Clock
from tamiyo_service.errors import DefectError, TamiyoError
from tamiyo_service.runs.change import Change
from tamiyo_service.runs.creation import draft_session, new_run
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.reports import Reply, Reports
from tamiyo_service.runs.session import Session, Standing
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import DecisionKey, Entry, Write

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
        desk: where changes are handed in.
        clock: tells when a decision is made.
        auto_create: whether a report of an unknown run creates it, unless the request says otherwise.
    """

    def __init__(
        self, store: Store, engines: Engines, desk: Desk, clock: Clock, *, auto_create: bool
    ) -> None:
        self._store = store
        self._engines = engines
        self._desk = desk
        self._clock = clock
        self._auto_create = auto_create
        self._reports = Reports(store.report, clock)
        self._default = RunConfig()

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
        parts = [[reports[number][1] for number in numbers] for numbers in by_run.values()]
        runs = map(self._answer_run, by_run, parts)
        answered = await asyncio.gather(*runs, return_exceptions=True)
        answers: dict[int, Reply | Refusal] = {}
        for numbers, part in zip(by_run.values(), answered, strict=True):
            told = part if not isinstance(part, BaseException) else [_refusal(part)] * len(numbers)
            answers.update(zip(numbers, told, strict=True))
        return [answers[number] for number in range(len(reports))]

    async def _answer_run(self, run_id: str, reports: list[EpochReport]) -> Sequence[Reply | Refusal]:
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
        final = all(isinstance(answer, Reply) for answer in draft.answers)
        return Change(draft.standing, _joined(draft.writes), draft.answers, final)

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

    async def _create(self, run_id: str) -> None:
        await self._store.create_run(new_run(run_id, self._default, self._clock()))


def _refusal(error: BaseException) -> Refusal:
    """What becomes of a report that met this error.

    Raises:
        BaseException: the error itself, if it is no failure but the end of the request.
    """
    if isinstance(error, TamiyoError | ValidationError):
        return error
    if not isinstance(error, Exception):
        raise error
    defect = DefectError(f"answering a report raised {type(error).__name__}")
    defect.__cause__ = error
    return defect


def _joined(writes: Sequence[Write]) -> Write | None:
    if not writes:
        return None
    entries = tuple(entry for write in writes for entry in write.entries)
    return Write(entries, tuple(outcome for write in writes for outcome in write.outcomes))
