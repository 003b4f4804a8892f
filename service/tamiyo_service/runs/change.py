"""A change of a run: worked out first, stored next, and only then true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from tamiyo_service.runs.session import Standing
from tamiyo_service.store.rows import Write

Answer = TypeVar("Answer")


class Change(NamedTuple, Generic[Answer]):
    """What a request does to a run."""

    standing: Standing
    """Where the run stands afterwards."""
    write: Write | None
    """What the store must hold before that is true; None: nothing changes."""
    answer: Answer
    """What the requester gets then."""
    final: bool = False
    """Whether an answer that writes nothing stands even if another process has advanced the run.

    A stored reply does. The latest one is repeated from memory, so that retries cost no read; the price is
    that it outlives a run that another process has deleted, until the run's next report.
    """


class Together(NamedTuple, Generic[Answer]):
    """What became of the changes of several runs, by run."""

    answers: dict[str, Answer]
    errors: dict[str, Exception]

    def knows(self, run_id: str) -> bool:
        """Whether it is known what became of a run's change."""
        return run_id in self.answers or run_id in self.errors


def joined(writes: Sequence[Write]) -> Write:
    """Several writes of reports as one: all of it is stored, or nothing."""
    entries = tuple(entry for write in writes for entry in write.entries)
    return Write(entries, tuple(outcome for write in writes for outcome in write.outcomes))
