"""What can go wrong between a trainer and Tamiyo, and what the caller does next.

::

    TamiyoError
    ├── UsageError                  the call itself is wrong, nothing was sent: stop, mend the code
    │   ├── ResumeRequiredError     the run has a history: say how to resume it, or choose another id
    │   └── ClientClosedError       the client was closed: make a new one
    ├── SilenceError                no answer: fall back now; the same request may be sent again later
    │   ├── DeadlineExceededError   nothing (complete) came in time
    │   ├── ServiceUnreachableError no connection, or it broke
    │   ├── ServiceBusyError        the service asks for a pause: retry after `retry_after_s`
    │   │   └── RateLimitedError    it asks this run for one, which reports too often
    │   ├── ServiceFaultError       the service failed: fall back, report `problem.error_id`
    │   └── NotAskedError           the service has been silent too long to be asked again already
    ├── ProtocolError               an answer came that is not Tamiyo's: fall back, check the address
    │   └── LeylineMismatchError    the other side speaks another major version: upgrade one of the two
    ├── ClientFaultError            the client itself failed: fall back, and report the bug
    └── RefusedError                the service understood and refused: sending the same again is useless
        ├── UnauthorizedError       no (valid) API key: stop, give the right one
        ├── ForbiddenError          the key may not do this: stop, ask the operator
        ├── NotFoundError           no such thing
        │   └── RunNotFoundError    no such run: it was removed, or the id is wrong
        ├── ConflictError           it contradicts what the service knows
        │   ├── RunExistsError      the run has another configuration: use another id, or that configuration
        │   ├── EpochConflictError  this epoch was reported with other content: rewind before repeating it
        │   ├── StaleEpochError     the run is already past this epoch: rewind, or go on after its last one
        │   ├── AttemptConflictError  the attempt is not the run's current one: resume with a rewind
        │   └── RunCompletedError   the run is over: rewind to reopen it, or start another
        └── InvalidRequestError     the content is wrong: mend the fields that `problem.errors` names

Nothing outside this tree leaves the client, but for a `TypeError` on a misspelt keyword.
"""

from __future__ import annotations

from typing import ClassVar, Final

from tamiyo_leyline import Problem, ProblemCode


