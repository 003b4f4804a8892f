"""Who decides while Tamiyo is silent, if not WAIT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tamiyo_leyline import AdaptationCommand, EpochReport


class Fallback(Protocol):
    """A policy of the trainer's own, asked when the service gave no usable answer to a report."""

    def decide(self, report: EpochReport) -> Sequence[AdaptationCommand]:
        """Return what to do about `report`; nothing means WAIT.

        It runs in the trainer's thread (or event loop) after the deadline has passed, so it should be quick.
        Whatever it raises is logged and answered with WAIT; so are commands that expire before the report's
        epoch.
        """
        ...
