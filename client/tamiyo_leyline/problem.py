"""Refusals: RFC 9457 problem documents with a stable code."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from tamiyo_leyline.fields import Answer


class ProblemCode(StrEnum):
    """Every reason the service may refuse a request."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RUN_NOT_FOUND = "run_not_found"
    DECISION_NOT_FOUND = "decision_not_found"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    RUN_EXISTS = "run_exists"
    EPOCH_CONFLICT = "epoch_conflict"
    STALE_EPOCH = "stale_epoch"
    ATTEMPT_CONFLICT = "attempt_conflict"
    RUN_COMPLETED = "run_completed"
    MODEL_REJECTED = "model_rejected"
    INVALID_REPORT = "invalid_report"
    INVALID_CONFIG = "invalid_config"
    INVALID_QUERY = "invalid_query"
    INVALID_RUN_ID = "invalid_run_id"
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_TOPOLOGY = "unknown_topology"
    UNKNOWN_BLUEPRINT = "unknown_blueprint"
    UNKNOWN_COMMAND = "unknown_command"
    NO_ARTIFACT = "no_artifact"
    LEYLINE_MISMATCH = "leyline_mismatch"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL_ERROR = "internal_error"


STATUS_OF: Final[dict[ProblemCode, int]] = {
    ProblemCode.UNAUTHORIZED: 401,
    ProblemCode.FORBIDDEN: 403,
    ProblemCode.RUN_NOT_FOUND: 404,
    ProblemCode.DECISION_NOT_FOUND: 404,
    ProblemCode.MODEL_NOT_FOUND: 404,
    ProblemCode.NOT_FOUND: 404,
    ProblemCode.METHOD_NOT_ALLOWED: 405,
    ProblemCode.PAYLOAD_TOO_LARGE: 413,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ProblemCode.RUN_EXISTS: 409,
    ProblemCode.EPOCH_CONFLICT: 409,
    ProblemCode.STALE_EPOCH: 409,
    ProblemCode.ATTEMPT_CONFLICT: 409,
    ProblemCode.RUN_COMPLETED: 409,
    ProblemCode.MODEL_REJECTED: 409,
    ProblemCode.INVALID_REPORT: 422,
    ProblemCode.INVALID_CONFIG: 422,
    ProblemCode.INVALID_QUERY: 422,
    ProblemCode.INVALID_RUN_ID: 422,
    ProblemCode.INVALID_REQUEST: 422,
    ProblemCode.UNKNOWN_TOPOLOGY: 422,
    ProblemCode.UNKNOWN_BLUEPRINT: 422,
    ProblemCode.UNKNOWN_COMMAND: 422,
    ProblemCode.NO_ARTIFACT: 422,
    ProblemCode.LEYLINE_MISMATCH: 422,
    ProblemCode.RATE_LIMITED: 429,
    ProblemCode.OVERLOADED: 503,
    ProblemCode.STORE_UNAVAILABLE: 503,
    ProblemCode.SHUTTING_DOWN: 503,
    ProblemCode.INTERNAL_ERROR: 500,
}
"""HTTP status of every code."""

RETRYABLE: Final = frozenset(
    {
        ProblemCode.RATE_LIMITED,
        ProblemCode.OVERLOADED,
        ProblemCode.STORE_UNAVAILABLE,
        ProblemCode.SHUTTING_DOWN,
    }
)
"""Codes that come with Retry-After: the same request may succeed later."""

PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


class FieldError(Answer):
    """One field at fault."""

    field: str = Field(description="Path of the field, such as seeds.0.alpha; empty for the whole body.")
    message: str = Field(description="What is wrong and what would be right.")


class Problem(Answer):
    """Why a request was refused, and what to do about it."""

    type: str = Field("about:blank", description="URI of the kind of problem.")
    title: str = Field(description="The kind of problem in a few words.")
    status: int = Field(description="HTTP status.")
    detail: str = Field(description="What is wrong and what would be right.")
    code: ProblemCode = Field(description="Stable code for programs.")
    errors: tuple[FieldError, ...] = Field((), description="The fields at fault.")
    error_id: str | None = Field(None, description="For internal_error: the id the service's log knows.")
