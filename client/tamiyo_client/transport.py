"""What the two transports share: requests and responses in httpx's terms, and its errors in ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx

from tamiyo_client.errors import (
    DeadlineExceededError,
    ProtocolError,
    ServiceUnreachableError,
    TamiyoError,
    UsageError,
)
from tamiyo_client.settings import Endpoint
from tamiyo_client.wire import Request, Response

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
"""No answer of the service comes near this; what does is not read into the trainer's memory."""
MAX_STUCK: Final = 4
"""Calls abandoned but not ended (a name server that never answers) before no further one is begun."""
_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=60.0)


def client_options(endpoint: Endpoint) -> dict[str, Any]:
    """Keyword arguments of an `httpx.Client` or `httpx.AsyncClient` for this endpoint."""
    trust_env = endpoint.network.trust_env and not endpoint.is_loopback
    # Loading the certificates takes longer than a whole call; plain http needs none, but for a proxy.
    needs_tls = trust_env or endpoint.base_url.startswith("https:")
    return {
        "headers": dict(endpoint.headers),
        "verify": endpoint.network.verify if needs_tls else False,
        "trust_env": trust_env,
        "limits": _LIMITS,
        "follow_redirects": False,
    }


def outgoing(endpoint: Endpoint, request: Request) -> dict[str, Any]:
    """Keyword arguments of ``build_request`` for this request."""
    headers = {"content-type": "application/json"} if request.body is not None else None
    return {
        "method": request.method,
        "url": endpoint.base_url + request.path,
        "content": request.body,
        "headers": headers,
    }


def incoming(response: httpx.Response, body: bytes) -> Response:
    """The complete response."""
    return Response(response.status_code, _plain(response.headers), body)


def require_small(size: int) -> None:
    """Let a body of `size` bytes so far pass, or not.

    Raises:
        ProtocolError: if it is larger than any answer of the service.
    """
    if size > MAX_REPLY_BYTES:
        raise ProtocolError(f"the answer is larger than {MAX_REPLY_BYTES} bytes")


def too_late(timeout_s: float) -> DeadlineExceededError:
    """The error for a request without a complete answer after `timeout_s` seconds."""
    return DeadlineExceededError(f"no complete answer within the {timeout_s:.3g} s that were left")


def too_many_stuck() -> ServiceUnreachableError:
    """The error for a request that is not begun because too many hang."""
    return ServiceUnreachableError(f"{MAX_STUCK} earlier calls still hang, so no further one is begun")


def translated(error: Exception) -> TamiyoError:
    """The client's error for whatever came out of httpx or the operating system."""
    if isinstance(error, TamiyoError):
        return error
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceededError(f"no complete answer in time ({type(error).__name__})")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return UsageError(f"the address cannot be used: {error}")
    return ServiceUnreachableError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _plain(headers: httpx.Headers) -> Mapping[str, str]:
    return dict(headers.items())
