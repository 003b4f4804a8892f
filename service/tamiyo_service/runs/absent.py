"""Stands in for a policy that is not installed any more: its runs can be read, closed and removed."""

from __future__ import annotations

from typing import Any, Final, NoReturn

from tamiyo_core import DecisionContext
from tamiyo_leyline import PolicyChoice, TrainingSignals

from tamiyo_service.errors import PolicyUnavailableError

UNDECIDED: Final = {"tamiyo": "this policy has not decided yet"}
"""The snapshot of an initial state that nobody could work out."""


class AbsentPolicy:
    """Carries a policy's state along unread; decides nothing.

    Args:
        choice: what the run asks for.
        reason: why it cannot be had.
    """

    def __init__(self, choice: PolicyChoice, reason: str) -> None:
        self.name: Final = choice.name
        self.version: Final = choice.version or "unknown"
        self._reason = reason

    def initial(self) -> Any:
        """A state for the policy itself to fill in, once it is back."""
        return UNDECIDED

    def decide(self, _state: Any, _signals: TrainingSignals, _context: DecisionContext) -> NoReturn:
        """Refuse.

        Raises:
            PolicyUnavailableError: always.
        """
        raise PolicyUnavailableError(
            f"policy {self.name} cannot decide here: {self._reason}; install it and restart the service, or "
            "give the run another policy (until then it can be read, rewound, completed and deleted)",
            field="policy.name",
        )

    def snapshot(self, state: Any) -> Any:
        """The state as it was stored."""
        return state

    def restore(self, data: Any) -> Any:
        """The state as it was stored."""
        return data
