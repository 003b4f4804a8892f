"""What one connection may ask of the server before its request reaches the application.

uvicorn bounds neither how many connections there are, nor how long a request's head may be or take, and lets
requests through that HTTP forbids or that a page of another site had a browser send.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import uvicorn
from tamiyo_leyline import LEYLINE_VERSION, ProblemCode
from tamiyo_leyline.api import LEYLINE_HEADER
from tamiyo_leyline.problem import PROBLEM_MEDIA_TYPE, RETRYABLE, Problem
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tamiyo_service.api.errors import RETRY_AFTER_SECONDS, problem

MAX_HEAD_BYTES: Final = 64 * 1024
"""Request line and headers."""
MAX_ADDRESS_BYTES: Final = 8 * 1024
"""Path and query, as much as proxies let through by default."""
MAX_HEADERS: Final = 100
_LAST_SECONDS: Final = 0.1
"""How long an idle connection stays when the server stops: a request may be on its way."""
_CONTENT_TYPE: Final = f"content-type: {PROBLEM_MEDIA_TYPE}".encode()
_LEYLINE: Final = f"{LEYLINE_HEADER.lower()}: {LEYLINE_VERSION}".encode()
_PER_HEADER: Final = len(": \r\n")
_LOCAL_NAMES: Final = ("localhost", ".localhost")


class BoundedConfig(uvicorn.Config):
    """How uvicorn serves, with bounds on connections.

    Args:
        app: an ASGI application, or where it is made.
        connections: how many may be open at the same time; one more is told so and closed.
        head_seconds: how long the head of a request may take, counted from the connection's opening for the
            first one and from its first byte for every other.
        local_names: whether only ``localhost`` and addresses are taken for the service's name. A page whose
            author has let its own name stand for 127.0.0.1 counts as ours to a browser; its name tells it.
        options: of uvicorn.
    """

    def __init__(
        self, app: Any, *, connections: int, head_seconds: float, local_names: bool = False, **options: Any
    ) -> None:
        super().__init__(app, **({"http": BoundedProtocol} | options))
        self.connections: Final = connections
        self.head_seconds: Final = head_seconds
        self.local_names: Final = local_names


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 on one connection, within the bounds of its `BoundedConfig`."""

    config: BoundedConfig

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._fault: Problem | None = None
        self._last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take a connection, or refuse it."""
        super().connection_made(transport)
        if len(self.connections) > self.config.connections:
            message = f"{self.config.connections} connections are open; connect again later"
            self._refuse(problem(ProblemCode.OVERLOADED, message))
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
                self._refuse(_too_large(MAX_HEAD_BYTES))

    def on_headers_complete(self) -> None:
        """Begin to answer a request, if its head is one."""
        self._fault = _fault_of(self.url, self.headers, self.parser.get_http_version())
        if self._fault is None and self.parser.should_upgrade():
            self._fault = _body_beyond_upgrade(self.headers)
        if self._fault is None and self.config.local_names:
            self._fault = _foreign_name(self.headers)
        if self._fault is not None:
            # Ends the parsing; `send_400_response` is called for it.
            raise ValueError(self._fault.detail)
        super().on_headers_complete()
        if self._last:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self._refuse(self._fault or _malformed("this is no HTTP request"))

    def shutdown(self) -> None:
        """End the connection with the answers under way; an idle one after a moment."""
        if self._last or (self.cycle is not None and not self.cycle.response_complete):
            super().shutdown()
        else:
            self._last = True
            self.loop.call_later(_LAST_SECONDS, self.shutdown)

    def _await_head(self) -> None:
        # What uvicorn does to a connection that was idle for too long.
        self._head_timer = self.loop.call_later(self.config.head_seconds, self.timeout_keep_alive_handler)

    def _end_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, document: Problem) -> None:
        body = document.model_dump_json(exclude_none=True).encode()
        status = f"HTTP/1.1 {document.status} {HTTPStatus(document.status).phrase}".encode()
        headers = [_CONTENT_TYPE, _LEYLINE, b"content-length: %d" % len(body)]
        if document.code in RETRYABLE:
            headers.append(b"retry-after: %d" % RETRY_AFTER_SECONDS)
        self.transport.write(b"\r\n".join([status, *headers, b"connection: close"]) + b"\r\n\r\n" + body)
        self.transport.close()


def _fault_of(url: bytes, headers: list[tuple[bytes, bytes]], version: str) -> Problem | None:
    """Why the head of a request is refused; None: it is not."""
    if len(url) > MAX_ADDRESS_BYTES:
        message = (
            f"the address of the request exceeds {MAX_ADDRESS_BYTES // 1024} KiB; ask for less at a time"
        )
        return problem(ProblemCode.PAYLOAD_TOO_LARGE, message)
    if len(headers) > MAX_HEADERS:
        message = f"the request has more than {MAX_HEADERS} headers; send fewer"
        return problem(ProblemCode.PAYLOAD_TOO_LARGE, message)
    size, hosts = len(url), 0
    for name, value in headers:
        size += len(name) + len(value) + _PER_HEADER
        hosts += name == b"host"
    if size > MAX_HEAD_BYTES:
        return _too_large(MAX_HEAD_BYTES)
    # RFC 9112, 3.2.
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        return _malformed("a request names its host once, in the header Host")
    return None


def _body_beyond_upgrade(headers: list[tuple[bytes, bytes]]) -> Problem | None:
    """Why a request that asks for another protocol is refused; None: it is answered in HTTP/1.1.

    The parser takes a body for bytes of that protocol, and what comes later for another request.
    """
    if any(name in (b"content-length", b"transfer-encoding") for name, _ in headers):
        return _malformed("the service speaks HTTP/1.1 alone; send a body without the header Upgrade")
    return None


def _foreign_name(headers: list[tuple[bytes, bytes]]) -> Problem | None:
    """Why the name that a request knows the service by is refused; None: it is not."""
    host = next((value for name, value in headers if name == b"host"), b"")
    if _is_local(host):
        return None
    named = ascii(host.decode("latin-1"))[1:-1]
    message = (
        f"{named} is no name of a service that only this machine can reach: call it localhost or"
        " 127.0.0.1, or set TAMIYO_AUTH if something in front of it lets others through"
    )
    return problem(ProblemCode.FORBIDDEN, message)


def is_local_name(host: str) -> bool:
    """Whether a Host header is an address, or a name that stands for this machine everywhere (RFC 6761)."""
    name = host.lower()
    if name.endswith("]"):
        name = name.strip("[]")
    elif name.rpartition(":")[2].isdecimal():
        name = name.rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == _LOCAL_NAMES[0] or name.endswith(_LOCAL_NAMES[1])
    return True


def _too_large(limit: int) -> Problem:
    message = f"the head of the request exceeds {limit // 1024} KiB; send fewer headers"
    return problem(ProblemCode.PAYLOAD_TOO_LARGE, message)


def _malformed(message: str) -> Problem:
    document = problem(ProblemCode.INVALID_REQUEST, message)
    return document.model_copy(update={"status": HTTPStatus.BAD_REQUEST.value})


@lru_cache(maxsize=64)
def _is_local(host: bytes) -> bool:
    return not host or is_local_name(host.decode("latin-1"))
