"""Field reports: the life of every seed that is over, worked out from the journal when it is asked for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tamiyo_leyline import (
    CommandStatus,
    CommandType,
    DecisionRecord,
    FieldDecision,
    FieldReport,
    PolicyIdentity,
    SeedStage,
    TrainingSignals,
)

from tamiyo_service.clock import from_micros
from tamiyo_service.errors import ExplanationError, PolicyUnavailableError
from tamiyo_service.runs.history import History
from tamiyo_service.runs.lives import Issued, Life, Moment, Timeline, passages
from tamiyo_service.runs.timeline import is_superseded, known_in
from tamiyo_service.runs.traces import Trace, content_of
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import DecisionKey, Entry, Found, OutcomeRow, Rewind, RunRow

_LOOKED_AT: Final = 5_000
"""Inputs among which turning points are looked for at a time."""
_PAGE: Final = 200
_BY_HAND: Final = "the trainer ended it by itself"
_VANISHED: Final = "the trainer reported it no more"


class _Known(NamedTuple):
    """What is known of the page's lives together."""

    run: RunRow
    rewinds: Sequence[Rewind]
    outcomes: Sequence[OutcomeRow]
    """Of the commands that concerned them."""

    def statuses(self, life: Life) -> dict[str, CommandStatus]:
        """Of the commands whose fate was known when the life ended."""
        assert life.ended is not None
        known = known_in(life.ended.attempt, self.outcomes, self.rewinds)
        return {row.command_id: CommandStatus(row.status) for row in known}


class FieldReports:
    """Tells of seeds; every method may raise `StoreUnavailableError`.

    Args:
        store: where the journal is.
        history: recomputes signals and probabilities.
    """

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history

    async def of(self, run: RunRow, before: int | None, limit: int) -> Found[FieldReport]:
        """At most `limit` field reports of a run, the latest end first.

        Args:
            run: the run.
            before: where the page before ended; None: begin with the latest.
            limit: size of the page.
        """
        timeline = await self._timeline(run)
        stop = len(timeline.finished) if before is None else min(before, len(timeline.finished))
        start = max(0, stop - limit)
        lives = timeline.finished[start:stop][::-1]
        traces = [Trace(life) for life in lives]
        await self._gather(run, traces, timeline.rewinds)
        known = _Known(run, timeline.rewinds, await self._outcomes(run, lives))
        reports = [await self._report(trace, known) for trace in traces]
        return Found(reports, (start,) if start else None)

    async def _timeline(self, run: RunRow) -> Timeline:
        timeline = Timeline()
        last = await self._store.version(run.run_pk) or 0
        for first in range(1, last + 1, _LOOKED_AT):
            seqs = range(first, min(first + _LOOKED_AT, last + 1))
            timeline.take(await self._store.journal.turning_points(run.run_pk, seqs))
        return timeline

    async def _gather(self, run: RunRow, traces: Sequence[Trace], rewinds: Sequence[Rewind]) -> None:
        """Go once through the reports of these lives."""
        by_attempt: dict[int, list[tuple[range, Trace]]] = defaultdict(list)
        for trace in traces:
            for attempt, epochs in passages(trace.life, rewinds):
                by_attempt[attempt].append((epochs, trace))
        for attempt in sorted(by_attempt):
            for epochs in _joined([epochs for epochs, _ in by_attempt[attempt]]):
                await self._gather_in(run, attempt, epochs, by_attempt[attempt])

    async def _gather_in(
        self, run: RunRow, attempt: int, epochs: range, parts: Sequence[tuple[range, Trace]]
    ) -> None:
        while page := await self._store.journal.reports(run.run_pk, attempt, epochs, _PAGE):
            for entry in page:
                report = content_of(entry)
                for lived, trace in parts:
                    if entry.epoch in lived:
                        trace.take(entry, report)
            assert page[-1].epoch is not None
            epochs = range(page[-1].epoch + 1, epochs.stop)
            # Others have their turn, also where the store answers at once.
            await asyncio.sleep(0)

    async def _outcomes(self, run: RunRow, lives: Sequence[Life]) -> list[OutcomeRow]:
        issued = [command for life in lives for command in (life.asked, *life.commands) if command]
        keys = {DecisionKey(run.run_pk, *command.moment[:2]) for command in issued}
        found = await self._store.outcomes(sorted(keys))
        return [row for rows in found.values() for row in rows]

    async def _report(self, trace: Trace, known: _Known) -> FieldReport:
        life, ended = trace.life, trace.life.ended
        assert ended is not None
        statuses = known.statuses(life)
        asked = _cause(life.asked, trace, statuses)
        ending = _cause(_ending(life), trace, statuses)
        germinated_by = await self._decision(known.run, asked, None)
        ended_by = await self._decision(known.run, ending, life.seed_id)
        at_birth = await self._signals(known.run, life.born if asked is None else asked.moment)
        improvement = await self._improvements(known.run, trace)
        initial = trace.metrics.get("initial_val_accuracy")
        commands = (*((asked,) if asked else ()), *life.commands)
        return FieldReport(
            report_id=f"{known.run.run_id}@{ended.attempt}.{ended.epoch}/{life.seed_id}",
            run_id=known.run.run_id,
            attempt=ended.attempt,
            seed_id=life.seed_id,
            slot_id=life.slot_id,
            blueprint_id=trace.blueprint_id,
            final_stage=_final_stage(trace),
            success=life.fossilized,
            vanished=trace.final is None,
            superseded=is_superseded(ended.attempt, ended.epoch, known.rewinds),
            germinated_at=from_micros(life.born.at),
            completed_at=from_micros(ended.at),
            germinated_epoch=life.born.epoch,
            completed_epoch=ended.epoch,
            epochs_per_stage=dict(trace.epochs_per_stage),
            accuracy_at_germination=trace.host_accuracy if initial is None else initial,
            accuracy_at_completion=trace.metrics.get("current_val_accuracy"),
            best_accuracy=trace.best_accuracy,
            total_improvement=improvement[0],
            attributed_improvement=improvement[1],
            parameters=trace.metrics.get("parameters"),
            signals_at_germination=at_birth,
            command_ids=tuple(issued.command_id for issued in commands),
            germinated_by=germinated_by,
            ended_by=ended_by,
            failure_stage=None if life.fossilized else trace.last_live,
            failure_reason=None if life.fossilized else _failure(trace, ended_by),
        )

    async def _decision(
        self, run: RunRow, issued: Issued | None, seed_id: str | None
    ) -> FieldDecision | None:
        if issued is None:
            return None
        record = await self._explained(run, await self._entry(run, issued.moment))
        slot = None
        if record is not None:
            slot = next((slot for slot in record.slots if slot.seed_id == seed_id), None)
        action = issued.action if slot is None else slot.action
        chances = None if slot is None else slot.probabilities
        return FieldDecision(
            decision_id=issued.decision_id,
            command_id=issued.command_id,
            attempt=issued.moment.attempt,
            epoch=issued.moment.epoch,
            action=action,
            policy=PolicyIdentity.model_validate(issued.policy),
            confidence=issued.command["confidence"],
            probability=None if chances is None else chances[action],
            reason=issued.command["reason"],
            # Only what was executed can be the cause of what the seed showed.
            status=CommandStatus.EXECUTED,
            ordered=slot is not None and slot.ordered,
        )

    async def _improvements(self, run: RunRow, trace: Trace) -> tuple[float | None, float | None]:
        """The seed's total improvement, and the part that is owed to it, as last measured."""
        if trace.last is None:
            return None, None
        signals = await self._signals(run, trace.last)
        seed = next((seed for seed in signals.seeds if seed.seed_id == trace.life.seed_id), None)
        return (None, None) if seed is None else (seed.total_improvement, seed.attributed_improvement)

    async def _signals(self, run: RunRow, moment: Moment) -> TrainingSignals:
        return await self._history.signals(run, await self._entry(run, moment))

    async def _entry(self, run: RunRow, moment: Moment) -> Entry:
        return await self._history.entry(run, moment.epoch, moment.attempt)

    async def _explained(self, run: RunRow, entry: Entry) -> DecisionRecord | None:
        try:
            return await self._history.explained(run, entry)
        except (ExplanationError, PolicyUnavailableError):
            return None


