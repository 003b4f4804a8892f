"""Spans: of every request, and of the parts of a decision. Used only where there are traces."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send
from tamiyo_core import Advice

from tamiyo_service.runs.deciding import Decided
from tamiyo_service.runs.seat import Place, Seat, Ticket
from tamiyo_service.runs.session import Session

if TYPE_CHECKING:
    import asyncio

Tracer: TypeAlias = Any
"""OpenTelemetry's; its types are not here where it is not installed."""

_UNTRACED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_REPORT: Final = "/runs/{run_id}/epoch"


class TracedRequests:
    """A span for every request, within the trace that its headers name.

    Args:
        app: serves them.
        tracer: begins spans.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self._app(scope, receive, send)
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        span = self._tracer.start_as_current_span(
            scope["method"], context=extract(headers), kind=SpanKind.SERVER
        )
        with span as current:
            try:
                await self._app(scope, receive, partial(_send, current, send))
            finally:
                _describe(current, scope)


async def _send(span: Any, send: Send, message: MutableMapping[str, Any]) -> None:
    if message["type"] == "http.response.start":
        status = message["status"]
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            from opentelemetry.trace import StatusCode

            span.set_status(StatusCode.ERROR)
    await send(message)


def _describe(span: Any, scope: Scope) -> None:
    route = scope.get("route")
    template = _REPORT if route is None and scope["path"].endswith("/epoch") else getattr(route, "path", None)
    if template is not None:
        span.update_name(f"{scope['method']} {template}")
        span.set_attribute("http.route", template)
    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("url.path", scope["path"])
    run_id = scope.get("path_params", {}).get("run_id")
    if run_id is not None:
        span.set_attribute("tamiyo.run", run_id)


class _Course:
    """A report's way through the seat."""

    __slots__ = ("context", "observed", "store")

    def __init__(self, context: Any) -> None:
        self.context = context
        """Of the request's span."""
        self.observed = (0, 0)
        """When taking it in began and ended, nanoseconds since 1970."""
        self.store: Any = None
        """The span of its storing, once that has begun."""


class TracedSeat(Seat):
    """A seat that tells how long each report was decided about, waited for a network, and was stored.

    Reports are decided together: each gets spans of its own, which begin and end with its group's.

    Args:
        tracer: begins spans.
        parts: of a `Seat`.
    """

    def __init__(self, tracer: Tracer, *parts: Any) -> None:
        super().__init__(*parts)
        self._tracer = tracer
        self._courses: dict[Ticket, _Course] = {}

    def take(self, session: Session, body: bytes, *, backfill: bool) -> Ticket:
        """As `Seat.take`, within the span of the request."""
        from opentelemetry.context import get_current

        ticket = super().take(session, body, backfill=backfill)
        self._courses[ticket] = _Course(get_current())
        # Before anybody awaits it: the span of the request ends later.
        ticket.done.add_done_callback(partial(self._finish, ticket))
        return ticket

    def _observe(self, tickets: Sequence[Ticket]) -> list[Place]:
        began = time.time_ns()
        places = super()._observe(tickets)
        observed = (began, time.time_ns())
        for place in places:
            if (course := self._courses.get(place.ticket)) is not None:
                course.observed = observed
        return places

    def _conclude(self, places: Sequence[Place], advices: Sequence[Advice | None], spent: float) -> None:
        began = time.time_ns()
        # Who is done meanwhile is forgotten.
        courses = [self._courses.get(place.ticket) for place in places]
        super()._conclude(places, advices, spent)
        ended = time.time_ns()
        for place, course in zip(places, courses, strict=True):
            if course is not None:
                self._decided(course, began, ended, asked=bool(place.observation.questions))

    def _decided(self, course: _Course, began: int, ended: int, *, asked: bool) -> None:
        from opentelemetry.trace import set_span_in_context

        first, observed = course.observed
        decide = self._tracer.start_span("decide", context=course.context, start_time=first)
        if asked:
            context = set_span_in_context(decide)
            network = self._tracer.start_span("network", context=context, start_time=observed)
            network.end(end_time=began)
        decide.end(end_time=ended)

    def _store_decision(self, ticket: Ticket, decided: Decided) -> None:
        course = self._courses.get(ticket)
        if course is not None:
            (entry,) = decided.write.entries
            about = {"tamiyo.epoch": decided.reply.key.epoch, "tamiyo.action": entry.action or ""}
            course.store = self._tracer.start_span("store", context=course.context, attributes=about)
        super()._store_decision(ticket, decided)

    def _finish(self, ticket: Ticket, done: asyncio.Future[None]) -> None:
        course = self._courses.pop(ticket)
        if course.store is None:
            return
        error = None if done.cancelled() else done.exception()
        if error is not None:
            course.store.record_exception(error)
        course.store.end()


def seat_of(tracer: Tracer | None) -> Callable[..., Seat]:
    """What makes the seat: without traces the plain one."""
    return Seat if tracer is None else partial(TracedSeat, tracer)
