"""The hub of the live streams: one reader of the journal for all who follow it.

::

    journal ──▶ the hub's one reader ──▶ a bounded queue for each follower ──▶ their connections
                  only while somebody follows, after every write of this process, and every so often

Nothing that decides waits for any of this. A follower whose queue is full is dropped; the journal has what it
missed.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NamedTuple

import structlog

from tamiyo_service.errors import OverloadedError, StoreUnavailableError
from tamiyo_service.live.happenings import Happening
from tamiyo_service.live.reader import Position, Reader
from tamiyo_service.live.subscription import Ending, Subscription, Wanted
from tamiyo_service.observability.tallies import LiveTally
from tamiyo_service.store.protocol import Store

QUEUE_EVENTS: Final = 1_000
_LOG: Final = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """How often things are looked at, in seconds."""

    rest: float = 0.02
    """Between two looks at the journal: writes that come one after the other are read together."""
    poll: float = 0.25
    """Without a write of this process: others may have written."""
    away: float = 1.0
    """While the store does not answer."""
    heartbeat: float = 15.0
    """Without an event: that the stream lives is told."""
    admission: float = 5.0
    """While there are events: whether the follower may still be told."""


class Hub:
    """Tells followers what happens.

    Args:
        store: where the journal is.
        stopping: whether the service is stopping.
        seats: followers there may be at the same time.
        queue: events that may wait for each.
        pace: how often it looks.
    """

    def __init__(
        self,
        store: Store,
        stopping: Callable[[], bool],
        *,
        seats: int,
        queue: int = QUEUE_EVENTS,
        pace: Pace = Pace(),  # noqa: B008 - immutable
    ) -> None:
        self.reader: Final = Reader(store)
        self.pace: Final = pace
        self.tally: Final = LiveTally()
        self._journal = store.journal
        self._stopping = stopping
        self._seats = seats
        self._taken = 0
        self._queue = queue
        self._followers: dict[int | None, set[Subscription]] = defaultdict(set)
        self._position: Position | None = None
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        """How many follow the journal's end."""
        return sum(map(len, self._followers.values()))

    @property
    def open_streams(self) -> int:
        """How many have taken a seat."""
        return self._taken

    @property
    def stopping(self) -> bool:
        """Whether every stream is to end."""
        return self._stopping()

    @property
    def told_below(self) -> int:
        """Everything below this number has been offered to those who follow; 0: nobody does."""
        return 0 if self._position is None else self._position.next

    def take_seat(self) -> None:
        """Admit one more follower.

        Raises:
            OverloadedError: if there are too many.
        """
        if self._taken >= self._seats:
            raise OverloadedError(f"{self._seats} live streams are open; end one, or open this one later")
        self._taken += 1

    def leave_seat(self) -> None:
        """Let a follower go."""
        self._taken -= 1

    async def follow(self, wanted: Wanted) -> tuple[Subscription, int]:
        """Follow the journal from a number on, which is told as well; end it with `unfollow`."""
        subscription = Subscription(wanted, self._queue)
        if self._position is None:
            end = await self.reader.end()
            if self._position is None:
                self._begin(end)
        self._followers[wanted.run_pk].add(subscription)
        return subscription, self.told_below

    def unfollow(self, subscription: Subscription) -> None:
        """Follow no longer. With the last follower the journal is left alone."""
        followers = self._followers[subscription.wanted.run_pk]
        followers.discard(subscription)
        if not followers:
            del self._followers[subscription.wanted.run_pk]
        if not self._followers and self._task is not None:
            self._journal.watch(None)
            self._task.cancel()
            self._task, self._position = None, None

    async def close(self) -> None:
        """End every subscription."""
        self._end_all()
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _begin(self, end: int) -> None:
        self._position = Position(end)
        self._journal.watch(self._news.set)
        self._task = asyncio.create_task(self._tail(), name="tamiyo-live")

    async def _tail(self) -> None:
        while not self.stopping:
            self._news.clear()
            try:
                complete = await self._tell()
            except StoreUnavailableError as error:
                _LOG.warning("live_streams_wait", error=str(error))
                await asyncio.sleep(self.pace.away)
                continue
            await asyncio.sleep(self.pace.rest)
            if complete:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.pace.poll):
                        await self._news.wait()
        self._end_all()

    async def _tell(self) -> bool:
        """Offer what is new to everybody; whether that was all."""
        assert self._position is not None
        passage = await self.reader.passage(self._position)
        self._position = passage.after
        self._offer(None, passage.happenings)
        by_run: dict[int, list[Happening]] = defaultdict(list)
        for happening in passage.happenings:
            if happening.run_pk in self._followers:
                by_run[happening.run_pk].append(happening)
        for run_pk, happenings in by_run.items():
            self._offer(run_pk, happenings)
        return passage.complete

    def _offer(self, run_pk: int | None, happenings: list[Happening]) -> None:
        for subscription in self._followers.get(run_pk, ()):
            live = subscription.ending is None
            subscription.offer(happenings)
            self.tally.dropped += live and subscription.ending is Ending.DROPPED

    def _end_all(self) -> None:
        for subscription in self._all():
            subscription.end(Ending.STOPPING)

    def _all(self) -> Iterable[Subscription]:
        return [subscription for followers in self._followers.values() for subscription in followers]
