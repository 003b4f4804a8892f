"""Plain reports are answered by the connection they came on, without a task of their own.

::

    whole request ──▶ take ──▶ its ticket is done ──▶ the answer, written in one piece
                       │              │
                       ▼              ▼ there is no reply, or the server is told to stop
                    the application, as for every other request

A task for each request, and the messages of ASGI that server, border and endpoint pass along, cost a tenth
of all that a report costs. So one whose body came together with its head is handed to the seat at once.
Whatever is not plain about it, before or after, is left to the application, which goes on from what is known
by then: there is one place that finds words for refusals.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from tamiyo_service.api.epoch import TICKET
from tamiyo_service.connections import BoundedProtocol
from tamiyo_service.runs.seat import Ticket

DIRECT: Final = "tamiyo.direct"
"""Key of the lifespan's state: what takes reports directly; absent: nothing does."""


class Direct(Protocol):
    """Takes reports straight from their connections."""

    def take(self, scope: Scope, body: bytes) -> Ticket | None:
        """Have a report decided; None: the request is for the application, from its beginning."""

    def answer(self, ticket: Ticket) -> tuple[bytes, bytes]:
        """Lines of the head and the body of the answer to a ticket that is done and has a reply."""


class DirectProtocol(BoundedProtocol):
    """HTTP/1.1 on one connection, plain reports answered directly.

    What uvicorn begins by a task is held back until the request's body is there, which most times is a moment
    later in the same call; if it is not, the task begins as usual.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        # uvicorn's own log of requests knows those of the application alone.
        self._direct: Direct | None = None if self.config.access_log else self.app_state.get(DIRECT)
        self._held: RequestResponseCycle | None = None
        self._under_way: tuple[RequestResponseCycle, Ticket] | None = None

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        super().data_received(data)
        self._release()

    def on_message_complete(self) -> None:
        """Begin to answer a request that is there as a whole."""
        super().on_message_complete()
        held, self._held = self._held, None
        if held is not None:
            self._begin(held)

    def on_response_complete(self) -> None:
        """Go on with the request that came meanwhile."""
        super().on_response_complete()
        self._release()

    def shutdown(self) -> None:
        """End the connection with the answer that is under way; a task can be told when time is up."""
        super().shutdown()
        if self._under_way is not None:
            self._leave(*self._under_way)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._direct is None or app is not self.app:
            super()._start_asgi_task(cycle, app)
        elif cycle.more_body:
            self._held = cycle
        else:
            # It came before the answer to the request before it.
            self._begin(cycle)

    def _release(self) -> None:
        """Begin a request as usual whose body is still to come."""
        held, self._held = self._held, None
        if held is not None and not self.transport.is_closing():
            super()._start_asgi_task(held, self.app)

    def _begin(self, cycle: RequestResponseCycle) -> None:
        assert self._direct is not None
        ticket = None
        # Who does not read the answers there are is kept waiting by the application.
        if not self.flow.write_paused:
            with suppress(Exception):  # The application meets the same defect, and tells it.
                ticket = self._direct.take(cast(Scope, cycle.scope), bytes(cycle.body))
        if ticket is None:
            super()._start_asgi_task(cycle, self.app)
        else:
            self._under_way = cycle, ticket
            ticket.done.add_done_callback(self._done)

    def _done(self, done: asyncio.Future[None]) -> None:
        failed = done.cancelled() or done.exception() is not None
        if self._under_way is None or self._under_way[1].done is not done:
            return  # The application has it.
        cycle, ticket = self._under_way
        if failed or ticket.reply is None:
            self._leave(cycle, ticket)
        else:
            self._under_way = None
            self._answer(cycle, ticket)

    def _leave(self, cycle: RequestResponseCycle, ticket: Ticket) -> None:
        """To the application, from where it is now."""
        self._under_way = None
        cast(Scope, cycle.scope)[TICKET] = ticket
        super()._start_asgi_task(cycle, self.app)

    def _answer(self, cycle: RequestResponseCycle, ticket: Ticket) -> None:
        assert self._direct is not None
        head, body = self._direct.answer(ticket)
        told, cycle.on_response = cycle.on_response, _nothing
        # The connection keeps its last cycle, and may be idle for long.
        cycle.body = bytearray()
        if cycle.disconnected or self.transport.is_closing():
            return
        parts = [STATUS_LINE[200]]
        for name, value in self.server_state.default_headers:
            parts += name, b": ", value, b"\r\n"
        parts += head, b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body
        self.transport.write(b"".join(parts))
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        told()


def _nothing() -> None:
    return
