"""The border: what every request passes on its way in, and every response on its way out."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tamiyo_leyline import LEYLINE_VERSION, Problem
from tamiyo_leyline.api import LEYLINE_HEADER, MAX_BATCH_BYTES, MAX_BODY_BYTES
from tamiyo_leyline.problem import ProblemCode

from tamiyo_service.api.arrival import Arrival, Arrivals
from tamiyo_service.api.errors import (
    REFUSED,
    internal_problem,
    problem_of,
    problem_response,
    refusal_headers,
)
from tamiyo_service.api.schemas import require_run_id
from tamiyo_service.auth.audit import AUDITED, Strangers, audit
from tamiyo_service.auth.guard import COOKIE, PAGE_HEADER, Guard, Presented
from tamiyo_service.errors import (
    ForeignOriginError,
    LeylineMismatchError,
    PayloadTooLargeError,
    ShuttingDownError,
    TamiyoError,
    UnsupportedMediaTypeError,
)
from tamiyo_service.runs.seat import Ticket

BATCH_PATH: Final = "/epochs"
_BEFORE_RUN: Final = "/runs/"
_AFTER_RUN: Final = "/epoch"
TOLD: Final = "tamiyo.told"
"""Key of a request's scope: its defect is logged and answered already."""
_ALWAYS_OPEN: Final = frozenset({"/healthz", "/readyz"})
_HEADER_NAME: Final = LEYLINE_HEADER.lower().encode()
_HEADERS: Final = (
    (_HEADER_NAME, LEYLINE_VERSION.encode()),
    # What the service says is for whoever asked, and is what it says it is.
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_REPLY_HEAD: Final = b"content-type: application/json\r\ncontent-length: %d\r\n" + b"".join(
    b"%b: %b\r\n" % header for header in _HEADERS
)
_ENTRY: Final = "tamiyo.entry"
"""Key of a request's scope: its `_Entry`, once that is known."""
_CLOSE: Final = (b"connection", b"close")
_MAJOR: Final = LEYLINE_VERSION.split(".")[0].encode()
_OWN_SITES: Final = frozenset({b"same-origin", b"none"})
"""What a browser calls the origin of a request that our own page, or somebody by hand, has sent."""
_LOOKING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class Gate:
    """Whether the service takes new work.

    Attributes:
        ending: whether what would last, such as live streams, comes to its end.
        stopping: whether new work is refused, too.
    """

    def __init__(self) -> None:
        self.ending = False
        self.stopping = False

    def end(self) -> None:
        """Bring to its end what would last. Who still gets through is served: nobody else may be there to."""
        self.ending = True

    def close(self) -> None:
        """Take no new work; what was accepted is finished."""
        self.ending = self.stopping = True


class Reports(Protocol):
    """Answers ``POST /runs/{run_id}/epoch``: an ASGI application."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""

    def take(self, scope: Scope, body: bytes) -> Ticket | None:
        """Have a report decided that comes without options; None: serve the request as any other."""

    def answer(self, ticket: Ticket) -> bytes:
        """The reply to a report that was taken and decided."""


class _Entry(NamedTuple):
    """What the border finds out about a request before its body is looked at."""

    refusal: TamiyoError | None = None
    """Why it may not pass."""
    waiting: Awaitable[None] | None = None
    """To be awaited before it may; None: nothing."""
    measured: bool = False
    """Whether its body has a length that is within bounds."""


class Border:
    """The outermost ASGI layer: who calls, versions, sizes, media types, stopping, and defects.

    Reports go from here straight to their endpoint, past the framework's own layers and routing; plain ones
    without any (see `direct`).

    Args:
        app: what lies behind the border.
        gate: whether new work is taken.
        guard: finds out who calls.
        reports: answers ``POST /runs/{run_id}/epoch``.
        body_seconds: how long a request's body may take to arrive.
        refusals: counts them by code.
    """

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        guard: Guard,
        reports: Reports,
        body_seconds: float,
        refusals: Counter[str],
    ) -> None:
        self._app = app
        self._gate = gate
        self._guard = guard
        self._reports = reports
        self._arrivals = Arrivals(body_seconds)
        self._refusals = refusals
        self._strangers = Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arrival = Arrival(receive, self._arrivals)
        marked = _Marked(send, arrival)
        headers: dict[str, str] = {}
        try:
            if b"%" in scope.get("raw_path", b""):
                _keep_escaped_slashes(scope)
            entry = scope.pop(_ENTRY, None) or self._enter(scope, dict(scope["headers"]))
            if entry.refusal is not None:
                raise entry.refusal
            if entry.waiting is not None:
                await entry.waiting
            admitted = arrival if entry.measured else _limited(arrival, _limit(scope))
            if _is_report(scope):
                marked.plain = True
                await self._reports(scope, admitted, marked)
            else:
                await self._behind(scope, admitted, marked)
            if REFUSED in scope:
                self._refusals[scope[REFUSED]] += 1
            return
        except asyncio.CancelledError:
            # A stopping server ends so what has not come to an end in time.
            task = asyncio.current_task()
            if marked.started or not self._gate.ending or task is None:
                raise
            task.uncancel()
            problem: Problem | None = _problem_for(_stopping(), scope)
        except Exception as error:  # noqa: BLE001 - the last resort: whatever fails, the caller gets an answer
            problem, headers = _problem_for(error, scope), refusal_headers(error)
        if problem is not None and not marked.started:
            self._refusals[problem.code] += 1
            if problem.code is ProblemCode.UNAUTHORIZED:
                self._strangers.tell(scope)
            await problem_response(problem, headers)(scope, receive, marked)
        elif REFUSED in scope:
            self._refusals[scope[REFUSED]] += 1

    def take(self, scope: Scope, body: bytes) -> Ticket | None:
        """Have a report decided whose connection writes the answer; see `direct.Direct`.

        What was found out about a request that is not taken stays in its scope: nothing is counted twice.
        """
        plain = not scope["query_string"] and b"%" not in scope["raw_path"] and len(body) <= MAX_BODY_BYTES
        if not plain or not _is_report(scope):
            return None
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if b"cookie" in headers:
            # What it is worth depends on what a proxy in front says, which the application is told.
            return None
        try:
            entry = self._enter(scope, headers)
        except TamiyoError as error:
            entry = _Entry(error)
        scope[_ENTRY] = entry
        if entry.refusal is not None or entry.waiting is not None:
            return None
        return self._reports.take(scope, body)

    def answer(self, ticket: Ticket) -> tuple[bytes, bytes]:
        """Lines of the head and the body of the answer to a ticket; see `direct.Direct`."""
        body = self._reports.answer(ticket)
        return _REPLY_HEAD % len(body), body

    async def _behind(self, scope: Scope, receive: Receive, marked: _Marked) -> None:
        try:
            await self._app(scope, receive, marked)
        finally:
            if AUDITED in scope:
                audit(scope, marked.status)

    def _enter(self, scope: Scope, headers: Mapping[bytes, bytes]) -> _Entry:
        """Find out whether a request may pass.

        Raises:
            TamiyoError: if it may not.
        """
        if self._gate.stopping and scope["path"] not in _ALWAYS_OPEN:
            raise _stopping()
        spoken, site = headers.get(_HEADER_NAME), headers.get(b"sec-fetch-site")
        if spoken is not None and scope["path"] not in _ALWAYS_OPEN:
            _require_same_major(spoken)
        if site is not None and site not in _OWN_SITES and scope["method"] not in _LOOKING:
            raise _foreign(site)
        if b"cookie" in headers:
            _put_cookies_aside(scope)
        measured = scope["method"] not in _WITH_BODY or self._is_measured(scope, headers)
        presented = Presented(headers.get(b"authorization"), headers.get(PAGE_HEADER))
        return _Entry(None, self._guard.let_in(scope, presented), measured)

    def _is_measured(self, scope: Scope, headers: Mapping[bytes, bytes]) -> bool:
        """Whether the body tells its length, which the service takes, as it takes its media type.

        Raises:
            TamiyoError: if it does not take one of them.
        """
        content_type, encoding = headers.get(b"content-type"), headers.get(b"content-encoding")
        if content_type is not None and content_type != b"application/json":
            _require_json(content_type)
        if encoding is not None:
            _require_plain(encoding)
        limit, length = _limit(scope), headers.get(b"content-length")
        if length is not None and int(length) > limit:
            raise _too_large(limit)
        return length is not None


class _Marked:
    """Sends responses, marked with the version of Leyline and what browsers are to know; an ASGI `Send`.

    Attributes:
        plain: whether responses have none of these headers yet.
        started: whether one is on its way.
        status: of the response; 0: there is none yet.
    """

    __slots__ = ("_arrival", "_send", "plain", "started", "status")

    def __init__(self, send: Send, arrival: Arrival) -> None:
        self._send = send
        self._arrival = arrival
        self.plain = False
        self.started = False
        self.status = 0

    def __call__(self, message: MutableMapping[str, Any]) -> Awaitable[None]:
        """Send a message."""
        if not self.started:
            # The first message is the one with the headers.
            self.started = True
            self.status = message["status"]
            message["headers"].extend(_HEADERS if self.plain else _missing(message["headers"]))
            if self._arrival.late:
                message["headers"].append(_CLOSE)
        return self._send(message)


def _put_cookies_aside(scope: Scope) -> None:
    """Take the cookies out of the headers: FastAPI would read them for every route.

    That takes seconds for some (CVE-2024-7592).
    """
    headers = scope["headers"]
    # HTTP/2 to a proxy may have cut them up (RFC 9113, 8.2.3).
    scope[COOKIE] = b"; ".join(value for name, value in headers if name == b"cookie")
    scope["headers"] = [header for header in headers if header[0] != b"cookie"]


def _missing(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Which of the headers a response does not have yet: the page's files have their own."""
    there = {name for name, _ in headers}
    return [header for header in _HEADERS if header[0] not in there]


def _problem_for(error: Exception, scope: Scope) -> Problem | None:
    """What a request is answered with that failed out here; None: it is answered already."""
    if isinstance(error, HTTPException):
        # Only the limit on bodies raises it this far out.
        error = _too_large(_limit(scope))
    if isinstance(error, TamiyoError):
        return problem_of(error, ProblemCode.INVALID_REQUEST)
    if TOLD in scope:
        return None
    return internal_problem(error, scope.get("path_params", {}).get("run_id"))


def _stopping() -> ShuttingDownError:
    return ShuttingDownError("the service is stopping; send the request again, it is about to be back")


def _limit(scope: Scope) -> int:
    """Bytes that the body of a request may have."""
    return MAX_BATCH_BYTES if scope["path"] == BATCH_PATH else MAX_BODY_BYTES


def _keep_escaped_slashes(scope: Scope) -> None:
    """Make an escaped slash part of its segment, where it fits nothing, instead of a separator.

    Servers unescape the whole path: ``/runs/a%2Fhold`` would be taken for the hold of run a.

    Raises:
        InvalidRunIdError: if it is part of a run id.
    """
    segments = [unquote(segment) for segment in scope["raw_path"].decode("latin-1").split("/")]
    if segments[1:2] == ["runs"] and "/" in "".join(segments[2:3]):
        require_run_id(segments[2])
    scope["path"] = "/".join(segment.replace("/", "%2F") for segment in segments)


def _is_report(scope: Scope) -> bool:
    """Whether a request is for the hot route; if so, its run is put where a router would put it."""
    path: str = scope["path"]
    if scope["method"] != "POST" or not (path.startswith(_BEFORE_RUN) and path.endswith(_AFTER_RUN)):
        return False
    run_id = path[len(_BEFORE_RUN) : -len(_AFTER_RUN)]
    if not run_id or "/" in run_id:
        return False
    scope["path_params"] = {"run_id": run_id}
    return True


def _require_same_major(version: bytes) -> None:
    if version.split(b".")[0] != _MAJOR:
        spoken = ascii(version.decode("latin-1"))
        raise LeylineMismatchError(
            f"the service speaks Leyline {LEYLINE_VERSION}, the request {spoken}; upgrade the older side"
        )


def _require_json(content_type: bytes) -> None:
    media_type = content_type.split(b";")[0].strip().lower()
    if media_type == b"application/json" or (
        media_type.startswith(b"application/") and media_type.endswith(b"+json")
    ):
        return
    raise UnsupportedMediaTypeError(
        f"the body is {media_type.decode('latin-1')!a}; send JSON with content-type: application/json"
    )


def _require_plain(encoding: bytes) -> None:
    if encoding.strip().lower() != b"identity":
        raise UnsupportedMediaTypeError(
            f"the body has content-encoding {encoding.decode('latin-1')!a}; send it as it is, without one",
            field="content-encoding",
        )


def _foreign(site: bytes) -> ForeignOriginError:
    return ForeignOriginError(
        f"a browser sent this for a page of another origin (sec-fetch-site: {site.decode('latin-1')!a});"
        " send it from the service's own page, or without a browser",
        field="sec-fetch-site",
    )


def _too_large(limit: int) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"the body exceeds {limit // (1024 * 1024)} MiB; send less at a time")


def _limited(receive: Receive, limit: int) -> Receive:
    """For a body of unannounced length: reading stops once it has grown too large."""
    size = 0

    async def receive_limited() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            # FastAPI passes this on unchanged, where it would call any other error a broken body.
            raise HTTPException(413)
        return message

    return receive_limited
