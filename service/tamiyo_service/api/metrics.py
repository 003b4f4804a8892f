"""What Prometheus scrapes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder

from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import problems
from tamiyo_service.api.services import Wired
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
    ready = await services.readiness.told_briefly()
    silent = await services.silence.counts() if ready else services.silence.last_counts
    encode, content_type = choose_encoder(accept)
    return Response(encode(Scrape(services.observed, ready=ready, silent=silent)), media_type=content_type)
