"""Runs: begin, list, look at, rewind, complete."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from tamiyo_leyline import CommandOutcome, ProblemCode, RunConfig
from tamiyo_leyline.api import (
    MAX_CLIENT_DECISIONS,
    ClientDecision,
    ClientDecisionsReply,
    CompleteRequest,
    OutcomeReply,
    OutcomeRequest,
    Page,
    RewindReply,
    RewindRequest,
    RunView,
)

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.calling import Calling
from tamiyo_service.api.cursor import decode_cursor, encode_cursor
from tamiyo_service.api.queries import NO_PARAMETERS, RunQuery
from tamiyo_service.api.schemas import CommandIdPath, RunIdPath, problems
from tamiyo_service.api.services import Wired
from tamiyo_service.errors import UnknownCommandError

router = APIRouter(tags=["trainers"])

CONFIG: Final = JsonBody(RunConfig, ProblemCode.INVALID_CONFIG, optional=True)
REWIND: Final = JsonBody(RewindRequest)
COMPLETE: Final = JsonBody(CompleteRequest)
OUTCOME: Final = JsonBody(OutcomeRequest)
CLIENT_DECISIONS: Final = JsonBody(ClientDecision, most=MAX_CLIENT_DECISIONS, strict=True)
ClientDecisionsBody = Annotated[list[ClientDecision], Depends(CLIENT_DECISIONS)]
OutcomeBody = Annotated[OutcomeRequest, Depends(OUTCOME)]
CompleteBody = Annotated[CompleteRequest, Depends(COMPLETE)]
RewindBody = Annotated[RewindRequest, Depends(REWIND)]
ConfigBody = Annotated[RunConfig, Depends(CONFIG)]


@router.put(
    "/runs/{run_id}",
    dependencies=NO_PARAMETERS,
    status_code=201,
    openapi_extra=CONFIG.documented(),
    responses={
        200: {"description": "The run exists with this very configuration.", "model": RunView},
        **problems(
            ProblemCode.RUN_EXISTS,
            ProblemCode.INVALID_CONFIG,
            ProblemCode.UNKNOWN_TOPOLOGY,
            ProblemCode.UNKNOWN_BLUEPRINT,
            ProblemCode.NO_ARTIFACT,
        ),
    },
)
async def create_run(run_id: RunIdPath, config: ConfigBody, services: Wired, response: Response) -> RunView:
    """Create a run. Sending the same configuration again answers 200, another one 409."""
    run, created = await services.lifecycle.create(run_id, config)
    response.status_code = 201 if created else 200
    return await services.history.view(run)


@router.get("/runs", responses=problems(body=False))
async def list_runs(query: Annotated[RunQuery, Query()], services: Wired, calling: Calling) -> Page[RunView]:
    """List runs, the newest first."""
    position = decode_cursor(query.cursor, query)
    found = await services.history.views(query.wanted(position, services.clock, calling), query.limit)
    return Page(items=tuple(found.rows), next_cursor=encode_cursor(found.resume, query))


@router.get(
    "/runs/{run_id}", dependencies=NO_PARAMETERS, responses=problems(ProblemCode.RUN_NOT_FOUND, body=False)
)
async def show_run(run_id: RunIdPath, services: Wired) -> RunView:
    """Show a run as it stands."""
    return await services.history.view(await services.history.run(run_id))


@router.post(
    "/runs/{run_id}/rewind",
    dependencies=NO_PARAMETERS,
    openapi_extra=REWIND.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.ATTEMPT_CONFLICT),
)
async def rewind_run(run_id: RunIdPath, request: RewindBody, services: Wired) -> RewindReply:
    """Go back to a checkpoint: open the next attempt with the state after an earlier epoch.

    Later decisions stay in the history, marked superseded. A completed run is reopened.
    """
    return await services.lifecycle.rewind(run_id, request)


@router.post(
    "/runs/{run_id}/complete",
    dependencies=NO_PARAMETERS,
    openapi_extra=COMPLETE.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED),
)
async def complete_run(run_id: RunIdPath, request: CompleteBody, services: Wired) -> RunView:
    """Close a run; further reports are refused."""
    await services.lifecycle.complete(run_id, request.result)
    return await show_run(run_id, services)


@router.post(
    "/runs/{run_id}/commands/{command_id}/outcome",
    dependencies=NO_PARAMETERS,
    openapi_extra=OUTCOME.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED, ProblemCode.UNKNOWN_COMMAND),
)
async def report_outcome(
    run_id: RunIdPath, command_id: CommandIdPath, request: OutcomeBody, services: Wired
) -> OutcomeReply:
    """Tell what became of a command between two reports; it takes effect with the next one."""
    outcome = CommandOutcome(command_id=command_id, status=request.status, detail=request.detail)
    try:
        return await services.lifecycle.outcome(run_id, outcome)
    except UnknownCommandError as error:
        raise UnknownCommandError(error.message, field="command_id") from error


@router.post(
    "/runs/{run_id}/client-decisions",
    dependencies=NO_PARAMETERS,
    openapi_extra=CLIENT_DECISIONS.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.ATTEMPT_CONFLICT),
)
async def record_client_decisions(
    run_id: RunIdPath, decisions: ClientDecisionsBody, services: Wired
) -> ClientDecisionsReply:
    """Record what the trainer did while it got no answer, up to 1 024 decisions.

    Repeating it changes nothing.
    """
    recorded = await services.lifecycle.client_decisions(run_id, decisions)
    return ClientDecisionsReply(run_id=run_id, recorded=recorded, known=len(decisions) - recorded)
