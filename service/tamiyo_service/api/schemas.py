"""Shapes of the HTTP interface that Leyline does not have, and how refusals are documented."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from tamiyo_leyline import DecisionReply, ProblemCode
from tamiyo_leyline.api import MAX_BATCH_REPORTS, BatchItem
from tamiyo_leyline.fields import RUN_ID_PATTERN, CommandId, Request
from tamiyo_leyline.problem import PROBLEM_MEDIA_TYPE, STATUS_OF

from tamiyo_service.errors import InvalidRunIdError

_RUN_ID: Final = re.compile(RUN_ID_PATTERN)
_DOT_SEGMENTS: Final = frozenset({".", ".."})
"""No URL can address them: every client resolves them against the path."""
_RUN_ID_RULE: Final = (
    "a run id has 1–128 letters, digits, dots, underscores, colons and hyphens, no slash, and is not . or .."
)
_ANYWHERE: Final = (
    ProblemCode.INVALID_RUN_ID,
    ProblemCode.INVALID_QUERY,
    ProblemCode.PAYLOAD_TOO_LARGE,
    ProblemCode.UNAUTHORIZED,
    ProblemCode.FORBIDDEN,
    ProblemCode.RATE_LIMITED,
    ProblemCode.LEYLINE_MISMATCH,
    ProblemCode.OVERLOADED,
    ProblemCode.STORE_UNAVAILABLE,
    ProblemCode.SHUTTING_DOWN,
    ProblemCode.INTERNAL_ERROR,
)
_WITH_BODY: Final = (
    ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    ProblemCode.INVALID_REQUEST,
)


class StatefulReply(DecisionReply):
    """Answer to an epoch report."""

    model_config = ConfigDict(title="DecisionReply")

    state: list[Any] | None = Field(
        None, description="With `snapshot=true`: the run's state after the report; otherwise absent."
    )


class BatchRequest(Request):
    """Body of ``POST /epochs``."""

    reports: Annotated[tuple[BatchItem, ...], Field(max_length=MAX_BATCH_REPORTS, strict=False)] = Field(
        description="Reports of any runs; those of one run are applied in this order."
    )


def is_run_id(text: str) -> bool:
    """Whether a text is a run id."""
    return _RUN_ID.fullmatch(text) is not None and text not in _DOT_SEGMENTS


def require_run_id(text: str) -> str:
    """The text, if it is a run id.

    Raises:
        InvalidRunIdError: if it is none.
    """
    if not is_run_id(text):
        raise InvalidRunIdError(_RUN_ID_RULE, field="run_id")
    return text


RunIdPath = Annotated[
    str,
    AfterValidator(require_run_id),
    Path(description="Id of the run.", json_schema_extra={"pattern": RUN_ID_PATTERN}),
]


def _like_a_command_id(schema: dict[str, Any]) -> None:
    schema.update(TypeAdapter(CommandId).json_schema())


CommandIdPath = Annotated[str, Path(description="Id of the command.", json_schema_extra=_like_a_command_id)]
"""Checked with the rest of the outcome."""


def problems(*codes: ProblemCode, body: bool = True) -> dict[int | str, dict[str, Any]]:
    """How a route documents what it may refuse: by status, with the codes that have it.

    Args:
        codes: besides those that any route may answer with.
        body: whether the route takes a body.
    """
    by_status: dict[int, list[str]] = {}
    for code in _unique((*codes, *_ANYWHERE, *(_WITH_BODY if body else ()))):
        by_status.setdefault(STATUS_OF[code], []).append(code.value)
    return {status: _documented(status, by_status[status]) for status in sorted(by_status)}


def _unique(codes: Iterable[ProblemCode]) -> list[ProblemCode]:
    return list(dict.fromkeys(codes))


def _documented(status: int, codes: list[str]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    documented: dict[str, Any] = {
        "description": f"Refused: {', '.join(codes)}.",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
    }
    if status in (429, 503):
        seconds = {"schema": {"type": "integer"}, "description": "Seconds after which to try again."}
        documented["headers"] = {"Retry-After": seconds}
    return documented
