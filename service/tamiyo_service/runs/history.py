"""What has been decided, and why: the journal read back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from tamiyo_core import explain_features, explain_slots
from tamiyo_leyline import (
    DecisionItem,
    DecisionRecord,
    DecisionReply,
    OutcomeRecord,
    RunConfig,
    SeedStage,
)
from tamiyo_leyline.api import RunView, SeedView

from tamiyo_service.clock import from_micros
from tamiyo_service.errors import DecisionNotFoundError, ExplanationError, RunNotFoundError
from tamiyo_service.runs.deciding import identity_of, recompute
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.session import Session, standing_of
from tamiyo_service.runs.timeline import is_superseded
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import (
    DecisionFilter,
    DecisionKey,
    DecisionRow,
    Entry,
    OutcomeRow,
    Overview,
    Rewind,
    RunFilter,
    RunRow,
)


class History:
    """Reads runs and decisions; every method may raise `StoreUnavailableError`.

    Args:
        store: where everything is.
        engines: recompute explanations.
    """

    def __init__(self, store: Store, engines: Engines) -> None:
        self._store = store
        self._engines = engines

    async def run(self, run_id: str) -> RunRow:
        """The run.

        Raises:
            RunNotFoundError: if there is none of that id.
        """
        run = await self._store.run(run_id)
        if run is None:
            raise RunNotFoundError(f"there is no run {run_id}; create it with PUT /runs/{run_id}")
        return run

    async def view(self, run: RunRow) -> RunView:
        """The run as it stands."""
        return (await self._views([run]))[0]

    async def views(self, wanted: RunFilter, limit: int) -> list[tuple[int, RunView]]:
        """Runs that pass the filter, the newest first, each with its position in the list."""
        runs = await self._store.runs(wanted, limit)
        views = await self._views(runs)
        return [(run.run_pk, view) for run, view in zip(runs, views, strict=True)]

    async def items(self, wanted: DecisionFilter, limit: int) -> list[tuple[int, DecisionItem]]:
        """Decisions that pass the filter, each with its position in the list."""
        rows = await self._store.decisions(wanted, limit)
        items = await self._items(rows)
        return [(row.position, item) for row, item in zip(rows, items, strict=True)]

    async def record(self, run: RunRow, epoch: int, attempt: int | None = None) -> DecisionRecord:
        """One decision with everything it was made from, recomputed from the inputs and checked.

        Args:
            run: the run.
            epoch: the epoch reported.
            attempt: None: the latest attempt that has it.

        Raises:
            DecisionNotFoundError: if the epoch was never reported.
            ExplanationError: if recomputing gives other commands than the reply had.
        """
        return await self._record(run, await self._entry(run, epoch, attempt))

    async def state_after(self, key: DecisionKey) -> str:
        """The snapshot of the run's state after a report, as JSON.

        Raises:
            DecisionNotFoundError: if the epoch was never reported.
        """
        entry = await self._store.report(key)
        if entry is None:
            raise DecisionNotFoundError(f"epoch {key.epoch} of attempt {key.attempt} was never reported")
        return entry.state

    async def _entry(self, run: RunRow, epoch: int, attempt: int | None) -> Entry:
        if attempt is None:
            entry = await self._store.latest_report(run.run_pk, epoch)
        else:
            entry = await self._store.report(DecisionKey(run.run_pk, attempt, epoch))
        if entry is None:
            where = "" if attempt is None else f" in attempt {attempt}"
            raise DecisionNotFoundError(f"run {run.run_id} never reported epoch {epoch}{where}")
        return entry

    async def _record(self, run: RunRow, entry: Entry) -> DecisionRecord:
        engine = self._engines.stored(run.config)
        before = await self._store.entry_before(run.run_pk, entry.seq)
        session = Session(run.run_pk, run.run_id, engine, standing_of(engine, run, None))
        report, step = recompute(session, before, entry)
        item = (await self._items([DecisionRow(0, run.run_id, entry)]))[0]
        if item.commands != step.commands:
            raise ExplanationError(f"recomputing decision {item.decision_id} gives other commands")
        epoch = report.epoch
        return DecisionRecord(
            **_fields(item),
            report=report,
            signals=step.signals,
            features=explain_features(step),
            slots=explain_slots(engine, step),
            penalties=dict(step.context.penalties),
            embargo_until_epoch=engine.embargo_until(step.context, epoch),
            events=step.events,
        )

    async def _items(self, rows: Sequence[DecisionRow]) -> list[DecisionItem]:
        rewinds = await self._store.rewinds(sorted({row.entry.run_pk for row in rows}))
        outcomes = await self._store.outcomes([_key(row.entry) for row in rows])
        return [
            _item(row.entry, rewinds.get(row.entry.run_pk, ()), outcomes.get(_key(row.entry), ()))
            for row in rows
        ]

    async def _views(self, runs: Sequence[RunRow]) -> list[RunView]:
        overviews = await self._store.overviews([run.run_pk for run in runs])
        return [self._view(run, overviews[run.run_pk]) for run in runs]

    def _view(self, run: RunRow, overview: Overview) -> RunView:
        config = RunConfig.model_validate_json(run.config)
        engine = self._engines.stored(run.config)
        standing = standing_of(engine, run, overview.last)
        reported, last = overview.last_report_at, overview.last
        return RunView(
            run_id=run.run_id,
            status=run.status,
            result=run.result,
            attempt=standing.attempt,
            last_epoch=standing.last_epoch,
            created_at=from_micros(run.created_at),
            updated_at=from_micros(run.created_at if last is None else last.at),
            last_report_at=None if reported is None else from_micros(reported),
            config=config,
            rules_version=run.rules_version,
            policy=identity_of(engine),
            counts=overview.counts,
            seeds=tuple(
                SeedView(
                    seed_id=seed.seed_id,
                    slot_id=seed.slot_id,
                    blueprint_id=seed.blueprint_id,
                    stage=SeedStage(seed.stage),
                    alpha=seed.alpha,
                )
                for seed in standing.state.tracker.seeds
            ),
            labels=config.labels,
        )


def _key(entry: Entry) -> DecisionKey:
    return DecisionKey(entry.run_pk, entry.attempt, entry.epoch or 0)


def _item(entry: Entry, rewinds: Sequence[Rewind], outcomes: Sequence[OutcomeRow]) -> DecisionItem:
    reply = DecisionReply.model_validate_json(entry.reply or "")
    return DecisionItem(
        **_fields(reply),
        decided_at=from_micros(entry.at),
        action=entry.action or "",
        warnings=tuple(orjson.loads(entry.warnings)) if entry.warnings else (),
        outcomes=tuple(
            OutcomeRecord(
                command_id=row.command_id,
                status=row.status,
                epoch=row.known_epoch,
                detail=row.detail,
            )
            for row in outcomes
        ),
        superseded=is_superseded(entry.attempt, entry.epoch or 0, rewinds),
    )


def _fields(schema: DecisionReply) -> dict[str, Any]:
    return {name: getattr(schema, name) for name in type(schema).model_fields}
