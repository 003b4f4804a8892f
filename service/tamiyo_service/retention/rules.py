"""When a run expires."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tamiyo_service.clock import to_micros
from tamiyo_service.store.expired import Cutoffs


@dataclass(frozen=True)
class Rules:
    """How long runs are kept after the last thing that reached them. None: for ever.

    What reaches a run is its creation, a report, an outcome, a rewind, a hold or its release, its completion,
    and what its trainer decided by itself.

    Attributes:
        completed_for: completed runs.
        silent_for: all others.
    """

    completed_for: timedelta | None = None
    silent_for: timedelta | None = None

    @property
    def any(self) -> bool:
        """Whether any run ever expires."""
        return self.completed_for is not None or self.silent_for is not None

    def cutoffs(self, now: datetime) -> Cutoffs:
        """Which runs have expired by now."""
        return Cutoffs(_ago(now, self.completed_for), _ago(now, self.silent_for))


def _ago(now: datetime, duration: timedelta | None) -> int | None:
    return None if duration is None else to_micros(now) - duration // timedelta(microseconds=1)
