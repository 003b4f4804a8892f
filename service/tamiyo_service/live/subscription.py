"""What one follower of a live stream has coming: a bounded queue, which nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import NamedTuple

from tamiyo_service.live.happenings import Happening


class Wanted(NamedTuple):
    """Which events somebody follows."""

    run_pk: int | None = None
    """Of one run only."""
    types: frozenset[str] = frozenset()
    """Empty: all."""
    labels: tuple[tuple[str, str], ...] = ()
    """Of runs that have all of these."""
    prefixes: tuple[str, ...] = ()
    """Of runs whose ids begin with one of these; empty: of any."""

    def takes(self, happening: Happening) -> bool:
        """Whether an event is one of them."""
        if self.run_pk is not None and happening.run_pk != self.run_pk:
            return False
        if self.prefixes and not happening.run_id.startswith(self.prefixes):
            return False
        if self.types and happening.type not in self.types:
            return False
        return all(happening.labels.get(key) == value for key, value in self.labels)


class Ending(Enum):
    """Why a subscription came to its end."""

    DROPPED = auto()
    """More had gathered than may wait."""
    STOPPING = auto()
    """The service stops."""


class Subscription:
    """The events that wait for one follower.

    Args:
        wanted: which ones.
        limit: how many may wait; with one more the subscription ends.
    """

    def __init__(self, wanted: Wanted, limit: int) -> None:
        self.wanted = wanted
        self.ending: Ending | None = None
        """None: there may be more to come."""
        self._limit = limit
        self._waiting: list[Happening] = []
        self._news = asyncio.Event()

    def offer(self, happenings: Sequence[Happening]) -> None:
        """Have those events wait that are wanted."""
        if self.ending is not None:
            return
        wanted = list(filter(self.wanted.takes, happenings))
        room = self._limit - len(self._waiting)
        self._waiting += wanted[:room]
        if len(wanted) > room:
            self.end(Ending.DROPPED)
        elif wanted:
            self._news.set()

    def end(self, ending: Ending) -> None:
        """Bring it to its end; what waits is still there to be taken."""
        if self.ending is None:
            self.ending = ending
        self._news.set()

    async def take(self, seconds: float) -> list[Happening]:
        """What waits, as soon as there is something; empty after so many seconds, or at the end."""
        if not self._waiting and self.ending is None:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        taken, self._waiting = self._waiting, []
        return taken
