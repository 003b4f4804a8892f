"""How a client behaves, as small frozen values checked when they are made."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tamiyo_leyline import LEYLINE_VERSION, __version__
from tamiyo_leyline.api import LEYLINE_HEADER

if TYPE_CHECKING:
    import ssl

from tamiyo_client.errors import UsageError

API_KEY_VARIABLE: Final = "TAMIYO_API_KEY"
"""The environment variable that a key is taken from where none is given."""


def _system_random() -> Callable[[], float]:
    # Like httpx, it is needed by who makes a client, not by who imports one.
    from random import random

    return random


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """When a request that may be repeated is repeated: full jitter, exponential, within the deadline.

    The pause before try n + 1 is drawn uniformly from 0 … min(longest, first · 2ⁿ⁻¹) seconds
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/), cut to the time left; a
    ``Retry-After`` is waited for in full before that. There is no limit to the number of tries but the
    deadline: a service that restarts within it is met again.

    Attributes:
        first_backoff_s: upper end of the first pause, seconds; greater than 0.
        longest_backoff_s: upper end of every pause, seconds.
        random: source of uniform numbers in [0, 1).
    """

    first_backoff_s: float = 0.05
    longest_backoff_s: float = 0.5
    random: Callable[[], float] = field(default_factory=_system_random, repr=False)

    def __post_init__(self) -> None:
        if not 0.0 < self.first_backoff_s <= self.longest_backoff_s < math.inf:
            raise UsageError("retry: 0 < first_backoff_s <= longest_backoff_s must hold")


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How connections are made.

    Attributes:
        trust_env: whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are honoured, as every other HTTP
            client on the machine honours them. A loopback address is always reached directly.
        verify: for https: True checks certificates against certifi's list; an `ssl.SSLContext` brings your
            own authority or client certificate.
    """

    trust_env: bool = True
    verify: ssl.SSLContext | bool = True


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is and what every request carries; secrets stay out of its repr."""

    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    network: NetworkSettings = NetworkSettings()

    @property
    def is_loopback(self) -> bool:
        """Whether the service is on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False


def endpoint(
    base_url: str,
    *,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    network: NetworkSettings | None = None,
) -> Endpoint:
    """The endpoint for these settings.

    Args:
        base_url: such as ``http://tamiyo:8000``; a path is kept as a prefix.
        api_key: sent as ``Authorization: Bearer …``; None: as ``TAMIYO_API_KEY`` says, if it is set.
        headers: further headers of every request.
        network: proxies and certificates.

    Raises:
        UsageError: if the address is no http(s) address or carries credentials, or a header cannot be sent.
    """
    common = {
        "accept": "application/json",
        # A compressed answer could grow without bound while it is unpacked.
        "accept-encoding": "identity",
        "user-agent": f"tamiyo-client/{__version__}",
        LEYLINE_HEADER.lower(): LEYLINE_VERSION,
    }
    own = {name.lower(): value for name, value in (headers or {}).items()}
    if api_key is None and "authorization" not in own:
        api_key = os.environ.get(API_KEY_VARIABLE, "").strip() or None
    if api_key == "":
        raise UsageError(f"api_key must not be empty; leave it out to send none, or {API_KEY_VARIABLE}'s")
    if api_key is not None:
        own["authorization"] = f"Bearer {api_key}"
    _require_sendable(own)
    return Endpoint(_address(base_url), common | own, network or NetworkSettings())


def _address(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise UsageError("base_url must be an address such as http://tamiyo:8000")
    if "@" in parts.netloc:
        raise UsageError("base_url must not carry credentials; pass api_key= or headers=")
    return base_url.rstrip("/")


def _require_sendable(headers: Mapping[str, str]) -> None:
    # The value is a secret: the message names the header alone.
    for name, value in headers.items():
        if not (name + value).isascii() or not (name + value).isprintable() or value != value.strip():
            raise UsageError(f"header {name!r} must be printable ASCII without spaces at its ends")


def require_deadline(seconds: float) -> float:
    """`seconds`, if a call can be held to it.

    Raises:
        UsageError: if it is not a finite number greater than 0.
    """
    if not 0.0 < seconds < math.inf:
        raise UsageError(f"deadline must be a finite number of seconds greater than 0, got {seconds}")
    return float(seconds)
