"""The arrival of requests' bodies, which may take only so long."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import Message, Receive

from tamiyo_service.errors import OverloadedError

MOST_HELD_BYTES: Final = 256 * 1024 * 1024
"""Of bodies whose rest has not come, all together; connections alone would allow a thousand times that."""


class Arrivals:
    """Watches the bodies that are under way, with one timer for all: every report passes here.

    Args:
        seconds: how long a whole body may take.
        most: bytes that incomplete bodies may have together. A body that comes at once never counts.
    """

    def __init__(self, seconds: float, most: int = MOST_HELD_BYTES) -> None:
        self.seconds = seconds
        self._most = most
        self._held = 0
        # All have the same time, so the order of insertion is that of the deadlines.
        self._waiting: dict[Arrival, asyncio.Task[object]] = {}
        self._armed_in: asyncio.AbstractEventLoop | None = None

    def begin(self, arrival: Arrival, task: asyncio.Task[object]) -> None:
        """Watch an arrival for which a task waits.

        Raises:
            OverloadedError: if it and the others hold too much.
        """
        if arrival.size:
            if self._held + arrival.size > self._most:
                raise OverloadedError("too many large bodies arrive at once; send it again later")
            self._held += arrival.size
        self._waiting[arrival] = task
        if self._armed_in is not arrival.loop:
            self._armed_in = arrival.loop
            arrival.loop.call_at(arrival.deadline, self._sweep)

    def end(self, arrival: Arrival) -> None:
        """The task waits no longer."""
        if self._waiting.pop(arrival, None) is not None:
            self._held -= arrival.size

    def _sweep(self) -> None:
        loop, self._armed_in = asyncio.get_running_loop(), None
        for arrival, task in tuple(self._waiting.items()):
            if arrival.deadline > loop.time():
                self._armed_in = loop
                loop.call_at(arrival.deadline, self._sweep)
                return
            self.end(arrival)
            arrival.late = True
            task.cancel()


class Arrival:
    """Receives a body; an ASGI `Receive`.

    Args:
        receive: the server's own.
        arrivals: what watches it.
    """

    __slots__ = ("_arrivals", "_complete", "_receive", "deadline", "late", "loop", "size")

    def __init__(self, receive: Receive, arrivals: Arrivals) -> None:
        self.late = False
        self.size = 0
        """Bytes that have come."""
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + arrivals.seconds
        self._receive = receive
        self._arrivals = arrivals
        self._complete = False

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            OverloadedError: if the body is not complete in time, or bodies of others fill the memory.
        """
        if self._complete:
            return await self._receive()
        task = asyncio.current_task(self.loop)
        assert task is not None
        self._arrivals.begin(self, task)
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if self.late and task.uncancel() == 0:
                seconds = self._arrivals.seconds
                raise OverloadedError(
                    f"the body did not arrive within {seconds:g} s; send it again"
                ) from None
            raise
        finally:
            self._arrivals.end(self)
        self._complete = not message.get("more_body", False)
        if not self._complete:
            self.size += len(message.get("body", b""))
        return message
