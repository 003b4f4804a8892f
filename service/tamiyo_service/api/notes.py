"""What operators say of runs: notes and labels."""

from __future__ import annotations

from typing import Annotated, Final, TypeVar

from fastapi import APIRouter, Depends, Query
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.api import LabelsRequest, NoteRequest, NoteView, Page, RunView

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.calling import Calling
from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.api.queries import NO_PARAMETERS, PageQuery
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Wired
from tamiyo_service.auth.caller import Caller

router = APIRouter(tags=["operators"])

NOTE: Final = JsonBody(NoteRequest)
LABELS: Final = JsonBody(LabelsRequest)
NoteBody = Annotated[NoteRequest, Depends(NOTE)]
LabelsBody = Annotated[LabelsRequest, Depends(LABELS)]
Said = TypeVar("Said", NoteRequest, LabelsRequest)


@router.post(
    "/runs/{run_id}/notes",
    dependencies=NO_PARAMETERS,
    status_code=201,
    openapi_extra=NOTE.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND),
)
async def add_note(run_id: RunIdPath, request: NoteBody, services: Wired, calling: Calling) -> NoteView:
    """Add a note to a run. Notes decide nothing, and stay as long as the run."""
    return await services.remarks.note(run_id, _signed(request, calling))


@router.get("/runs/{run_id}/notes", responses=problems(ProblemCode.RUN_NOT_FOUND, body=False))
async def list_notes(
    run_id: RunIdPath, query: Annotated[PageQuery, Query()], services: Wired
) -> Page[NoteView]:
    """List the notes of a run, the latest first."""
    run = await services.history.run(run_id)
    position = decode_cursor(query.cursor, query, run_id)
    before = None if position is None else position[0]
    found = await services.remarks.notes(run.run_pk, before, query.limit)
    return Page(items=tuple(found.rows), next_cursor=encode_cursor(found.resume, query, run_id))


@router.put(
    "/runs/{run_id}/labels",
    dependencies=NO_PARAMETERS,
    openapi_extra=LABELS.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND),
)
async def label_run(run_id: RunIdPath, request: LabelsBody, services: Wired, calling: Calling) -> RunView:
    """Give a run these labels instead of those it has."""
    await services.remarks.label(run_id, _signed(request, calling))
    return await services.history.view(await services.history.run(run_id))


def _signed(request: Said, caller: Caller) -> Said:
    """The request with the name of whoever sent it, where that is known."""
    return request.model_copy(update={"by": caller.signed(request.by)})
