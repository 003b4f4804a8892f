"""Reading what came back: a typed answer, or a typed error."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, TypeVar

from pydantic import BaseModel, Field, ValidationError
from tamiyo_leyline import LEYLINE_VERSION, DecisionReply, Problem
from tamiyo_leyline.api import LEYLINE_HEADER, REPLAYED_HEADER
from tamiyo_leyline.fields import Answer
from tamiyo_leyline.problem import PROBLEM_MEDIA_TYPE
from tamiyo_leyline.validation import printable

from tamiyo_client.errors import (
    ERROR_OF,
    ERROR_OF_STATUS,
    InvalidRequestError,
    LeylineMismatchError,
    ProtocolError,
    RateLimitedError,
    ServiceBusyError,
    ServiceFaultError,
    ServiceUnreachableError,
    TamiyoError,
)
from tamiyo_client.wire import Response

Schema = TypeVar("Schema", bound=BaseModel)

_MAJOR: Final = LEYLINE_VERSION.partition(".")[0]
_JSON: Final = frozenset({"application/json", ""})
"""A proxy may have taken the content type off; what the body has to hold is checked anyway."""
_GATEWAY_TROUBLE: Final = frozenset({408, 502, 503, 504})
"""What a proxy says, without a problem document, when the service behind it does not answer."""


class EpochAnswer(DecisionReply):
    """Answer to an epoch report, with the warnings that an explained one carries."""

    warnings: tuple[str, ...] = Field((), description="What looked wrong in the report.")


class UnknownProblem(Answer):
    """A problem document whose code this version does not know."""

    code: str = Field("unknown", description="Its code.")
    detail: str = Field("", description="What is wrong.")


def read(response: Response, schema: type[Schema]) -> Schema:
    """The answer as a `schema`.

    Raises:
        TamiyoError: what the service (or something in between) said instead; see `errors`.
    """
    require_success(response)
    kind = response.headers.get("content-type", "no content type")
    strange = ProtocolError(
        f"the answer is no {schema.__name__} but {len(response.body)} bytes of {printable(kind[:60])}"
        f"{_encoding(response)}"
    )
    if _media_type(response) not in _JSON:
        raise strange
    try:
        return schema.model_validate_json(response.body)
    except ValidationError as error:
        raise strange from error


def require_success(response: Response) -> None:
    """Pass a response with a 2xx status in a version of the wire that this client reads.

    An answer without the version header passes: a proxy may have taken it off, and what the body has to
    hold is checked anyway.

    Raises:
        TamiyoError: what the service (or something in between) said instead.
    """
    spoken = response.headers.get(LEYLINE_HEADER.lower())
    if spoken is not None and spoken.partition(".")[0].strip() != _MAJOR:
        raise LeylineMismatchError(
            f"the service speaks Leyline {printable(spoken[:20])}, this client {LEYLINE_VERSION}; "
            f"upgrade the older one"
        )
    if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        raise _error(response)


def require_no_content(response: Response) -> None:
    """Pass the answer to a removal, which is 204: a 200 is somebody else's.

    Raises:
        TamiyoError: what the service (or something in between) said instead.
    """
    require_success(response)
    if response.status != HTTPStatus.NO_CONTENT:
        raise ProtocolError(f"asked to remove something, answered with status {response.status}")


def is_replayed(response: Response) -> bool:
    """Whether the service had given this answer before."""
    return response.headers.get(REPLAYED_HEADER.lower(), "").lower() == "true"


def _error(response: Response) -> TamiyoError:
    if _media_type(response) != PROBLEM_MEDIA_TYPE:
        return _foreign_error(response)
    try:
        problem = Problem.model_validate_json(response.body)
    except ValidationError:
        return _unknown_problem(response)
    further = (error for error in problem.errors if error.message not in problem.detail)
    errors = "".join(f"; {error.field}: {error.message}" for error in further)
    message = f"{problem.code.value}: {problem.detail}{errors}"
    if problem.error_id is not None:
        message += f" (error id {problem.error_id})"
    return _make(ERROR_OF[problem.code], message, response, problem)


def _encoding(response: Response) -> str:
    encoding = response.headers.get("content-encoding", "identity")
    told = f", {printable(encoding[:20])}-encoded by something in between: it was not asked to be"
    return "" if encoding == "identity" else told


def _media_type(response: Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _foreign_error(response: Response) -> TamiyoError:
    status = response.status
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _make(RateLimitedError, f"status {status}", response)
    if "retry-after" in response.headers and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _make(ServiceBusyError, f"status {status}", response)
    if status in _GATEWAY_TROUBLE:
        return ServiceUnreachableError(f"a gateway in front of the service answered {status}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServiceFaultError(f"the service failed with status {status}")
    return ProtocolError(f"status {status} without a problem document; {_remedy(response)}")


def _remedy(response: Response) -> str:
    if response.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "the proxy wants a name and password: put them into HTTP_PROXY or HTTPS_PROXY"
    if HTTPStatus(300) <= response.status < HTTPStatus(400) and "location" in response.headers:
        return f"it points to {printable(response.headers['location'][:200])}: is that the base_url?"
    return "is there a Tamiyo at this address?"


def _unknown_problem(response: Response) -> TamiyoError:
    try:
        problem = UnknownProblem.model_validate_json(response.body)
    except ValidationError:
        return _foreign_error(response)
    fallback = (
        InvalidRequestError if response.status < HTTPStatus.INTERNAL_SERVER_ERROR else ServiceFaultError
    )
    kind = ERROR_OF_STATUS.get(response.status, fallback)
    return _make(kind, f"{printable(problem.code[:60])}: {problem.detail}", response)


def _make(
    kind: type[TamiyoError], message: str, response: Response, problem: Problem | None = None
) -> TamiyoError:
    if issubclass(kind, ServiceBusyError):
        return kind(message, problem=problem, retry_after_s=retry_after_s(response))
    return kind(message, problem=problem)


def retry_after_s(response: Response) -> float:
    """Seconds the service asks to wait; 0.0 where it names none, or a date (which needs agreeing clocks)."""
    text = response.headers.get("retry-after", "").strip()
    return float(text) if text.isdecimal() and len(text) < 10 else 0.0
