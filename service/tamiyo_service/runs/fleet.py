"""The fleet: many runs at a glance, however many there are and however long they have gone on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson
from tamiyo_leyline import Objective, RunStatus
from tamiyo_leyline.api import RunView

from tamiyo_service.clock import from_micros, to_micros
from tamiyo_service.runs.curves import Gathered
from tamiyo_service.runs.history import History
from tamiyo_service.runs.sampling import POINTS, Stand, sampled
from tamiyo_service.runs.series_shapes import FleetRun, LastDecision, Line
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, Found, Overview, RunFilter, RunRow

_LOOKS: Final = 25
"""Searches of the store that one page may take, where few runs meet what the store does not know."""
_SILENT_FACTOR: Final = 5.0
_SILENT_AT_LEAST_SECONDS: Final = 60.0
_WAIT: Final = "WAIT"


class FleetFilter(NamedTuple):
    """Which runs: what the store knows of, and more."""

    stored: RunFilter
    search: str = ""
    """Part of the run's id, in any case."""
    silent_at: datetime | None = None
    """The moment at which they count as gone silent; None: whether or not they do."""
    action: str | None = None
    """What the last decision other than WAIT was; GERMINATE: any germination; WAIT: there was none."""


class Fleet:
    """Tells of many runs; every method may raise `StoreUnavailableError`.

    Args:
        store: where everything is.
        history: tells of runs.
    """

    def __init__(self, store: Store, history: History) -> None:
        self._store = store
        self._history = history

    async def page(self, wanted: FleetFilter, limit: int) -> Found[FleetRun]:
        """At most `limit` runs that pass the filter, the newest first."""
        rows: list[RunRow] = []
        lasts: dict[int, Entry] = {}
        resume = wanted.stored.after
        known = wanted.stored
        if wanted.silent_at is not None and known.silent_since is None:
            # Nobody counts as silent sooner: the store leaves the others out by itself.
            sooner = wanted.silent_at - timedelta(seconds=_SILENT_AT_LEAST_SECONDS)
            known = replace(known, silent_since=to_micros(sooner))
        for _ in range(_LOOKS):
            stored = replace(known, after=resume)
            found = await self._store.runs(stored, limit - len(rows))
            resume = found.resume
            named = [run for run in found.rows if wanted.search.lower() in run.run_id.lower()]
            named = await self._silent(named, wanted.silent_at)
            acted = await self._store.journal.last_acting([run.run_pk for run in named])
            rows += [run for run in named if _did(wanted.action, acted.get(run.run_pk))]
            lasts |= acted
            if resume is None or len(rows) >= limit:
                break
        return Found(await self._told(rows, lasts), resume)

    async def _silent(self, rows: list[RunRow], moment: datetime | None) -> list[RunRow]:
        """Those that have gone silent by a moment; None: all."""
        if moment is None:
            return rows
        # Whoever is over is never silent; and of the others no state need be read for it.
        going = [row for row in rows if row.status != RunStatus.COMPLETED]
        overviews = await self._store.overviews([row.run_pk for row in going])
        return [row for row in going if _is_silent(row, overviews[row.run_pk], moment)]

    async def _told(self, rows: Sequence[RunRow], lasts: Mapping[int, Entry]) -> list[FleetRun]:
        numbered = await self._history.numbered_views_of(rows)
        stands = [
            Stand(row.run_pk, seq, view.attempt, view.last_epoch)
            for row, (view, seq) in zip(rows, numbered, strict=True)
        ]
        reports = await sampled(self._store, stands)
        return [
            _fleet_run(view, lasts.get(row.run_pk), reports.get(row.run_pk, ()))
            for row, (view, _) in zip(rows, numbered, strict=True)
        ]


def _did(action: str | None, last: Entry | None) -> bool:
    if action is None:
        return True
    done = _WAIT if last is None else last.action or _WAIT
    return done == action or (action == "GERMINATE" and done.startswith("GERMINATE_"))


def _fleet_run(view: RunView, last: Entry | None, sampled: Sequence[Entry]) -> FleetRun:
    objective = view.config.objective
    sparkline = _sparkline(objective.value, sampled)
    if not sparkline.epochs and objective is Objective.VAL_ACCURACY:
        objective, sparkline = Objective.VAL_LOSS, _sparkline(Objective.VAL_LOSS.value, sampled)
    # All of it was validated when it was stored.
    return FleetRun.model_construct(
        run_id=view.run_id,
        status=view.status,
        result=view.result,
        attempt=view.attempt,
        last_epoch=view.last_epoch,
        max_epochs=view.config.max_epochs,
        created_at=view.created_at,
        last_report_at=view.last_report_at,
        silent_after_seconds=_silent_after(view),
        policy=view.policy,
        counts=view.counts,
        seeds=view.seeds,
        labels=view.labels,
        last_decision=None if last is None else _last_decision(last),
        measure=objective.value,
        latest=sparkline.values[-1] if sparkline.values else None,
        sparkline=sparkline,
    )


def _sparkline(measure: str, sampled: Sequence[Entry]) -> Line:
    gathered = Gathered()
    for entry in sampled:
        report: dict[str, Any] = orjson.loads(entry.payload)
        gathered.add(entry.epoch or 0, report.get(measure))
    return gathered.line(POINTS)


def _last_decision(entry: Entry) -> LastDecision:
    command = orjson.loads(entry.reply or "{}")["commands"][0]
    assert entry.epoch is not None
    assert entry.action is not None
    return LastDecision.model_construct(
        attempt=entry.attempt,
        epoch=entry.epoch,
        action=entry.action,
        reason=command["reason"],
        at=from_micros(entry.at),
    )


def _is_silent(run: RunRow, overview: Overview, moment: datetime) -> bool:
    created = from_micros(run.created_at)
    last = None if overview.last_report_at is None else from_micros(overview.last_report_at)
    after = _longest_silence(created, last, sum(overview.counts.values()))
    return (moment - (last or created)).total_seconds() > after


def _silent_after(view: RunView) -> float | None:
    if view.status == RunStatus.COMPLETED:
        return None
    return _longest_silence(view.created_at, view.last_report_at, sum(view.counts.values()))


def _longest_silence(created: datetime, last_report: datetime | None, reports: int) -> float:
    """Seconds after which a run that goes on counts as silent."""
    if last_report is None or not reports:
        return _SILENT_AT_LEAST_SECONDS
    mean = (last_report - created).total_seconds() / reports
    return round(max(_SILENT_AT_LEAST_SECONDS, _SILENT_FACTOR * mean), 1)
