"""Waiting for a database that is away."""

from __future__ import annotations

import time
from typing import Final

_PAUSES: Final = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Seconds before one attempt after another; the last one goes on."""


class Outage:
    """How long everybody together waits for a database that went away.

    Who comes late to an outage waits the shorter: once it has lasted as long as the patience, an attempt that
    fails is told of at once. It may be used from several threads.

    Args:
        patience: seconds.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: float | None = None

    def end(self) -> None:
        """Take note that the database answers."""
        self._since = None

    def pause(self, attempts: int) -> bool:
        """Take note that the database did not answer, and wait a little if that is worth while.

        Args:
            attempts: how many the caller has made so far.

        Returns:
            Whether to try again.
        """
        now = time.monotonic()
        since = self._since
        if since is None:
            since = self._since = now
        left = since + self._patience - now
        # The second bound is for who meets errors while others do not.
        if left <= 0.0 or _waited(attempts) >= self._patience:
            return False
        time.sleep(min(_PAUSES[min(attempts, len(_PAUSES)) - 1], left))
        return True


def _waited(attempts: int) -> float:
    """Seconds of pauses before that attempt."""
    return sum(_PAUSES[: attempts - 1]) + max(0, attempts - 1 - len(_PAUSES)) * _PAUSES[-1]
