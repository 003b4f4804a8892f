"""The one table from the service's errors to problem documents, and how they travel."""

from __future__ import annotations

import math
import secrets
from typing import Final

import structlog
from pydantic import ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tamiyo_leyline import FieldError, Problem, ProblemCode
from tamiyo_leyline.problem import PROBLEM_MEDIA_TYPE, RETRYABLE, STATUS_OF
from tamiyo_leyline.validation import field_errors, problem_code

from tamiyo_service import errors

CODE_OF: Final[dict[type[errors.TamiyoError], ProblemCode]] = {
    errors.RunNotFoundError: ProblemCode.RUN_NOT_FOUND,
    errors.DecisionNotFoundError: ProblemCode.DECISION_NOT_FOUND,
    errors.ModelNotFoundError: ProblemCode.MODEL_NOT_FOUND,
    errors.RunExistsError: ProblemCode.RUN_EXISTS,
    errors.EpochConflictError: ProblemCode.EPOCH_CONFLICT,
    errors.StaleEpochError: ProblemCode.STALE_EPOCH,
    errors.AttemptConflictError: ProblemCode.ATTEMPT_CONFLICT,
    errors.RunCompletedError: ProblemCode.RUN_COMPLETED,
    errors.PolicyUnavailableError: ProblemCode.MODEL_REJECTED,
    errors.ModelRejectedError: ProblemCode.MODEL_REJECTED,
    errors.InvalidReportError: ProblemCode.INVALID_REPORT,
    errors.InvalidConfigError: ProblemCode.INVALID_CONFIG,
    errors.InvalidQueryError: ProblemCode.INVALID_QUERY,
    errors.InvalidRunIdError: ProblemCode.INVALID_RUN_ID,
    errors.InvalidRequestError: ProblemCode.INVALID_REQUEST,
    errors.UnknownBlueprintError: ProblemCode.UNKNOWN_BLUEPRINT,
    errors.UnknownCommandError: ProblemCode.UNKNOWN_COMMAND,
    errors.NoArtifactError: ProblemCode.NO_ARTIFACT,
    errors.LeylineMismatchError: ProblemCode.LEYLINE_MISMATCH,
    errors.PayloadTooLargeError: ProblemCode.PAYLOAD_TOO_LARGE,
    errors.UnsupportedMediaTypeError: ProblemCode.UNSUPPORTED_MEDIA_TYPE,
    errors.ForeignOriginError: ProblemCode.FORBIDDEN,
    errors.UnauthorizedError: ProblemCode.UNAUTHORIZED,
    errors.ForbiddenError: ProblemCode.FORBIDDEN,
    errors.RateLimitedError: ProblemCode.RATE_LIMITED,
    errors.OverloadedError: ProblemCode.OVERLOADED,
    errors.StoreUnavailableError: ProblemCode.STORE_UNAVAILABLE,
    errors.ShuttingDownError: ProblemCode.SHUTTING_DOWN,
    errors.VersionConflictError: ProblemCode.STORE_UNAVAILABLE,
    errors.ExplanationError: ProblemCode.INTERNAL_ERROR,
    errors.DefectError: ProblemCode.INTERNAL_ERROR,
}
"""Every error that may leave the service."""

RETRY_AFTER_SECONDS: Final = 1
"""What retryable refusals ask for: long enough for a flush, short enough for a training."""

REFUSED: Final = "tamiyo.refused"
"""Key of a request's scope: the code it was refused with."""
_SHOWN_IN_DETAIL: Final = 3
_LOG: Final = structlog.get_logger(__name__)


class ProblemResponse(Response):
    """A problem document on its way; its code is told to those the request came through."""

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, document: Problem, headers: dict[str, str]) -> None:
        super().__init__(document.model_dump_json(exclude_none=True), document.status, headers)
        self._code = document.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        scope[REFUSED] = self._code
        await super().__call__(scope, receive, send)


def problem(code: ProblemCode, detail: str, *faults: FieldError, error_id: str | None = None) -> Problem:
    """A problem document."""
    return Problem(
        title=code.value.replace("_", " ").capitalize(),
        status=STATUS_OF[code],
        detail=detail,
        code=code,
        errors=faults,
        error_id=error_id,
    )


def problem_of(error: errors.TamiyoError | ValidationError, default: ProblemCode) -> Problem:
    """The problem document of an error.

    Args:
        error: a refusal, or what pydantic says of an input.
        default: the code of a validation error that has none of its own.
    """
    if isinstance(error, ValidationError):
        return problem_of_faults(problem_code(error, default), field_errors(error))
    code = CODE_OF[type(error)]
    if code is ProblemCode.INTERNAL_ERROR:
        return internal_problem(error)
    faults = (FieldError(field=error.field, message=error.message),) if error.field else ()
    return problem(code, error.message, *faults)


def problem_of_faults(code: ProblemCode, faults: tuple[FieldError, ...]) -> Problem:
    """The problem document of an input with these faults; its detail names the first few."""
    shown = "; ".join(f"{fault.field} {fault.message}".strip() for fault in faults[:_SHOWN_IN_DETAIL])
    hidden = len(faults) - _SHOWN_IN_DETAIL
    return problem(code, shown + (f" (and {hidden} more)" if hidden > 0 else ""), *faults)


def internal_problem(error: Exception, run_id: str | None = None) -> Problem:
    """The problem document of a defect; the log knows the error under the same id, and the run's."""
    error_id = secrets.token_hex(8)
    about = {} if run_id is None else {"run": run_id}
    _LOG.error("internal_error", error_id=error_id, **about, exc_info=error)
    detail = f"the service failed; its log has the reason under error_id {error_id}"
    return problem(ProblemCode.INTERNAL_ERROR, detail, error_id=error_id)


def problem_response(document: Problem, headers: dict[str, str] | None = None) -> Response:
    """The problem as a response, with Retry-After where the same request may succeed later."""
    headers = dict(headers or {})
    if document.code in RETRYABLE:
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    if document.code is ProblemCode.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return ProblemResponse(document, headers)


def refusal_headers(error: Exception) -> dict[str, str]:
    """What the headers of the response to an error say besides: when a request too many may come again."""
    if isinstance(error, errors.RateLimitedError):
        return {"Retry-After": str(math.ceil(error.seconds))}
    return {}
