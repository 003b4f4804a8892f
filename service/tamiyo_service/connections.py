"""What one connection may ask of the server before its request reaches the application.

uvicorn bounds neither how many connections there are, nor how long a request's head may be or take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import uvicorn
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.problem import PROBLEM_MEDIA_TYPE, RETRYABLE, Problem
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tamiyo_service.api.errors import RETRY_AFTER_SECONDS, problem

MAX_HEAD_BYTES: Final = 64 * 1024
"""Request line and headers; a little more passes where it arrives at one go."""


class BoundedConfig(uvicorn.Config):
    """How uvicorn serves, with bounds on connections.

    Args:
        app: an ASGI application, or where it is made.
        connections: how many may be open at the same time; one more is told so and closed.
        head_seconds: how long the head of a request may take, counted from the connection's opening for the
            first one and from its first byte for every other.
        options: of uvicorn.
    """

    def __init__(self, app: Any, *, connections: int, head_seconds: float, **options: Any) -> None:
        super().__init__(app, http=BoundedProtocol, **options)
        self.connections: Final = connections
        self.head_seconds: Final = head_seconds


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection, within the bounds of its `BoundedConfig`."""

    config: BoundedConfig

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take a connection, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self.config.connections:
            message = f"{self.config.connections} connections are open; connect again later"
            self._refuse(b"503 Service Unavailable", problem(ProblemCode.OVERLOADED, message))
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        super().data_received(data)
        scope: Mapping[str, Any] | None = self.scope
        if scope and "path" in scope:
            if self._head_timer is not None:
                self._end_head()
        elif not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
            if self._head_bytes > MAX_HEAD_BYTES:
                message = f"the head of the request exceeds {MAX_HEAD_BYTES // 1024} KiB; send fewer headers"
                self._refuse(b"413 Content Too Large", problem(ProblemCode.PAYLOAD_TOO_LARGE, message))

    def _await_head(self) -> None:
        # What uvicorn does to a connection that was idle for too long.
        self._head_timer = self.loop.call_later(self.config.head_seconds, self.timeout_keep_alive_handler)

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes, document: Problem) -> None:
        body = document.model_dump_json(exclude_none=True).encode()
        headers = [b"content-type: " + PROBLEM_MEDIA_TYPE.encode(), b"content-length: %d" % len(body)]
        if document.code in RETRYABLE:
            headers.append(b"retry-after: %d" % RETRY_AFTER_SECONDS)
        head = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"connection: close"])
        self.transport.write(head + b"\r\n\r\n" + body)
        self.transport.close()
