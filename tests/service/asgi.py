"""Posts straight to the application, for tests that post by the thousand."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


async def post(app: ASGIApp, path: str, content: Any) -> Answer:
    """POST `content` as JSON."""
    body = json.dumps(content).encode()
    received: list[Message] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": path.partition("?")[0],
        "root_path": "",
        "query_string": path.partition("?")[2].encode(),
        "headers": [(b"content-length", str(len(body)).encode())],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        received.append(message)

    await app(scope, receive, send)
    start, *parts = received
    content_parts = (part.get("body", b"") for part in parts)
    return Answer(start["status"], dict(start["headers"]), b"".join(content_parts))
