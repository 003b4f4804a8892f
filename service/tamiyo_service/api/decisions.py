"""Decisions: the history, and why each was made."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from tamiyo_leyline import DecisionItem, DecisionRecord, ProblemCode, RunConfig
from tamiyo_leyline.api import Page
from tamiyo_leyline.fields import MAX_COUNT

from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.api.queries import AttemptQuery, DecisionQuery
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Services, Wired
from tamiyo_service.store.rows import DecisionFilter

router = APIRouter(tags=["history"])

EpochPath = Annotated[int, Path(ge=0, le=MAX_COUNT, description="The epoch reported.")]


@router.get("/decisions", responses=problems(body=False))
async def list_decisions(query: Annotated[DecisionQuery, Query()], services: Wired) -> Page[DecisionItem]:
    """List decisions of all runs."""
    return await _page(services, query, query.wanted(decode_cursor(query.cursor, query)))


@router.get(
    "/runs/{run_id}/decisions",
    responses=problems(ProblemCode.RUN_NOT_FOUND, body=False),
)
async def list_run_decisions(
    run_id: RunIdPath, query: Annotated[DecisionQuery, Query()], services: Wired
) -> Page[DecisionItem]:
    """List the decisions of one run."""
    run = await services.history.run(run_id)
    layout = RunConfig.model_validate_json(run.config).topology.layout
    position = decode_cursor(query.cursor, query, run_id)
    return await _page(services, query, query.wanted(position, run.run_pk, layout), run_id)


@router.get(
    "/runs/{run_id}/decisions/{epoch}",
    responses=problems(
        ProblemCode.RUN_NOT_FOUND, ProblemCode.DECISION_NOT_FOUND, ProblemCode.MODEL_REJECTED, body=False
    ),
)
async def show_decision(
    run_id: RunIdPath, epoch: EpochPath, query: Annotated[AttemptQuery, Query()], services: Wired
) -> DecisionRecord:
    """Show one decision with the report it answered and everything it was made from."""
    return await services.history.record(await services.history.run(run_id), epoch, query.attempt)


async def _page(
    services: Services, query: DecisionQuery, wanted: DecisionFilter, scope: str = ""
) -> Page[DecisionItem]:
    found = await services.history.items(wanted, query.limit + 1)
    page = found[: query.limit]
    more = encode_cursor(page[-1][0], query, scope) if len(found) > query.limit else None
    return Page(items=tuple(item for _, item in page), next_cursor=more)
