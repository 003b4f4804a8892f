"""The hot route: one report in, one decision out. A plain ASGI endpoint inside the FastAPI app.

The body is validated once, straight from its bytes, and the reply is sent as it was stored.
"""

from __future__ import annotations

import time
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from tamiyo_leyline import DecisionRecord, EpochReport, ProblemCode
from tamiyo_leyline.api import REPLAYED_HEADER
from tamiyo_leyline.validation import field_errors

from tamiyo_service.api.bodies import JsonBody
from tamiyo_service.api.errors import problem_of, problem_response, refusal_headers
from tamiyo_service.api.schemas import RunIdPath, StatefulReply, problems, require_run_id
from tamiyo_service.auth.caller import caller_of
from tamiyo_service.errors import InvalidQueryError, TamiyoError
from tamiyo_service.observability.tallies import Histogram
from tamiyo_service.runs.deciding import Reply
from tamiyo_service.runs.history import History
from tamiyo_service.runs.intake import Intake
from tamiyo_service.runs.seat import Ticket

REPORT: Final = JsonBody(EpochReport, ProblemCode.INVALID_REPORT)
ReportBody = Annotated[EpochReport, Depends(REPORT)]
PATH: Final = "/runs/{run_id}/epoch"
TICKET: Final = "tamiyo.ticket"
"""Key of a request's scope: the ticket that its report was given before."""

_JSON: Final = (b"content-type", b"application/json")
_REPLAYED: Final = (REPLAYED_HEADER.lower().encode(), b"true")


class EpochOptions(BaseModel):
    """Query parameters of a report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    create: bool | None = Field(
        None, description="Whether an unknown run is created with defaults; absent: as the service is set up."
    )
    backfill: bool = Field(False, description="A late report: observed only, answered with WAIT.")
    snapshot: bool = Field(False, description="Add the run's state after the report as `state`.")
    explain: bool = Field(False, description="Answer with the DecisionRecord instead.")


_NO_OPTIONS: Final = EpochOptions()
_TAKES: Final = f"this call takes {', '.join(EpochOptions.model_fields)}, each true or false"


class EpochEndpoint:
    """Answers ``POST /runs/{run_id}/epoch``.

    Args:
        intake: decides.
        history: explains.
        seconds: counts how long that takes.
    """

    def __init__(self, intake: Intake, history: History, seconds: Histogram) -> None:
        self._intake = intake
        self._history = history
        self._seconds = seconds

    def route(self) -> Route:
        """The route to be matched before FastAPI's own."""
        return Route(PATH, self, methods=["POST"])

    def documentation(self) -> APIRoute:
        """The same route as FastAPI would describe it: only for the OpenAPI document."""
        return APIRoute(
            PATH,
            self.documented,
            methods=["POST"],
            openapi_extra=REPORT.documented(),
            response_model=StatefulReply | DecisionRecord,
            responses=problems(
                ProblemCode.RUN_NOT_FOUND,
                ProblemCode.EPOCH_CONFLICT,
                ProblemCode.STALE_EPOCH,
                ProblemCode.ATTEMPT_CONFLICT,
                ProblemCode.RUN_COMPLETED,
                ProblemCode.MODEL_REJECTED,
                ProblemCode.INVALID_REPORT,
                ProblemCode.UNKNOWN_BLUEPRINT,
                ProblemCode.UNKNOWN_COMMAND,
            ),
            tags=["trainers"],
            summary="Report an epoch, get the decision",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            run_id = require_run_id(scope["path_params"]["run_id"])
            # Every key is for reports; only whose run it is remains to be asked.
            caller_of(scope).require_run(run_id)
            options = _options(scope["query_string"]) if scope["query_string"] else _NO_OPTIONS
            ticket = scope.pop(TICKET, None)
            body, replayed = await self._answer(run_id, await _body(receive), options, ticket)
        except (TamiyoError, ValidationError) as error:
            document = problem_of(error, ProblemCode.INVALID_REPORT)
            response = problem_response(document, refusal_headers(error))
            await response(scope, receive, send)
        except ClientDisconnect:
            # Nobody listens, and nothing was begun.
            return
        else:
            await _send(send, body, replayed=replayed)

    def take(self, scope: Scope, body: bytes) -> Ticket | None:
        """Have a report decided that comes without options; None: serve the request as any other."""
        run_id = scope["path_params"]["run_id"]
        # No run has another id: what is wrong with it needs no looking into.
        return self._intake.take(run_id, body) if caller_of(scope).may_touch(run_id) else None

    def answer(self, ticket: Ticket) -> bytes:
        """The reply to a report that was taken and decided."""
        assert ticket.reply is not None
        self._seconds.observe(time.perf_counter() - ticket.began)
        return ticket.reply.body.encode()

    async def documented(
        self, run_id: RunIdPath, report: ReportBody, options: Annotated[EpochOptions, Query()]
    ) -> None:
        """Report what an epoch measured; the answer says what to do, and is durable before it is sent.

        The same epoch with the same content gets the same bytes again, marked `Tamiyo-Replayed: true`.
        With `explain` the answer is the DecisionRecord; with `snapshot` it has the run's `state` besides.
        """

    async def _answer(
        self, run_id: str, body: bytes, options: EpochOptions, ticket: Ticket | None
    ) -> tuple[bytes, bool]:
        began = time.perf_counter() if ticket is None else ticket.began
        reply = await self._intake.report(
            run_id, body, create=options.create, backfill=options.backfill, ticket=ticket
        )
        self._seconds.observe(time.perf_counter() - began)
        if options.explain or options.snapshot:
            return await self._extended(run_id, reply, options), reply.replayed
        return reply.body.encode(), reply.replayed

    async def _extended(self, run_id: str, reply: Reply, options: EpochOptions) -> bytes:
        body = reply.body
        if options.explain:
            run = await self._history.run(run_id)
            record = await self._history.record(run, reply.key.epoch, reply.key.attempt)
            body = record.model_dump_json()
        if options.snapshot:
            body = f'{body[:-1]},"state":{await self._history.state_after(reply.key)}}}'
        return body.encode()


async def _send(send: Send, body: bytes, *, replayed: bool) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body))]
    if replayed:
        headers.append(_REPLAYED)
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _options(query: bytes) -> EpochOptions:
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    options = dict(given)
    try:
        if len(options) < len(given):
            raise InvalidQueryError(f"each parameter may be given once; {_TAKES}")
        return EpochOptions.model_validate(options)
    except ValidationError as error:
        fault = field_errors(error)[0]
        raise InvalidQueryError(f"{fault.field} {fault.message}; {_TAKES}", field=fault.field) from error
