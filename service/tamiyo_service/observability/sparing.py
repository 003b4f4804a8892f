"""Entries of the log that come as often as requests do: one in a while tells of all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Hashable


class Sparing:
    """Says when an entry of a kind is due, and how many went untold since the last.

    Args:
        seconds: between entries of one kind, of which there are few.
        monotonic: seconds since whenever.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._silent_until: dict[Hashable, float] = {}
        self._untold: Counter[Hashable] = Counter()

    def due(self, kind: Hashable, count: int = 1) -> int | None:
        """How many went untold before this one, which is to be told; None: it goes untold, too.

        Args:
            kind: what the entry is about.
            count: how many of it there are at once.
        """
        now = self._monotonic()
        if now < self._silent_until.get(kind, now):
            self._untold[kind] += count
            return None
        self._silent_until[kind] = now + self._seconds
        return self._untold.pop(kind, 0)
