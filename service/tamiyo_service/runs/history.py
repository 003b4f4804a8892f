"""What has been decided, and why: the journal read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from tamiyo_core import explain_features, explain_slots
from tamiyo_core.state import SeedTrack
from tamiyo_leyline import (
    DecisionItem,
    DecisionRecord,
    DecisionReply,
    EpochReport,
    PolicyIdentity,
    RunResult,
    SeedStage,
    ShadowDecision,
    TrainingSignals,
)
from tamiyo_leyline.api import HoldView, RunView, SeedView

from tamiyo_service.clock import from_micros
from tamiyo_service.errors import DecisionNotFoundError, ExplanationError, no_such_run
from tamiyo_service.runs.deciding import identity_of, recompute
from tamiyo_service.runs.engines import Engines, engine_at
from tamiyo_service.runs.session import Session, standing_of
from tamiyo_service.runs.snapshots import restored
from tamiyo_service.runs.steering import override_view
from tamiyo_service.runs.timeline import is_superseded, told_of
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import (
    DecisionFilter,
    DecisionKey,
    DecisionRow,
    Entry,
    Found,
    InputKind,
    OutcomeRow,
    Overview,
    Rewind,
    RunFilter,
    RunRow,
)

_OUTCOME_FIELDS: Final = ("command_id", "status", "epoch", "detail")

About = Callable[[Entry], tuple[Sequence[Rewind], Sequence[OutcomeRow]]]


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
            raise no_such_run(run_id)
        return run

    async def view(self, run: RunRow) -> RunView:
        """The run as it stands."""
        return (await self.views_of([run]))[0]

    async def views(self, wanted: RunFilter, limit: int) -> Found[RunView]:
        """At most `limit` runs that pass the filter, the newest first."""
        found = await self._store.runs(wanted, limit)
        return Found(await self.views_of(found.rows), found.resume)

    async def items(self, wanted: DecisionFilter, limit: int) -> Found[str]:
        """At most `limit` decisions that pass the filter, each a `DecisionItem` as JSON."""
        found = await self._store.decisions(wanted, limit)
        about = await self._about(found.rows)
        return Found([item_json(row.entry, *about(row.entry)) for row in found.rows], found.resume)

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
        return await self.explained(run, await self.entry(run, epoch, attempt))

    async def state_after(self, key: DecisionKey) -> str:
        """The snapshot of the run's state after a report, as JSON.

        Raises:
            DecisionNotFoundError: if the epoch was never reported.
        """
        entry = await self._store.report(key)
        if entry is None:
            raise DecisionNotFoundError(f"epoch {key.epoch} of attempt {key.attempt} was never reported")
        return entry.state

    async def signals(self, run: RunRow, entry: Entry) -> TrainingSignals:
        """The signals of a report's entry at hand, whether or not its policy is installed."""
        engine = await engine_at(self._store, self._engines, run, entry.seq)
        before = await self._store.entry_before(run.run_pk, entry.seq)
        state = engine.initial() if before is None else restored(engine, before.state)
        return engine.observe(state, EpochReport.model_validate_json(entry.payload)).signals

    async def entry(self, run: RunRow, epoch: int, attempt: int | None) -> Entry:
        """The entry of a report; see `record`.

        Raises:
            DecisionNotFoundError: if the epoch was never reported.
        """
        if attempt is None:
            entry = await self._store.latest_report(run.run_pk, epoch)
        else:
            entry = await self._store.report(DecisionKey(run.run_pk, attempt, epoch))
        if entry is None:
            where = "" if attempt is None else f" in attempt {attempt}"
            raise DecisionNotFoundError(f"run {run.run_id} never reported epoch {epoch}{where}")
        return entry

    async def explained(self, run: RunRow, entry: Entry) -> DecisionRecord:
        """The same of a report's entry at hand.

        Raises:
            ExplanationError: if recomputing gives other commands than the reply had.
        """
        engine = await engine_at(self._store, self._engines, run, entry.seq)
        before = await self._store.entry_before(run.run_pk, entry.seq)
        session = Session(run.run_pk, run.run_id, standing_of(engine, run, None))
        report, step = recompute(session, before, entry)
        row = DecisionRow((), run.run_id, entry)
        item = DecisionItem.model_validate_json(item_json(entry, *(await self._about([row]))(entry)))
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
            shadow=await self._shadows(item, entry),
        )

    async def _shadows(self, item: DecisionItem, entry: Entry) -> tuple[ShadowDecision, ...]:
        """What shadow policies would have decided about a report, as far as they have come."""
        rows = await self._store.shadows.of_report(entry.run_pk, entry.seq)
        return tuple(
            ShadowDecision(
                run_id=item.run_id,
                attempt=row.attempt,
                epoch=row.epoch,
                decision_id=item.decision_id,
                commands=orjson.loads(row.commands),
                policy=PolicyIdentity(name=row.policy, version=row.version, sha256=row.sha256),
                decided_at=from_micros(row.at),
                agrees=row.agrees,
                slots=orjson.loads(row.slots),
            )
            for row in rows
        )

    async def _about(self, rows: Sequence[DecisionRow]) -> About:
        """What tells the rewinds of a decision's run, and the outcomes of its commands."""
        rewinds = await self._store.rewinds(sorted({row.entry.run_pk for row in rows}))
        outcomes = await self._store.outcomes([row.entry.key for row in rows])
        return lambda entry: (rewinds.get(entry.run_pk, ()), outcomes.get(entry.key, ()))

    async def views_of(self, runs: Sequence[RunRow]) -> list[RunView]:
        """These runs as they stand."""
        return [view for view, _ in await self.numbered_views_of(runs)]

    async def numbered_views_of(self, runs: Sequence[RunRow]) -> list[tuple[RunView, int]]:
        """The same, each with the number of the run's latest input, 0 before the first."""
        run_pks = [run.run_pk for run in runs]
        overviews = await self._store.overviews(run_pks)
        labels = await self._store.labels(run_pks)
        holds = await self._holds([pk for pk in run_pks if _is_held(overviews[pk])])
        views = (
            self._view(run, overviews[run.run_pk], labels[run.run_pk], holds.get(run.run_pk)) for run in runs
        )
        lasts = (overviews[run.run_pk].last for run in runs)
        return [(view, 0 if last is None else last.seq) for view, last in zip(views, lasts, strict=True)]

    async def _holds(self, run_pks: Sequence[int]) -> dict[int, HoldView]:
        """The holds in force of these runs: the latest of each."""
        reads = (self._store.journal.inputs(run_pk, InputKind.HOLD, None, 1) for run_pk in run_pks)
        found = await asyncio.gather(*reads)
        return {entry.run_pk: _hold_view(entry) for entries in found for entry in entries}

    def _view(
        self, run: RunRow, overview: Overview, labels: dict[str, str], hold: HoldView | None
    ) -> RunView:
        engine, config = self._engines.stored_with_config(run.config)
        if run.chosen is not None:
            engine = self._engines.of_run(run)
        standing = standing_of(engine, run, overview.last)
        reported, last = overview.last_report_at, overview.last
        # All of it was validated when it was stored.
        return RunView.model_construct(
            run_id=run.run_id,
            status=run.status,
            result=None if run.result is None else RunResult(run.result),
            attempt=standing.attempt,
            last_epoch=standing.last_epoch,
            created_at=from_micros(run.created_at),
            updated_at=from_micros(run.created_at if last is None else last.at),
            last_report_at=None if reported is None else from_micros(reported),
            config=config,
            rules_version=run.rules_version,
            policy=identity_of(engine),
            hold=hold,
            override=None if standing.override is None else override_view(standing.override),
            counts=overview.counts,
            seeds=tuple(map(_seed_view, standing.state.tracker.seeds)),
            labels=labels,
        )


