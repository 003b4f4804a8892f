"""What Prometheus scrapes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder

from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import problems
from tamiyo_service.api.services import Services, Wired
from tamiyo_service.errors import UnavailableError
from tamiyo_service.observability.collector import Scrape

router = APIRouter(tags=["health"])

_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Samples in Prometheus' text format, or in OpenMetrics where that is accepted.",
        "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/metrics",
    dependencies=NO_PARAMETERS,
    responses=_CONTENT | problems(body=False),
    response_class=Response,
)
async def metrics(services: Wired, accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
    """Tell what this process has counted since it started, and how things stand."""
    scrape = Scrape(services.observed, ready=await _ready(services), silent=await services.silence.counts())
    encode, content_type = choose_encoder(accept)
    return Response(encode(scrape), media_type=content_type)


async def _ready(services: Services) -> bool:
    try:
        await services.require_ready()
    except UnavailableError:
        return False
    return True
