"""What operators do to runs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.api import HoldRequest, OverrideRequest, PolicyRequest, RunView

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.calling import Calling
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Services, Wired

router = APIRouter(tags=["operators"])

HOLD: Final = JsonBody(HoldRequest)
HoldBody = Annotated[HoldRequest, Depends(HOLD)]
OVERRIDE: Final = JsonBody(OverrideRequest)
OverrideBody = Annotated[OverrideRequest, Depends(OVERRIDE)]
POLICY: Final = JsonBody(PolicyRequest)
PolicyBody = Annotated[PolicyRequest, Depends(POLICY)]


@router.put(
    "/runs/{run_id}/hold",
    dependencies=NO_PARAMETERS,
    openapi_extra=HOLD.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED),
)
async def hold_run(run_id: RunIdPath, request: HoldBody, services: Wired, calling: Calling) -> RunView:
    """Let a run only wait until it is released."""
    await services.steering.hold(run_id, request.reason, calling.signed(request.by))
    return await _view(run_id, services)


@router.delete(
    "/runs/{run_id}/hold",
    dependencies=NO_PARAMETERS,
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED, body=False),
)
async def release_run(run_id: RunIdPath, services: Wired, calling: Calling) -> RunView:
    """Release a run from its hold."""
    await services.steering.release(run_id, calling.signed(None))
    return await _view(run_id, services)


@router.post(
    "/runs/{run_id}/override",
    dependencies=NO_PARAMETERS,
    openapi_extra=OVERRIDE.documented(),
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED),
)
async def override_run(
    run_id: RunIdPath, request: OverrideBody, services: Wired, calling: Calling
) -> RunView:
    """Have the next report answered with this command, if it is legal then, whatever the policy decides."""
    await services.steering.override(run_id, request, calling.signed(request.by))
    return await _view(run_id, services)


@router.delete(
    "/runs/{run_id}/override",
    dependencies=NO_PARAMETERS,
    responses=problems(ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_COMPLETED, body=False),
)
async def withdraw_override(run_id: RunIdPath, services: Wired, calling: Calling) -> RunView:
    """Take back an override that no report has taken yet."""
    await services.steering.withdraw(run_id, calling.signed(None))
    return await _view(run_id, services)


@router.post(
    "/runs/{run_id}/policy",
    dependencies=NO_PARAMETERS,
    openapi_extra=POLICY.documented(),
    responses=problems(
        ProblemCode.RUN_NOT_FOUND,
        ProblemCode.RUN_COMPLETED,
        ProblemCode.MODEL_REJECTED,
        ProblemCode.INVALID_CONFIG,
        ProblemCode.NO_ARTIFACT,
    ),
)
async def give_policy(run_id: RunIdPath, request: PolicyBody, services: Wired, calling: Calling) -> RunView:
    """Let another policy decide about a run, from its next report on."""
    await services.steering.give_policy(run_id, request, calling.signed(request.by))
    return await _view(run_id, services)


@router.delete(
    "/runs/{run_id}",
    dependencies=NO_PARAMETERS,
    status_code=204,
    responses=problems(ProblemCode.RUN_NOT_FOUND, body=False),
)
async def delete_run(run_id: RunIdPath, services: Wired) -> None:
    """Remove a run with its history."""
    await services.lifecycle.delete(run_id)


async def _view(run_id: str, services: Services) -> RunView:
    return await services.history.view(await services.history.run(run_id))
