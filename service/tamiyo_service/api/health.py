"""Liveness and readiness."""

from __future__ import annotations

from fastapi import APIRouter
from tamiyo_leyline import LEYLINE_VERSION, __version__
from tamiyo_leyline.api import Health

from tamiyo_service.api.schemas import problems
from tamiyo_service.api.services import Wired

router = APIRouter(tags=["health"])


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", responses=problems(body=False))
async def healthz() -> Health:
    """Tell that the process lives."""
    return Health(status="ok", version=__version__, leyline=LEYLINE_VERSION)


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=problems(body=False))
async def readyz(services: Wired) -> Health:
    """Tell whether decisions can be made and stored now; 503 when they cannot."""
    await services.readiness.require()
    return Health(status="ok", version=__version__, leyline=LEYLINE_VERSION)
