"""The OpenAPI document, with the plain route that FastAPI does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from tamiyo_leyline import LEYLINE_VERSION
from tamiyo_leyline.api import LEYLINE_HEADER

from tamiyo_service.api import batch, epoch, models, notes, operators, replay, runs, session
from tamiyo_service.api.bodies import input_schemas
from tamiyo_service.auth.access import is_open

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
    session.SIGN_IN,
]
_KEYS: Final[dict[str, Any]] = {
    "key": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "tamiyo",
        "description": "The page's session, from POST /session; with TLS the name is __Host-tamiyo. "
        "What changes anything needs the header Tamiyo-Page besides.",
    },
}


def describe(app: FastAPI, hidden: Callable[[], APIRoute], *, keys_required: bool) -> None:
    """Make ``/openapi.json`` tell of the app's routes and of the one that `hidden` describes.

    Args:
        app: whose document it is.
        hidden: a route that FastAPI does not know.
        keys_required: whether callers need keys.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, hidden())
            if keys_required:
                _ask_for_keys(app.openapi_schema)
        return app.openapi_schema

    # FastAPI's own way to extend the document: https://fastapi.tiangolo.com/how-to/extending-openapi/
    app.openapi = document  # type: ignore[method-assign]  # replaced on the instance, as documented


def _ask_for_keys(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = _KEYS
    document["security"] = [{name: []} for name in _KEYS]
    for path, item in document["paths"].items():
        for operation in item.values():
            if is_open(path):
                operation["security"] = []


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
