"""What the two transports share: requests and responses in httpx's terms, and its errors in ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

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

Trace: TypeAlias = Callable[[str, Mapping[str, Any]], None]
"""Called with the name of an event of the connection and what it is about."""
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
        "verify": endpoint.network.verify if needs_tls else False,
        "trust_env": trust_env,
        "limits": _LIMITS,
        "follow_redirects": False,
    }


def outgoing(
    endpoint: Endpoint, request: Request, timeout_s: float, trace: Trace | None = None
) -> httpx.Request:
    """The request in httpx's terms.

    Built here rather than by the httpx client, which merges headers and parses the address anew each time.

    Args:
        endpoint: where the service is.
        request: what to send.
        timeout_s: bounds each wait for the connection, seconds.
        trace: told of everything that happens to the connection.
    """
    headers = endpoint.headers
    if request.body is not None:
        headers = {**headers, "content-type": "application/json"}
    if request.headers is not None:
        headers = {**headers, **request.headers}
    extensions: dict[str, Any] = {"timeout": httpx.Timeout(timeout_s).as_dict()}
    if trace is not None:
        extensions["trace"] = trace
    url = _url(endpoint.base_url + request.path)
    return httpx.Request(request.method, url, headers=headers, content=request.body, extensions=extensions)


@lru_cache(maxsize=256)
def _url(address: str) -> httpx.URL:
    return httpx.URL(address)


def incoming(response: httpx.Response, body: bytes) -> Response:
    """The complete response."""
    # Header names and values are Latin-1 at worst (RFC 9110); httpx would guess at their encoding.
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers.raw
    }
    return Response(response.status_code, headers, body)


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
