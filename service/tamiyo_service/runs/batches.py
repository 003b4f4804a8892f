"""Where batches of reports come in, over many runs.

The plain ones (see `seat`) are decided stage by stage and stored in one transaction. What is left, several
reports of one run above all, is worked out run by run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pydantic import ValidationError
from tamiyo_leyline import EpochReport

from tamiyo_service.clock import Clock
from tamiyo_service.errors import DefectError, TamiyoError
from tamiyo_service.observability.tallies import ReportTally
from tamiyo_service.runs.advising import Advisor
from tamiyo_service.runs.change import Change, Together, joined
from tamiyo_service.runs.deciding import Case, Reply, decide
from tamiyo_service.runs.desk import Desk
from tamiyo_service.runs.newcomers import Newcomers
from tamiyo_service.runs.reports import Reports, plain_case
from tamiyo_service.runs.seat import TOGETHER
from tamiyo_service.runs.session import Session, Sessions, Standing
from tamiyo_service.runs.stretches import Stretches
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import DecisionKey, Entry, Write

Refusal = TamiyoError | ValidationError
Answers = Sequence[Reply | Refusal]


class _Draft(NamedTuple):
    """What a run's part of a batch has come to so far."""

    standing: Standing
    writes: tuple[Write, ...] = ()
    answers: tuple[Reply | Refusal, ...] = ()


class _AllRefusedError(Exception):
    """Nothing in a batch is worth creating its run for."""

    def __init__(self, refusals: Answers) -> None:
        super().__init__()
        self.refusals = refusals


class Batches:
    """Answers batches of reports durably.

    Args:
        store: makes decisions durable.
        sessions: the runs in memory.
        desk: where changes are handed in.
        newcomers: creates runs; None: reports of unknown runs are refused.
        advisor: asks networks.
        clock: tells when a decision is made.
        tally: counts reports.
    """

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        desk: Desk,
        newcomers: Newcomers | None,
        advisor: Advisor,
        clock: Clock,
        tally: ReportTally,
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._desk = desk
        self._newcomers = newcomers
        self._advisor = advisor
        self._clock = clock
        self._tally = tally
        self._stretches = Stretches()

    async def answer(self, reports: Sequence[tuple[str, EpochReport]]) -> list[Reply | Refusal]:
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

    async def _answer_runs(self, parts: Mapping[str, Sequence[EpochReport]]) -> Together[Answers]:
        """What the reports of each run lead to: together as far as possible, the others by themselves."""
        await self._sessions.load(parts)
        if self._newcomers is not None:
            await self._create_together(self._newcomers, parts)
        done = Together[Answers]({}, {})
        await self._answer_plain(parts, done)
        works = {
            run_id: partial(self._work_through, reports)
            for run_id, reports in parts.items()
            if not done.knows(run_id)
        }
        await self._desk.change_together(works, done)
        alone = [run_id for run_id in works if not done.knows(run_id)]
        results = [self._answer_run(run_id, parts[run_id]) for run_id in alone]
        for run_id, result in zip(alone, await asyncio.gather(*results, return_exceptions=True), strict=True):
            if isinstance(result, Exception):
                done.errors[run_id] = result
            elif isinstance(result, BaseException):
                raise result
            else:
                done.answers[run_id] = result
        return done

    async def _answer_plain(
        self, parts: Mapping[str, Sequence[EpochReport]], done: Together[Answers]
    ) -> None:
        """Answer the plain reports of idle runs; nobody is waited for while a turn is held."""
        cases = [
            case
            for run_id, reports in parts.items()
            if len(reports) == 1 and (case := self._plain(run_id, reports[0])) is not None
        ]
        drafts: list[tuple[Session, Change[Answers]]] = []
        try:
            for start in range(0, len(cases), TOGETHER):
                drafts += await self._decide(cases[start : start + TOGETHER])
                await self._stretches.worked()
        except BaseException:
            for case in cases:
                self._sessions.release(case.session)
            raise
        decided = {session for session, _ in drafts}
        for case in cases:
            if case.session not in decided:
                self._sessions.release(case.session)
        if drafts:
            await self._desk.store_together(drafts, done)

    def _plain(self, run_id: str, report: EpochReport) -> Case | None:
        session = self._sessions.idle(run_id)
        if session is None:
            return None
        try:
            case = plain_case(session, report, backfill=False)
        except Exception:  # noqa: BLE001 - the long way tells what is wrong with it
            case = None
        if case is None:
            self._sessions.release(session)
        return case

    async def _decide(self, cases: Sequence[Case]) -> list[tuple[Session, Change[Answers]]]:
        try:
            decided = await decide(cases, self._advisor, self._clock, self._tally)
        except Exception:  # noqa: BLE001 - on the long way each of them meets its own defect, and only that
            return []
        return [
            (case.session, Change[Answers](one.standing, one.write, (one.reply,)))
            for case, one in zip(cases, decided, strict=True)
        ]

    async def _create_together(
        self, newcomers: Newcomers, parts: Mapping[str, Sequence[EpochReport]]
    ) -> None:
        """Create the runs that are not known yet, unless every one of their reports would be refused."""
        unknown = [run_id for run_id in parts if run_id not in self._sessions]
        if not unknown:
            return
        # What goes wrong with one is told when it is tried by itself.
        try:
            config = await newcomers.config()
        except Exception:  # noqa: BLE001 - the reports of known runs are answered all the same
            return
        wanted = []
        for run_id in unknown:
            change = await self._work_through(parts[run_id], newcomers.draft(run_id, config))
            if change.write is not None:
                wanted.append(newcomers.create(run_id, config))
        for created in await asyncio.gather(*wanted, return_exceptions=True):
            if not isinstance(created, BaseException) and created[1]:
                self._sessions.add(created[0])

    async def _answer_run(self, run_id: str, reports: Sequence[EpochReport]) -> Answers:
        work_out = partial(self._work_through, reports)
        newcomers = self._newcomers
        creation = None if newcomers is None else partial(self._create_for_any, newcomers, run_id, reports)
        try:
            return await self._desk.change(run_id, work_out, create=creation)
        except _AllRefusedError as error:
            return error.refusals

    async def _work_through(self, reports: Sequence[EpochReport], session: Session) -> Change[Answers]:
        """All reports of one run as a single change; refused ones leave no trace in it."""
        draft = _Draft(session.standing)
        for report in reports:
            draft = await self._next(draft, session, report)
            await self._stretches.worked()
        final = all(isinstance(answer, Reply) for answer in draft.answers)
        return Change(draft.standing, joined(draft.writes) if draft.writes else None, draft.answers, final)

    async def _next(self, draft: _Draft, session: Session, report: EpochReport) -> _Draft:
        drafted = Session(session.run_pk, session.run_id, draft.standing)
        reports = Reports(partial(self._look_up, draft), self._advisor, self._clock, self._tally)
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

    async def _create_for_any(
        self, newcomers: Newcomers, run_id: str, reports: Sequence[EpochReport]
    ) -> None:
        """Create a run with defaults, unless every one of its reports would be refused."""
        config = await newcomers.config()
        change = await self._work_through(reports, newcomers.draft(run_id, config))
        if change.write is None:
            raise _AllRefusedError(change.answer)
        await newcomers.create(run_id, config)


def _refusal(error: Exception) -> Refusal:
    """What becomes of a report that met this error."""
    if isinstance(error, TamiyoError | ValidationError):
        return error
    defect = DefectError(f"answering a report raised {type(error).__name__}")
    defect.__cause__ = error
    return defect
