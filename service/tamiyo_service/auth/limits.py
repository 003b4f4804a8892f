"""Rate limits: a token bucket for each name, in the memory of this process.

Each bucket is one number, the moment at which it will be full again: the "generic cell rate algorithm" of
ITU-T I.371 (virtual scheduling), equivalent to a bucket that gains `rate` tokens a second up to `burst`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from tamiyo_service.errors import RateLimitedError

_MOST_NAMES: Final = 100_000
_BURST_SECONDS: Final = 10.0
_RATE: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(?:/(\d{1,7}))?", re.ASCII)


class Rate(NamedTuple):
    """How often something may happen."""

    per_second: float
    burst: int
    """How often at once, after a while without."""


def parse_rate(text: str) -> Rate:
    """The rate that a text such as ``50`` or ``50/500`` stands for: requests a second, and at once.

    Raises:
        ValueError: if it is none.
    """
    found = _RATE.fullmatch(text)
    if found is None or float(found[1]) <= 0.0:
        raise ValueError(
            f"{text!a} is no rate; write requests a second, such as 50, or 50/500 with the burst"
        )
    per_second = float(found[1])
    burst = max(1, round(per_second * _BURST_SECONDS)) if found[2] is None else int(found[2])
    if burst < 1:
        raise ValueError("the burst must be at least 1")
    return Rate(per_second, burst)


class Limiter:
    """Holds each name to a rate.

    Args:
        rate: how often.
        what: is limited, for the refusal.
        monotonic: seconds of a clock that is never set.
    """

    def __init__(self, rate: Rate, what: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1.0 / rate.per_second
        self._capacity = rate.burst * self._interval
        self._refusal = f"{what} may send {rate.per_second:g} requests a second, {rate.burst} at once"
        self._monotonic = monotonic
        self._full_at: dict[str, float] = {}

    def take(self, name: str) -> None:
        """Count one request.

        Raises:
            RateLimitedError: if it is one too many; it does not count.
        """
        now = self._monotonic()
        full_at = max(self._full_at.get(name, now), now) + self._interval
        late = full_at - now - self._capacity
        # A trifle of rounding is no request too many.
        if late > 1e-9:
            raise RateLimitedError(f"{self._refusal}; send it again in {late:.2g} s", seconds=late)
        if len(self._full_at) >= _MOST_NAMES and name not in self._full_at:
            self._forget(now)
        self._full_at[name] = full_at

    def _forget(self, now: float) -> None:
        """Make room: a full bucket is the same as none; then the oldest have to go."""
        self._full_at = {name: full_at for name, full_at in self._full_at.items() if full_at > now}
        for name in list(self._full_at)[: max(0, len(self._full_at) - _MOST_NAMES // 2)]:
            del self._full_at[name]
