"""A clock that the tests move."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SteppingClock:
    """Starts at noon of 2026-01-01 and moves one second with every look at it."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
