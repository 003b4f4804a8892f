"""Models and policies: which there are, which are active, how one is activated."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi import Path as PathParameter
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.api import Page

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.model_schemas import ActivationRequest, ActivationView, ModelView, PolicyView
from tamiyo_service.api.model_views import activation_view, model_views, policy_views
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import problems
from tamiyo_service.api.services import Wired

router = APIRouter(tags=["models"])

ACTIVATION: Final = JsonBody(ActivationRequest)
ActivationBody = Annotated[ActivationRequest, Depends(ACTIVATION)]
NamePath = Annotated[str, PathParameter(description="Name of the model.")]
VersionPath = Annotated[str, PathParameter(description="Its version.")]


@router.get("/models", dependencies=NO_PARAMETERS, responses=problems(body=False))
async def list_models(services: Wired) -> Page[ModelView]:
    """List all models: those that can be used, and those that are refused, with the reason."""
    found = await services.registry.look()
    active = await services.activations.active_by_topology()
    history = await services.activations.history()
    return Page(items=tuple(model_views(found, services.registry, active, history)), next_cursor=None)


@router.get("/policies", dependencies=NO_PARAMETERS, responses=problems(body=False))
async def list_policies(services: Wired) -> Page[PolicyView]:
    """List the policies a run may choose, and their versions."""
    await services.registry.look()
    active = await services.activations.active_by_topology()
    items = policy_views(services.registry, active, services.default_policy)
    return Page(items=tuple(items), next_cursor=None)


@router.post(
    "/models/{name}/{version}/activate",
    dependencies=NO_PARAMETERS,
    openapi_extra=ACTIVATION.documented(),
    responses=problems(ProblemCode.MODEL_NOT_FOUND, ProblemCode.MODEL_REJECTED),
)
async def activate_model(
    name: NamePath, version: VersionPath, request: ActivationBody, services: Wired
) -> ActivationView:
    """Have new runs of a model's topology use this version, once it is loaded and verified.

    Runs that have begun keep the version they began with. Rolling back is activating the one before.
    """
    return activation_view(await services.activations.activate(name, version, request.reason))
