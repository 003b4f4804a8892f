"""The history as a file."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import StreamingResponse
from tamiyo_leyline import ProblemCode, RunConfig

from tamiyo_service.api.calling import Calling
from tamiyo_service.api.queries import DecisionFilters
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Services, Wired
from tamiyo_service.errors import (
    ExplanationError,
    InvalidQueryError,
    PolicyUnavailableError,
    RunNotFoundError,
)
from tamiyo_service.export.formats import MEDIA_TYPES, Format, as_csv, as_ndjson, parquet_of
from tamiyo_service.export.reading import Told, decisions
from tamiyo_service.export.response import ExportResponse
from tamiyo_service.runs.history import item_json
from tamiyo_service.store.rows import DecisionFilter

router = APIRouter(tags=["history"])

_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The file, as it is written.",
        "content": {media_type.partition(";")[0]: {} for media_type in MEDIA_TYPES.values()},
    }
}


class ExportQuery(DecisionFilters):
    """Which decisions, and how."""

    format: Format = Field(Format.NDJSON, description="ndjson, csv or parquet.")
    explain: bool = Field(
        False, description="Whether each line of ndjson is the whole DecisionRecord; slow: it is recomputed."
    )


@router.get("/export", responses=_CONTENT | problems(body=False), response_class=StreamingResponse)
async def export_decisions(
    query: Annotated[ExportQuery, Query()], services: Wired, calling: Calling
) -> ExportResponse:
    """Export the decisions of all runs, the oldest first, as they are at this moment."""
    return await _export(services, query, query.filtered(None, prefixes=calling.prefixes), "decisions")


@router.get(
    "/runs/{run_id}/export",
    responses=_CONTENT | problems(ProblemCode.RUN_NOT_FOUND, body=False),
    response_class=StreamingResponse,
)
async def export_run(
    run_id: RunIdPath, query: Annotated[ExportQuery, Query()], services: Wired
) -> ExportResponse:
    """Export the decisions of one run in their order, as they are at this moment."""
    run = await services.history.run(run_id)
    layout = RunConfig.model_validate_json(run.config).topology.layout
    wanted = query.filtered(None, run.run_pk, layout)
    return await _export(services, query, wanted, run_id.replace(":", "_"))


async def _export(
    services: Services, query: ExportQuery, wanted: DecisionFilter, name: str
) -> ExportResponse:
    if query.explain and query.format is not Format.NDJSON:
        raise InvalidQueryError("only ndjson has room for explanations", field="explain")
    below = await services.store.journal.settled()
    pieces = _pieces(services, query, wanted, below)
    moment = services.clock().strftime("%Y%m%dT%H%M%SZ")
    file_name = f"tamiyo-{name}-{moment}.{query.format.value}"
    return ExportResponse(pieces, MEDIA_TYPES[query.format], file_name)


def _pieces(
    services: Services, query: ExportQuery, wanted: DecisionFilter, below: int
) -> AsyncGenerator[bytes, None]:
    pages = decisions(services.store, wanted, below)
    if query.format is Format.CSV:
        return as_csv(pages)
    if query.format is Format.PARQUET:
        return parquet_of(pages)
    return as_ndjson(pages, partial(_explained, services) if query.explain else _item)


async def _item(told: Told) -> str:
    return item_json(told.entry, told.rewinds, told.outcomes)


async def _explained(services: Services, told: Told) -> str:
    """The whole record; where it cannot be worked out, what is stored, and why."""
    try:
        run = await services.history.run(told.run_id)
        return (await services.history.explained(run, told.entry)).model_dump_json()
    except (ExplanationError, PolicyUnavailableError, RunNotFoundError) as error:
        return (
            f'{(await _item(told)).removesuffix("}")},"unexplained":{orjson.dumps(error.message).decode()}}}'
        )
