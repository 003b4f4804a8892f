"""What another policy would have done."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends
from pydantic import ValidationError
from starlette.responses import StreamingResponse
from starlette.types import Send
from tamiyo_leyline import ProblemCode
from tamiyo_leyline.replay import Replay, ReplayRequest

from tamiyo_service.api.bodies import JsonBody, UnreadableBodyError
from tamiyo_service.api.queries import NO_PARAMETERS
from tamiyo_service.api.schemas import RunIdPath, problems
from tamiyo_service.api.services import Wired
from tamiyo_service.errors import TamiyoError

router = APIRouter(tags=["history"])

REPLAY: Final = JsonBody(ReplayRequest, optional=True)
ReplayBody = Annotated[ReplayRequest, Depends(REPLAY)]

_CONTENT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Replay, "description": "The replay, sent as it is worked out."}
}
_LOG: Final = structlog.get_logger(__name__)


class ReplayResponse(StreamingResponse):
    """Sends a replay while it is worked out, and works no further when its caller has gone.

    Args:
        pieces: of its JSON.
    """

    media_type = "application/json"

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        super().__init__(pieces, headers={"Cache-Control": "no-store"})
        self._pieces = pieces

    async def stream_response(self, send: Send) -> None:
        """Send it. Where the store does not answer it stays incomplete, and the caller sees that."""
        async with aclosing(self._pieces):
            try:
                await super().stream_response(send)
            except TamiyoError as error:
                _LOG.error("replay_broken_off", error=error.message)


@router.post(
    "/runs/{run_id}/replay",
    dependencies=NO_PARAMETERS,
    openapi_extra=REPLAY.documented(),
    response_class=StreamingResponse,
    responses=_CONTENT
    | problems(
        ProblemCode.RUN_NOT_FOUND,
        ProblemCode.MODEL_REJECTED,
        ProblemCode.INVALID_CONFIG,
        ProblemCode.NO_ARTIFACT,
        ProblemCode.UNKNOWN_BLUEPRINT,
    ),
)
async def replay_run(run_id: RunIdPath, request: ReplayBody, services: Wired) -> ReplayResponse:
    """Decide the reports of a run again, with another policy or other settings; nothing is stored.

    What follows a structural divergence is open-loop: the trainer obeyed what the run decided.
    """
    run = await services.history.run(run_id)
    try:
        prepared = await services.replays.prepare(run, request)
    except ValidationError as error:
        raise UnreadableBodyError(error, ProblemCode.INVALID_CONFIG) from error
    return ReplayResponse(services.replays.pieces(prepared))
