"""What a trainer embeds to ask Tamiyo what to do after every epoch.

::

    with TamiyoClient("http://tamiyo:8000") as client, client.run("resnet-7", topology="cnn") as run:
        for epoch in range(epochs):
            ...  # train, validate
            decision = run.epoch(epoch=epoch, val_loss=loss, val_accuracy=accuracy, available_slots=1)
            for command in decision.commands:
                ...  # carry it out
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tamiyo_client.decision import Decision
from tamiyo_client.errors import (
    AttemptConflictError,
    ClientClosedError,
    ClientFaultError,
    ConflictError,
    DeadlineExceededError,
    EpochConflictError,
    ForbiddenError,
    InvalidRequestError,
    LeylineMismatchError,
    NotAskedError,
    NotFoundError,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    ResumeRequiredError,
    RunCompletedError,
    RunExistsError,
    RunNotFoundError,
    ServiceBusyError,
    ServiceFaultError,
    ServiceUnreachableError,
    SilenceError,
    StaleEpochError,
    TamiyoError,
    UnauthorizedError,
    UsageError,
)
from tamiyo_client.fallback import Fallback
from tamiyo_client.measurements import EpochMeasurements
from tamiyo_client.plan import Rewind
from tamiyo_client.settings import NetworkSettings, RetrySettings
from tamiyo_client.sync_client import Run, TamiyoClient

if TYPE_CHECKING:
    from tamiyo_client.async_client import AsyncRun, AsyncTamiyoClient

__all__ = [
    "AsyncRun",
    "AsyncTamiyoClient",
    "AttemptConflictError",
    "ClientClosedError",
    "ClientFaultError",
    "ConflictError",
    "DeadlineExceededError",
    "Decision",
    "EpochConflictError",
    "EpochMeasurements",
    "Fallback",
    "ForbiddenError",
    "InvalidRequestError",
    "LeylineMismatchError",
    "NetworkSettings",
    "NotAskedError",
    "NotFoundError",
    "ProtocolError",
    "RateLimitedError",
    "RefusedError",
    "ResumeRequiredError",
    "RetrySettings",
    "Rewind",
    "Run",
    "RunCompletedError",
    "RunExistsError",
    "RunNotFoundError",
    "ServiceBusyError",
    "ServiceFaultError",
    "ServiceUnreachableError",
    "SilenceError",
    "StaleEpochError",
    "TamiyoClient",
    "TamiyoError",
    "UnauthorizedError",
    "UsageError",
]

_ASYNCHRONOUS = frozenset({"AsyncRun", "AsyncTamiyoClient"})


def __getattr__(name: str) -> Any:
    # asyncio is a good part of the import's time, and most trainings have no event loop.
    if name in _ASYNCHRONOUS:
        from tamiyo_client import async_client

        return getattr(async_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
