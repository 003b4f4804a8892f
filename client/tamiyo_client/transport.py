"""What the two transports share: requests and responses in httpx's terms, and its errors in ours."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

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
MAX_STUCK: Final = 4
"""Calls abandoned but not ended (a name server that never answers) before no further one is begun."""
CONNECT_SHARE: Final = 0.5
"""Share of the time left that one address of the service may take to accept a connection: time remains for
the next address."""
_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=60.0)


def client_options(endpoint: Endpoint) -> dict[str, Any]:
    """Keyword arguments of an `httpx.Client` or `httpx.AsyncClient` for this endpoint.

    Proxy and certificates are settled once: loading certificates takes longer than many a call has time.

    Raises:
        UsageError: if the environment (or what takes its place) names a proxy or certificates that cannot be
            used.
    """
    network = endpoint.network
    try:
        proxy = proxy_of(endpoint.base_url) if network.trust_env and not endpoint.is_loopback else None
        verify = _certificates(endpoint, proxy)
        options: dict[str, Any] = {
            "verify": verify,
            "proxy": None if proxy is None else _proxy(proxy, verify),
            "trust_env": False,
            "limits": _LIMITS,
            "follow_redirects": False,
        }
        httpx.Client(**options).close()  # a proxy of a kind that is not installed is told here
    except Exception as error:
        raise UsageError(
            f"no connection can be set up as the environment says: {_told(error)}; look at HTTP_PROXY, "
            f"HTTPS_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR, or pass "
            f"network=NetworkSettings(trust_env=False)"
        ) from error
    return options


def proxy_of(base_url: str) -> str | None:
    """The proxy that the environment names for this address; None: it is reached directly.

    ``NO_PROXY`` holds names, of a domain too, addresses, and networks such as ``10.0.0.0/8``.
    """
    parts = urlsplit(base_url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc) or _is_within(parts.hostname or "", proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_within(host: str, networks: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in map(_network, networks.split(",")) if network is not None)


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text.strip().strip("[]"), strict=False)
    except ValueError:
        return None


def _certificates(endpoint: Endpoint, proxy: str | None) -> ssl.SSLContext | bool:
    network = endpoint.network
    if network.verify is not True:
        return network.verify
    if not _is_https(endpoint.base_url) and not (proxy and _is_https(proxy)):
        return False  # nothing to check, and nothing to load
    return httpx.create_ssl_context(trust_env=network.trust_env)


def _proxy(address: str, verify: ssl.SSLContext | bool) -> httpx.Proxy:
    # Without a context of ours httpx would load the certificates for it anew.
    own = verify if _is_https(address) and isinstance(verify, ssl.SSLContext) else None
    return httpx.Proxy(address, ssl_context=own)


def _is_https(address: str) -> bool:
    return address.lower().startswith("https:")


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
    extensions: dict[str, Any] = {
        "timeout": httpx.Timeout(timeout_s, connect=timeout_s * CONNECT_SHARE).as_dict()
    }
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


def require_small(size: int, request: Request) -> None:
    """Let a body of `size` bytes so far pass, or not.

    Raises:
        ProtocolError: if it is larger than any answer of the service to this request.
    """
    if size > request.max_answer_bytes:
        raise ProtocolError(f"the answer is larger than {request.max_answer_bytes} bytes")


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
    if isinstance(error, httpx.ConnectTimeout):
        return ServiceUnreachableError("no connection could be made in time")
    if isinstance(error, httpx.TimeoutException):
        return DeadlineExceededError(f"no complete answer in time ({type(error).__name__})")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return UsageError(f"the address cannot be used: {error}")
    return ServiceUnreachableError(_told(error))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
