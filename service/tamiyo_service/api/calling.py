"""How routes get to know who calls, and how it is made sure that they may."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from tamiyo_service.api.schemas import is_run_id
from tamiyo_service.auth.access import access_to, require_run, require_scope
from tamiyo_service.auth.audit import AUDITED
from tamiyo_service.auth.caller import ADMISSION, Caller, caller_of
from tamiyo_service.errors import ForbiddenError


async def _calling(request: Request) -> Caller:
    return caller_of(request.scope)


Calling = Annotated[Caller, Depends(_calling)]
"""A route's parameter: who calls. Where a name is recorded, record ``calling.signed(told)``."""


async def authorize(request: Request) -> None:
    """Return if the caller may call this route about this run; a dependency of every route.

    Raises:
        ForbiddenError: if the key is not for it, or the route is in no table.
        RunNotFoundError: if the run is another's.
    """
    path: str = request.scope["route"].path
    access = access_to(request.method, path)
    if access is None:
        raise ForbiddenError(f"nobody may call {path}: it is not said who may")
    if access.audited:
        request.scope[AUDITED] = access.audited
    if request.app.state.services.guard.is_open(path):
        return
    caller = caller_of(request.scope)
    require_scope(caller, access)
    run_id = request.path_params.get("run_id")
    # What is no run id at all is told so to everybody.
    if run_id is not None and is_run_id(run_id):
        require_run(caller, access, run_id)


def digest_of_caller(request: Request) -> str:
    """The hash of the key, or session, that a request came with."""
    digest: str = request.scope[ADMISSION].digest
    return digest
