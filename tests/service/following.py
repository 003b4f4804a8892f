"""Follows a live stream of an application without sockets, as slowly as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message

PATIENCE_SECONDS = 20.0


@dataclass
class Event:
    """One event as a browser sees it."""

    id: str
    type: str
    data: dict[str, Any]


@dataclass
class Follower:
    """One who follows.

    Attributes:
        reads: while it is not set, nothing is taken.
        ended: whether the stream has ended.
        last_id: what a browser would send back; also from what is no event.
    """

    reads: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    last_id: str = ""
    comments: int = 0
    complete: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _left: asyncio.Event = field(default_factory=asyncio.Event)
    _events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    _rest: str = ""

    async def next(self) -> Event:
        """The next event."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._events.get()

    async def take(self, count: int) -> list[Event]:
        """The next events."""
        return [await self.next() for _ in range(count)]

    async def until(self, kind: str) -> Event:
        """The next event of a kind; those before it are passed over."""
        while (event := await self.next()).type != kind:
            continue
        return event

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that what comes can make true."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def end(self) -> None:
        """Wait until the stream has ended."""
        await self.wait(lambda: self.ended)

    def rest(self) -> list[Event]:
        """What has come and was not taken."""
        return [self._events.get_nowait() for _ in range(self._events.qsize())]

    def tell(self) -> None:
        """Have what waits look again."""
        self._news.set()

    def leave(self) -> None:
        """Close the connection."""
        self._left.set()

    async def receive(self) -> Message:
        """ASGI."""
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """ASGI."""
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        body = message.get("body", b"")
        self.body += body
        self.complete = not message.get("more_body", False)
        *blocks, self._rest = (self._rest + body.decode()).split("\n\n")
        for block in blocks:
            self._dispatch(block)
        self.tell()

    def _dispatch(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        self.comments += block.startswith(":")
        self.last_id = fields.get("id", self.last_id)
        if "data" in fields:
            event = Event(self.last_id, fields["event"], json.loads(fields["data"]))
            self._events.put_nowait(event)


@asynccontextmanager
async def following(
    app: ASGIApp,
    path: str,
    *,
    last_event_id: str | None = None,
    reading: bool = True,
    key: str | None = None,
) -> AsyncIterator[Follower]:
    """Somebody who follows `path`, until the block is left."""
    follower = Follower()
    if reading:
        follower.reads.set()
    headers = [] if last_event_id is None else [(b"last-event-id", last_event_id.encode())]
    if key is not None:
        headers.append((b"authorization", b"Bearer " + key.encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": path.partition("?")[0],
        "root_path": "",
        "query_string": path.partition("?")[2].encode(),
        "headers": headers,
    }

    async def follow() -> None:
        try:
            await app(scope, follower.receive, follower.send)
        finally:
            follower.ended = True
            follower.tell()

    task = asyncio.create_task(follow())
    try:
        yield follower
    finally:
        follower.leave()
        follower.reads.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task
