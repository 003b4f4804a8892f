"""The OpenAPI document, with the plain route that FastAPI does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from tamiyo_leyline import LEYLINE_VERSION
from tamiyo_leyline.api import LEYLINE_HEADER

from tamiyo_service.api import batch, epoch, models, notes, operators, replay, runs
from tamiyo_service.api.bodies import input_schemas

_ABOUT = (
    f"Speaks Leyline {LEYLINE_VERSION}: requests may say so in the header `{LEYLINE_HEADER}`, answers do. "
    "Every refusal is a problem document (RFC 9457) with a stable `code`."
)


_BODIES: Final = [
    epoch.REPORT,
    batch.BATCH,
    models.ACTIVATION,
    operators.HOLD,
    operators.OVERRIDE,
    operators.POLICY,
    notes.NOTE,
    notes.LABELS,
    replay.REPLAY,
    runs.CONFIG,
    runs.REWIND,
    runs.COMPLETE,
    runs.OUTCOME,
    runs.CLIENT_DECISIONS,
]


def describe(app: FastAPI, hidden: Callable[[], APIRoute]) -> None:
    """Make ``/openapi.json`` tell of the app's routes and of the one that `hidden` describes."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, hidden())
        return app.openapi_schema

    # FastAPI's own way to extend the document: https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = document  # type: ignore[method-assign]  # replaced on the instance, as documented


def _document(app: FastAPI, hidden: APIRoute) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.description,
        description=_ABOUT,
        routes=[hidden, *app.routes],
    )
    document["components"]["schemas"] |= input_schemas(_BODIES)
    return document
