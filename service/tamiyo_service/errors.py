"""What can go wrong, in the service's own terms; `api.errors` gives each its HTTP face.

::

    TamiyoError
    ├── NotFoundError         RunNotFoundError, DecisionNotFoundError, ModelNotFoundError
    ├── ConflictError         RunExistsError, EpochConflictError, StaleEpochError, AttemptConflictError,
    │                         RunCompletedError, PolicyUnavailableError, ModelRejectedError
    ├── InvalidError          InvalidReportError, InvalidConfigError, InvalidQueryError, InvalidRunIdError,
    │                         InvalidRequestError, UnknownBlueprintError, UnknownCommandError,
    │                         NoArtifactError, LeylineMismatchError, PayloadTooLargeError,
    │                         UnsupportedMediaTypeError, ForeignOriginError
    ├── DeniedError           UnauthorizedError, ForbiddenError
    ├── UnavailableError      RateLimitedError, OverloadedError, StoreUnavailableError, ShuttingDownError
    ├── VersionConflictError  (never leaves the service: another process advanced the run)
    ├── ExplanationError      a stored decision and its recomputation differ
    └── DefectError           one report of a batch met a defect; the others have their replies
"""

from __future__ import annotations


class TamiyoError(Exception):
    """Something the service refuses or cannot do.

    Args:
        message: what is wrong and what would be right, for the person who has to mend it.
        field: path of the field at fault, empty when it is none.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class NotFoundError(TamiyoError):
    """The thing named does not exist: create it, or correct the name."""


class RunNotFoundError(NotFoundError):
    """No such run: create it with PUT /runs/{id}."""


class DecisionNotFoundError(NotFoundError):
    """The run never reported that epoch."""


class ModelNotFoundError(NotFoundError):
    """There is no such model: put its artifact into TAMIYO_MODELS, or correct the name."""


class ConflictError(TamiyoError):
    """The request contradicts what is stored: do not repeat it as it is."""


class RunExistsError(ConflictError):
    """The run exists with another configuration: use it as it is, or choose another id."""


class EpochConflictError(ConflictError):
    """The epoch was reported before with other content: the first report stands."""


class StaleEpochError(ConflictError):
    """The epoch is older than the last one and was never seen: rewind, or go on with a later one."""


class AttemptConflictError(ConflictError):
    """No rewind opened that attempt: rewind first, or report under the current attempt."""


class RunCompletedError(ConflictError):
    """The run is over: rewind to reopen it, or start another run."""


class PolicyUnavailableError(ConflictError):
    """The run's policy is not installed here, or not in its version: install it and restart the service."""


class ModelRejectedError(ConflictError):
    """A model's artifact cannot be used, and the message says why: what served before goes on serving."""


class InvalidError(TamiyoError):
    """The request is malformed: correct it before sending it again."""


class InvalidReportError(InvalidError):
    """The report breaks Leyline's rules."""


class InvalidConfigError(InvalidError):
    """The configuration breaks Leyline's rules or names a policy that is not installed."""


class InvalidQueryError(InvalidError):
    """A query parameter is unknown or has an invalid value."""


class InvalidRunIdError(InvalidError):
    """The run id has forbidden characters or a wrong length."""


class InvalidRequestError(InvalidError):
    """A body that is no report and no configuration is malformed."""


class UnknownBlueprintError(InvalidError):
    """A seed names a blueprint outside the run's topology."""


class UnknownCommandError(InvalidError):
    """An outcome names a command this run never issued."""


class NoArtifactError(InvalidError):
    """The learned policy has no artifact for the run's topology."""


class LeylineMismatchError(InvalidError):
    """The trainer speaks another major version of Leyline: upgrade the older side."""


class PayloadTooLargeError(InvalidError):
    """The body exceeds its limit: send less at a time."""


class UnsupportedMediaTypeError(InvalidError):
    """The body is not JSON: send application/json."""


class ForeignOriginError(InvalidError):
    """A browser sent the request for a page of another origin: only the own page may change anything."""


class DeniedError(TamiyoError):
    """Whoever calls may not do this: send the right key."""


class UnauthorizedError(DeniedError):
    """Nobody knows who calls: send a key that is known, not revoked and not expired."""


class ForbiddenError(DeniedError):
    """The key is known and not for this: use one of the scope, or of the runs, that the message names."""


class UnavailableError(TamiyoError):
    """The service cannot take the request now: send it again later, unchanged."""


class RateLimitedError(UnavailableError):
    """Too many requests: send it again after so many seconds.

    Args:
        message: what the limit is.
        seconds: until one more is taken.
    """

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class OverloadedError(UnavailableError):
    """More work waits than the service is allowed to hold."""


class StoreUnavailableError(UnavailableError):
    """The store did not take the write or did not answer; nothing was changed."""


class ShuttingDownError(UnavailableError):
    """The service stops: another instance, or this one after its restart, will answer."""


class VersionConflictError(TamiyoError):
    """Another process advanced the run first: load it again and repeat."""


class ExplanationError(TamiyoError):
    """Recomputing a stored decision gave other commands: a defect, or rules of another version."""


class DefectError(TamiyoError):
    """A defect of the service in answering one of many; its cause is what was raised."""


def no_such_run(run_id: str) -> RunNotFoundError:
    """The refusal of a run that is not there, or not there for the caller: nobody can tell which."""
    return RunNotFoundError(f"there is no run {run_id}; create it with PUT /runs/{run_id}")
