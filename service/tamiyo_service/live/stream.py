"""One live stream: first what the follower has missed, read by itself, then what the hub tells.

::

    far behind ──▶ a page of the journal at a time ──▶ following, while the last bit is read ──▶ live

Nothing is told twice and nothing is left out: what comes from the hub is left out as far as it was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Final

import orjson
from fastapi.sse import format_sse_event

from tamiyo_service.errors import OverloadedError, StoreUnavailableError, UnauthorizedError
from tamiyo_service.live.happenings import Happening
from tamiyo_service.live.hub import Hub
from tamiyo_service.live.marks import Mark
from tamiyo_service.live.reader import Start
from tamiyo_service.live.subscription import Ending, Subscription, Wanted

RETRY_MS: Final = 2_000
"""How long a browser waits before it connects again."""
SKIPPED: Final = "skipped"
DROPPED: Final = "dropped"
CLOSING: Final = "closing"
GONE: Final = "gone"
_WHY_DROPPED: Final = "too many events waited: read faster, follow fewer, and go on after last_event_id"
_WHY_CLOSING: Final = "the service stops: connect again and go on after last_event_id"
_WHY_GONE: Final = "the run was deleted"


class Stream:
    """What one follower is sent.

    Args:
        hub: tells what happens.
        wanted: which events.
        start: where to begin.
        exists: whether there still is what is followed; asked now and then.
        admitted: whether the follower may still be told; asked now and then, before anything is told.
    """

    def __init__(
        self,
        hub: Hub,
        wanted: Wanted,
        start: Start,
        exists: Callable[[], Awaitable[bool]],
        admitted: Callable[[], Awaitable[bool]],
    ) -> None:
        self._hub = hub
        self._wanted = wanted
        self._start = start
        self._exists = exists
        self._admitted = admitted
        self._admitted_at = asyncio.get_running_loop().time()
        self._position = start.position
        self._last = start.known

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The stream, in pieces as they travel."""
        yield self._opening()
        try:
            async with aclosing(self._told()) as told:
                async for frames in told:
                    yield frames
        except (OverloadedError, StoreUnavailableError, UnauthorizedError) as error:
            yield self._event(CLOSING, error.message)

    async def _told(self) -> AsyncGenerator[bytes, None]:
        complete = False
        while not complete and not self._hub.stopping:
            # First, so that who is sent away has been sent all that its last id says.
            await self._require_admitted()
            complete, frames = await self._read()
            if frames:
                yield frames
        subscription, reached = await self._hub.follow(self._wanted)
        try:
            complete = False
            while not complete and self._position.next < reached and not self._hub.stopping:
                complete, frames = await self._read()
                if frames:
                    yield frames
            async for frames in self._live(subscription):
                yield frames
        finally:
            self._hub.unfollow(subscription)

    async def _live(self, subscription: Subscription) -> AsyncGenerator[bytes, None]:
        while True:
            batch = await subscription.take(self._hub.pace.heartbeat)
            # At once: whatever comes while somebody is asked below is not in this batch.
            told = Mark(self._hub.told_below - 1)
            await self._require_admitted()
            frames = self._joined(filter(self._position.precedes, batch))
            if frames:
                yield frames
            elif subscription.ending is not None and not batch:
                yield self._final(subscription.ending)
                return
            elif not batch:
                if not await self._exists():
                    yield self._event(GONE, _WHY_GONE)
                    return
                # Who comes back need not have looked through again what was taken so far.
                self._last = max(self._last, told, key=lambda mark: mark.number)
                yield format_sse_event(comment="alive", id=str(self._last))

    async def _require_admitted(self) -> None:
        """Return if the follower may be told.

        Raises:
            UnauthorizedError: if its key or session has ended.
        """
        now = asyncio.get_running_loop().time()
        if now - self._admitted_at < self._hub.pace.admission:
            return
        if not await self._admitted():
            raise UnauthorizedError("the key or session has ended: come back with another")
        self._admitted_at = now

    async def _read(self) -> tuple[bool, bytes]:
        """The next part of the past; whether that is all."""
        passage = await self._hub.reader.passage(self._position, self._wanted.run_pk)
        self._position = passage.after
        return passage.complete, self._joined(filter(self._wanted.takes, passage.happenings))

    def _joined(self, happenings: Iterable[Happening]) -> bytes:
        told = list(happenings)
        if told:
            self._last = told[-1].mark
            self._hub.tally.sent += len(told)
        return b"".join(happening.frame for happening in told)

    def _opening(self) -> bytes:
        opening = format_sse_event(comment="tamiyo", retry=RETRY_MS, id=str(self._last))
        if self._start.skipped is not None:
            opening += self._event(SKIPPED, self._start.skipped)
        return opening

    def _final(self, ending: Ending) -> bytes:
        if ending is Ending.DROPPED:
            return self._event(DROPPED, _WHY_DROPPED)
        return self._event(CLOSING, _WHY_CLOSING)

    def _event(self, kind: str, reason: str) -> bytes:
        data: dict[str, Any] = {"type": kind, "reason": reason, "last_event_id": str(self._last)}
        return format_sse_event(data_str=orjson.dumps(data).decode(), event=kind, id=str(self._last))
