"""What became of seeds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from tamiyo_leyline import FieldReport, ProblemCode
from tamiyo_leyline.api import Page

from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.api.queries import PageQuery
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Wired

router = APIRouter(tags=["history"])


@router.get("/runs/{run_id}/field-reports", responses=problems(ProblemCode.RUN_NOT_FOUND, body=False))
async def list_field_reports(
    run_id: RunIdPath, query: Annotated[PageQuery, Query()], services: Wired
) -> Page[FieldReport]:
    """List what became of a run's seeds, one report for each that is over, the latest end first."""
    run = await services.history.run(run_id)
    position = decode_cursor(query.cursor, query, run_id)
    found = await services.field_reports.of(run, None if position is None else position[0], query.limit)
    return Page(items=tuple(found.rows), next_cursor=encode_cursor(found.resume, query, run_id))