def _ending(life: Life) -> Issued | None:
    """The last command that asked for the end that came."""
    wanted = CommandType.ADVANCE_STAGE if life.fossilized else CommandType.CULL
    asked = [issued for issued in life.commands if issued.command["command_type"] == wanted]
    return asked[-1] if asked else None


def _cause(issued: Issued | None, trace: Trace, statuses: Mapping[str, CommandStatus]) -> Issued | None:
    """The command, if it was executed and can have caused what the seed showed."""
    if issued is None or statuses.get(issued.command_id) is not CommandStatus.EXECUTED:
        return None
    blueprint_id = issued.command.get("blueprint_id")
    return issued if blueprint_id in (None, trace.blueprint_id) else None


def _final_stage(trace: Trace) -> SeedStage:
    if trace.life.fossilized:
        return SeedStage.FOSSILIZED
    failed = trace.final is not None and trace.final.is_failed
    return trace.final if failed and trace.final is not None else SeedStage.CULLED


def _failure(trace: Trace, ended_by: FieldDecision | None) -> str:
    if ended_by is not None:
        return ended_by.reason
    return _VANISHED if trace.final is None else _BY_HAND


def _joined(parts: Sequence[range]) -> list[range]:
    """The same epochs in ranges that do not overlap."""
    joined: list[range] = []
    for part in sorted(parts, key=lambda part: part.start):
        if joined and part.start <= joined[-1].stop:
            joined[-1] = range(joined[-1].start, max(joined[-1].stop, part.stop))
        else:
            joined.append(part)
    return joined