def _seed_view(seed: SeedTrack) -> SeedView:
    return SeedView.model_construct(
        seed_id=seed.seed_id,
        slot_id=seed.slot_id,
        blueprint_id=seed.blueprint_id,
        stage=SeedStage(seed.stage),
        alpha=seed.alpha,
    )


def _is_held(overview: Overview) -> bool:
    return overview.last is not None and overview.last.hold is not None


def _hold_view(entry: Entry) -> HoldView:
    content = orjson.loads(entry.payload)
    return HoldView(reason=content["reason"], by=content.get("by"), since=from_micros(entry.at))


def item_json(entry: Entry, rewinds: Sequence[Rewind], outcomes: Sequence[OutcomeRow]) -> str:
    """A `DecisionItem` as JSON: the stored reply goes in as it is.

    Args:
        entry: of a report.
        rewinds: of its run.
        outcomes: of its commands.
    """
    known = told_of(entry.key, outcomes, rewinds)
    told = [(row.command_id, row.status, row.known_epoch, row.detail) for row in known]
    rest = {
        "decided_at": from_micros(entry.at),
        "action": entry.action,
        "warnings": orjson.loads(entry.warnings) if entry.warnings else [],
        "outcomes": [dict(zip(_OUTCOME_FIELDS, values, strict=True)) for values in told],
        "superseded": is_superseded(entry.attempt, entry.epoch or 0, rewinds),
    }
    reply = (entry.reply or "").removesuffix("}")
    return f"{reply},{orjson.dumps(rest, option=orjson.OPT_UTC_Z).decode()[1:]}"


def _fields(schema: DecisionReply) -> dict[str, Any]:
    return {name: getattr(schema, name) for name in type(schema).model_fields}
