"""The OpenAPI document as a page to read: no script, nothing from elsewhere, nothing that could be tricked.

FastAPI's own page loads scripts from a host of others, which would run with the rights of who is signed in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from typing import Any, Final

import orjson
from fastapi import APIRouter, Response

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    ":root{color-scheme:light dark}"
    "h2{margin-top:2.5rem}h3{margin-bottom:0}code{font-family:ui-monospace,monospace}"
    "table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def reference_router(openapi: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes of the document, as it is and as a page. Everybody may ask for them: each is written once.

    Args:
        openapi: gives the document; called when it is first asked for.
    """
    router = APIRouter(include_in_schema=False)
    document = cache(lambda: orjson.dumps(openapi()))
    page = cache(lambda: reference(openapi()).encode())

    @router.head("/openapi.json")
    @router.get("/openapi.json")
    async def show_document() -> Response:
        """The OpenAPI document."""
        return Response(document(), media_type="application/json")

    @router.get("/docs")
    async def show_reference() -> Response:
        """Every operation: what it does, takes and answers."""
        return Response(page(), headers=_HEADERS, media_type="text/html; charset=utf-8")

    return router


def reference(document: dict[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    about = document["info"]
    title = escape(f"{about['title']} {about['version']}")
    return "".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1><p>{_prose(about['description'])}</p>"
            '<p>The contract: <a href="/openapi.json">/openapi.json</a>.</p><h2>Operations</h2>',
            *_operations(document["paths"]),
            "<h2>Schemas</h2>",
            *_schemas(document["components"]["schemas"]),
            "</body></html>",
        )
    )


def _operations(paths: dict[str, Any]) -> Iterator[str]:
    for path, item in paths.items():
        for method, operation in item.items():
            yield f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
            yield f"<p>{_prose(operation.get('description', ''))}</p><table>"
            for parameter in operation.get("parameters", ()):
                yield _row(parameter["name"], parameter["in"], parameter.get("description", ""))
            body = operation.get("requestBody", {}).get("content", {})
            yield from (_row("body", media, _shape(content)) for media, content in body.items())
            for status, response in operation["responses"].items():
                shapes = ", ".join(filter(None, map(_shape, response.get("content", {}).values())))
                yield _row(status, shapes, response.get("description", ""))
            yield "</table>"


def _schemas(schemas: dict[str, Any]) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>'
        yield f"<p>{_prose(schema.get('description', ''))}</p><table>"
        required = schema.get("required", ())
        for field, kind in schema.get("properties", {}).items():
            yield _row(field, "required" if field in required else "", kind.get("description", ""))
        yield "</table>"


def _row(*cells: str) -> str:
    name, *others = cells
    told = "".join(f"<td>{_prose(cell)}</td>" for cell in others)
    return f"<tr><th><code>{escape(name)}</code></th>{told}</tr>"


def _shape(content: dict[str, Any]) -> str:
    """Names of the schemas that a body may have."""
    schema = content.get("schema", {})
    schema = schema.get("items", schema)
    references = [part.get("$ref", "") for part in (schema, *schema.get("anyOf", ()))]
    return ", ".join(reference.rpartition("/")[2] for reference in references if reference)


def _prose(text: str) -> str:
    return escape(text).replace("\n\n", "</p><p>")