class TamiyoError(Exception):
    """Root of everything the client raises. Next: see the subclass.

    Attributes:
        problem: what the service said, where it said so as a problem document; else None.
    """

    may_retry: ClassVar[bool] = False
    """Whether the very same request may succeed a moment later."""

    def __init__(self, message: str, *, problem: Problem | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class UsageError(TamiyoError):
    """The call itself is wrong and nothing was sent. Next: stop and mend the code."""


class ResumeRequiredError(UsageError):
    """The run has a history already. Next: pass `resume=`, or choose another run id."""


class ClientClosedError(UsageError):
    """The client or run was closed. Next: make a new one."""


class SilenceError(TamiyoError):
    """No usable answer came. Next: fall back now; the same request may be sent again later."""


class DeadlineExceededError(SilenceError):
    """Nothing, or nothing complete, came in time. Next: fall back; the service may have acted even so."""


class ServiceUnreachableError(SilenceError):
    """No connection could be made, or it broke. Next: retry, then fall back; check address and network."""

    may_retry = True


class ServiceBusyError(SilenceError):
    """The service asks for a pause (503). Next: retry after `retry_after_s`, until then fall back.

    Attributes:
        retry_after_s: seconds the service asked to wait; 0.0 where it named none.
    """

    may_retry = True

    def __init__(self, message: str, *, problem: Problem | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(message, problem=problem)
        self.retry_after_s = retry_after_s


class RateLimitedError(ServiceBusyError):
    """This run, or its key, reports more often than it may (429). Next: as above; other runs go on."""


class ServiceFaultError(SilenceError):
    """The service failed (500). Next: fall back; tell its operator `problem.error_id`, its log knows it."""


class NotAskedError(SilenceError):
    """The service has been silent, so it was not asked again yet. Next: fall back; the client asks later."""


class ProtocolError(TamiyoError):
    """An answer came that is not Tamiyo's, or not to this question. Next: fall back; check the address."""


class LeylineMismatchError(ProtocolError):
    """The two sides speak different major versions. Next: stop asking; upgrade the older side."""


class ClientFaultError(TamiyoError):
    """The client itself failed. Next: fall back; report the traceback that was logged."""


class RefusedError(TamiyoError):
    """The service understood and refused. Next: do not repeat the request; read the message."""


class UnauthorizedError(RefusedError):
    """No API key, or not a valid one. Next: stop; pass the right `api_key`."""


class ForbiddenError(RefusedError):
    """The key is valid but may not do this. Next: stop; ask the operator for the right."""


class NotFoundError(RefusedError):
    """There is no such thing. Next: check the name."""


class RunNotFoundError(NotFoundError):
    """There is no such run. Next: check the id; if an operator removed the run, start another."""


class ConflictError(RefusedError):
    """The request contradicts what the service knows. Next: look at the run, then decide."""


class RunExistsError(ConflictError):
    """The run exists with another configuration. Next: choose another id, or use that configuration."""


class EpochConflictError(ConflictError):
    """This epoch was reported before with other content. Next: rewind before training an epoch again."""


class StaleEpochError(ConflictError):
    """The run is past this epoch. Next: rewind to the checkpoint, or go on after the run's last epoch."""


class AttemptConflictError(ConflictError):
    """Another attempt of the run is current. Next: stop if another trainer has it, or rewind."""


class RunCompletedError(ConflictError):
    """The run is over. Next: rewind, which reopens it, or start another run."""


class InvalidRequestError(RefusedError):
    """The content is wrong. Next: mend the fields that the message and `problem.errors` name."""


ERROR_OF: Final[dict[ProblemCode, type[TamiyoError]]] = {
    ProblemCode.UNAUTHORIZED: UnauthorizedError,
    ProblemCode.FORBIDDEN: ForbiddenError,
    ProblemCode.RUN_NOT_FOUND: RunNotFoundError,
    ProblemCode.DECISION_NOT_FOUND: NotFoundError,
    ProblemCode.MODEL_NOT_FOUND: NotFoundError,
    ProblemCode.NOT_FOUND: NotFoundError,
    ProblemCode.METHOD_NOT_ALLOWED: InvalidRequestError,
    ProblemCode.PAYLOAD_TOO_LARGE: InvalidRequestError,
    ProblemCode.UNSUPPORTED_MEDIA_TYPE: InvalidRequestError,
    ProblemCode.RUN_EXISTS: RunExistsError,
    ProblemCode.EPOCH_CONFLICT: EpochConflictError,
    ProblemCode.STALE_EPOCH: StaleEpochError,
    ProblemCode.ATTEMPT_CONFLICT: AttemptConflictError,
    ProblemCode.RUN_COMPLETED: RunCompletedError,
    ProblemCode.MODEL_REJECTED: ConflictError,
    ProblemCode.INVALID_REPORT: InvalidRequestError,
    ProblemCode.INVALID_CONFIG: InvalidRequestError,
    ProblemCode.INVALID_QUERY: InvalidRequestError,
    ProblemCode.INVALID_RUN_ID: InvalidRequestError,
    ProblemCode.INVALID_REQUEST: InvalidRequestError,
    ProblemCode.UNKNOWN_TOPOLOGY: InvalidRequestError,
    ProblemCode.UNKNOWN_BLUEPRINT: InvalidRequestError,
    ProblemCode.UNKNOWN_COMMAND: InvalidRequestError,
    ProblemCode.NO_ARTIFACT: InvalidRequestError,
    ProblemCode.LEYLINE_MISMATCH: LeylineMismatchError,
    ProblemCode.RATE_LIMITED: RateLimitedError,
    ProblemCode.OVERLOADED: ServiceBusyError,
    ProblemCode.STORE_UNAVAILABLE: ServiceBusyError,
    ProblemCode.SHUTTING_DOWN: ServiceBusyError,
    ProblemCode.INTERNAL_ERROR: ServiceFaultError,
}
"""The error of every code the service may refuse with."""

ERROR_OF_STATUS: Final[dict[int, type[TamiyoError]]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: RateLimitedError,
    500: ServiceFaultError,
    503: ServiceBusyError,
}
"""The error of a problem document whose code this version does not know, by its status."""
