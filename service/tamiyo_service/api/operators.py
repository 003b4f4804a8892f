"""What operators do to runs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.api import HoldRequest, RunView

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Wired

router = APIRouter(tags=["operators"])

HOLD: Final = JsonBody(HoldRequest)
HoldBody = Annotated[HoldRequest, Depends(HOLD)]


@router.put(
    "/runs/{run_id}/hold",
    dependencies=NO_PARAMETERS,
    openapi_extra=HOLD.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED),
)
async def hold_run(run_id: RunIdPath, request: HoldBody, services: Wired) -> RunView:
    """Let a run only wait until it is released."""
    await services.lifecycle.hold(run_id, request.reason)
    return await services.history.view(await services.history.run(run_id))


@router.delete(
    "/runs/{run_id}/hold",
    dependencies=NO_PARAMETERS,
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED, body=False),
)
async def release_run(run_id: RunIdPath, services: Wired) -> RunView:
    """Release a run from its hold."""
    await services.lifecycle.release(run_id)
    return await services.history.view(await services.history.run(run_id))


@router.delete(
    "/runs/{run_id}",
    dependencies=NO_PARAMETERS,
    status_code=204,
    responses=problems(ProblemCode.RUN_NOT_FOUND, body=False),
)
async def delete_run(run_id: RunIdPath, services: Wired) -> None:
    """Remove a run with its history."""
    await services.lifecycle.delete(run_id)
