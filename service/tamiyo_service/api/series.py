"""What a chart shows of a run, and all runs at a glance."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.fields import MAX_COUNT

from tamiyo_service.api.calling import Calling
from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.api.queries import ActionName, DecisionFilters, RunQuery
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Wired
from tamiyo_service.runs.fleet import Fleet, FleetFilter
from tamiyo_service.runs.series import MOST_EPOCHS, SeriesReader, Window
from tamiyo_service.runs.series_shapes import FleetPage, RunSeries

router = APIRouter(tags=["history"])

_DEFAULT_POINTS: Final = 1_000
_MOST_POINTS: Final = 10_000


class SeriesQuery(BaseModel):
    """Which part of a run, and how closely."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(
        _DEFAULT_POINTS, ge=4, le=_MOST_POINTS, description="Measurements of each line, at most."
    )
    since_epoch: int = Field(0, ge=0, le=MAX_COUNT, description="First epoch.")
    until_epoch: int = Field(
        MAX_COUNT,
        ge=0,
        le=MAX_COUNT,
        description=f"Last epoch. A series covers {MOST_EPOCHS} epochs at most.",
    )
    attempt: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="The attempt whose history it is; absent: the current one."
    )


class FleetQuery(RunQuery):
    """Which runs of the fleet."""

    search: str = Field("", max_length=128, description="Part of the run's id, in any case.")
    silent: bool = Field(False, description="Whether to list only runs that have gone silent.")
    action: ActionName | None = Field(
        None,
        description="What a run did last, leaving out WAIT: GERMINATE (any), GERMINATE_<BLUEPRINT>, "
        "FOSSILIZE, CULL; WAIT: it has done nothing else.",
    )


@router.get("/fleet", responses=problems(body=False))
async def list_fleet(query: Annotated[FleetQuery, Query()], services: Wired, calling: Calling) -> FleetPage:
    """List runs as an operator watches them, the newest first: their last decision and a small curve."""
    now = services.clock()
    action = None
    if query.action is not None:
        decided = DecisionFilters(action=[query.action]).filtered(None)
        action = "GERMINATE" if decided.germinate else next(iter(decided.actions))
    stored = query.wanted(decode_cursor(query.cursor, query), services.clock, calling)
    fleet = Fleet(services.store, services.history)
    silent_at = now if query.silent else None
    found = await fleet.page(FleetFilter(stored, query.search, silent_at, action), query.limit)
    return FleetPage(items=tuple(found.rows), next_cursor=encode_cursor(found.resume, query), now=now)


@router.get("/runs/{run_id}/series", responses=problems(ProblemCode.RUN_NOT_FOUND, body=False))
async def show_series(
    run_id: RunIdPath, query: Annotated[SeriesQuery, Query()], services: Wired
) -> RunSeries:
    """Show a run's history as lines, bands and marks for charts: what counts of it after rewinds.

    Of long lines remain the lowest, highest, first and last measurements of equal parts.
    """
    run = await services.history.run(run_id)
    window = Window(query.points, query.since_epoch, query.until_epoch, query.attempt)
    return await SeriesReader(services.store).of(run, window)
