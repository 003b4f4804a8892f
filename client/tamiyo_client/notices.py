"""Warnings worth saying once, not once an epoch."""

from __future__ import annotations

import logging
from typing import Final

from tamiyo_leyline import DecisionItem

from tamiyo_client.replies import EpochAnswer

logger = logging.getLogger("tamiyo_client")

MAX_NOTICES: Final = 1024
"""So many different ones are remembered; later ones are not said."""


class Notices:
    """Logs each warning the first time it comes up."""

    def __init__(self) -> None:
        self._said: Final[set[str]] = set()

    def once(self, message: str) -> None:
        """Warn, unless that has been said."""
        if message not in self._said and len(self._said) < MAX_NOTICES:
            self._said.add(message)
            logger.warning("%s", message)

    def of(self, answer: EpochAnswer | DecisionItem) -> None:
        """Pass on what the service warns of."""
        for warning in answer.warnings:
            self.once(f"run {answer.run_id}: {warning}")
