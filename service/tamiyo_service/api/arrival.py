"""The arrival of requests' bodies, which may take only so long."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from tamiyo_service.errors import OverloadedError


class Arrivals:
    """Watches the bodies that are under way, with one timer for all: every report passes here.

    Args:
        seconds: how long a whole body may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        # All have the same time, so the order of insertion is that of the deadlines.
        self._waiting: dict[Arrival, asyncio.Task[object]] = {}
        self._armed_in: asyncio.AbstractEventLoop | None = None

    def begin(self, arrival: Arrival, task: asyncio.Task[object]) -> None:
        """Watch an arrival for which a task waits."""
        self._waiting[arrival] = task
        if self._armed_in is not arrival.loop:
            self._armed_in = arrival.loop
            arrival.loop.call_at(arrival.deadline, self._sweep)

    def end(self, arrival: Arrival) -> None:
        """The task waits no longer."""
        self._waiting.pop(arrival, None)

    def _sweep(self) -> None:
        loop, self._armed_in = asyncio.get_running_loop(), None
        for arrival, task in tuple(self._waiting.items()):
            if arrival.deadline > loop.time():
                self._armed_in = loop
                loop.call_at(arrival.deadline, self._sweep)
                return
            del self._waiting[arrival]
            arrival.late = True
            task.cancel()


class Arrival:
    """Receives a body; an ASGI `Receive`.

    Args:
        receive: the server's own.
        arrivals: what watches it.
    """

    __slots__ = ("_arrivals", "_complete", "_receive", "deadline", "late", "loop")

    def __init__(self, receive: Receive, arrivals: Arrivals) -> None:
        self.late = False
        self.loop = asyncio.get_running_loop()
        self.deadline = self.loop.time() + arrivals.seconds
        self._receive = receive
        self._arrivals = arrivals
        self._complete = False

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            OverloadedError: if the body is not complete in time.
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
        return message
