"""Decisions: the history, and why each was made."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Query, Response
from tamiyo_leyline import DecisionItem, DecisionRecord, ProblemCode, RunConfig
from tamiyo_leyline.api import Page, RunDecisions
from tamiyo_leyline.fields import MAX_COUNT

from tamiyo_service.api.calling import Calling
from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.api.queries import AttemptQuery, DecisionQuery, RunDecisionQuery
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Services, Wired
from tamiyo_service.store.rows import DecisionFilter

router = APIRouter(tags=["history"])

EpochPath = Annotated[int, Path(ge=0, le=MAX_COUNT, description="The epoch reported.")]


@router.get("/decisions", response_model=Page[DecisionItem], responses=problems(body=False))
async def list_decisions(
    query: Annotated[DecisionQuery, Query()], services: Wired, calling: Calling
) -> Response:
    """List decisions of all runs."""
    length = 3 if query.order == "asc" else 2
    position = decode_cursor(query.cursor, query, length=length)
    return await _page(services, query, query.wanted(position, prefixes=calling.prefixes))


@router.get(
    "/runs/{run_id}/decisions",
    response_model=RunDecisions,
    responses=problems(ProblemCode.RUN_NOT_FOUND, body=False),
)
async def list_run_decisions(
    run_id: RunIdPath, query: Annotated[RunDecisionQuery, Query()], services: Wired
) -> Response:
    """List the decisions of one run."""
    run = await services.history.run(run_id)
    layout = RunConfig.model_validate_json(run.config).topology.layout
    position = decode_cursor(query.cursor, query, run_id)
    wanted = query.wanted(position, run.run_pk, layout)
    counts = await services.store.decision_counts(wanted) if query.count else None
    return await _page(services, query, wanted, run_id, counts)


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
    services: Services,
    query: DecisionQuery,
    wanted: DecisionFilter,
    scope: str = "",
    counts: dict[str, int] | None = None,
) -> Response:
    """A `Page[DecisionItem]`; the items are JSON already."""
    found = await services.history.items(wanted, query.limit)
    cursor = orjson.dumps(encode_cursor(found.resume, query, scope)).decode()
    counted = "" if counts is None else f',"counts":{orjson.dumps(counts).decode()}'
    body = f'{{"items":[{",".join(found.rows)}],"next_cursor":{cursor}{counted}}}'
    return Response(body, media_type="application/json")
