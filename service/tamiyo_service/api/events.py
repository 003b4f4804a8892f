"""Live streams of what happens, as server-sent events."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.api import LiveEvent
from tamiyo_leyline.fields import MAX_LABELS
from tamiyo_leyline.validation import echoed

from tamiyo_service.api.calling import Calling, digest_of_caller
from tamiyo_service.api.queries import Label
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Services, Wired
from tamiyo_service.errors import InvalidQueryError
from tamiyo_service.live.happenings import TYPES
from tamiyo_service.live.marks import Mark, parse_mark
from tamiyo_service.live.response import LiveResponse
from tamiyo_service.live.stream import Stream
from tamiyo_service.live.subscription import Wanted

router = APIRouter(tags=["live"])

_BY_FOLDED: Final = {kind.lower(): kind for kind in TYPES}
_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events until the caller leaves; the data of each is a LiveEvent.",
        "model": LiveEvent,
    }
}


def _known_type(name: str) -> str:
    known = _BY_FOLDED.get(name.lower())
    if known is None:
        raise ValueError(f"must be one of {', '.join(TYPES)}")
    return known


TypeName = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(TYPES)})]


class EventQuery(BaseModel):
    """Which events of one run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: list[TypeName] = Field(
        [], max_length=len(TYPES), description=f"{', '.join(TYPES)}; repeated: any of them."
    )
    since_id: str | None = Field(
        None,
        description="Begin after the event of this id, 0: with the first there is; absent: with what is yet "
        "to happen. The header Last-Event-ID goes before it.",
    )


class AllEventsQuery(EventQuery):
    """Which events of all runs."""

    label: list[Label] = Field(
        [],
        max_length=MAX_LABELS,
        description="Of runs with this label, `key:value`; repeated: all must match.",
    )


LastEventId = Annotated[str | None, Header(description="Id of the last event received.")]


@router.get(
    "/events", responses=_CONTENT | problems(body=False), status_code=200, response_class=LiveResponse
)
async def follow_all(
    request: Request,
    query: Annotated[AllEventsQuery, Query()],
    services: Wired,
    calling: Calling,
    last_event_id: LastEventId = None,
) -> LiveResponse:
    """Follow what happens in all runs."""
    pairs = (label.partition(":") for label in query.label)
    labels = tuple((key, value) for key, _, value in pairs)
    wanted = Wanted(types=frozenset(query.type), labels=labels, prefixes=calling.prefixes)
    return await _follow(request, services, wanted, _mark(query, last_event_id), None)


@router.get(
    "/runs/{run_id}/events",
    responses=_CONTENT | problems(ProblemCode.RUN_NOT_FOUND, body=False),
    status_code=200,
    response_class=LiveResponse,
)
async def follow_run(
    request: Request,
    run_id: RunIdPath,
    query: Annotated[EventQuery, Query()],
    services: Wired,
    last_event_id: LastEventId = None,
) -> LiveResponse:
    """Follow what happens in one run."""
    run = await services.history.run(run_id)
    wanted = Wanted(run.run_pk, frozenset(query.type))
    return await _follow(request, services, wanted, _mark(query, last_event_id), run_id)


async def _follow(
    request: Request, services: Services, wanted: Wanted, mark: Mark | None, run_id: str | None
) -> LiveResponse:
    digest = digest_of_caller(request)

    async def admitted() -> bool:
        return services.ring is None or await services.ring.find(digest) is not None

    async def exists() -> bool:
        if run_id is None:
            return True
        run = await services.store.run(run_id)
        return run is not None and run.run_pk == wanted.run_pk

    start = await services.live.reader.start(mark)
    services.live.take_seat()
    stream = Stream(services.live, wanted, start, exists, admitted)
    return LiveResponse(stream.frames(), services.live.leave_seat)


def _mark(query: EventQuery, last_event_id: str | None) -> Mark | None:
    """Where to begin.

    Raises:
        InvalidQueryError: if the id is none.
    """
    # An empty header is what a browser has before the first event.
    text, field = (last_event_id, "last-event-id") if last_event_id else (query.since_id, "since_id")
    if text is None:
        return None
    mark = parse_mark(text.strip())
    if mark is None:
        message = f"{field} is no id of an event, got {echoed(text)}; send back one as it came"
        raise InvalidQueryError(message, field=field)
    return mark
