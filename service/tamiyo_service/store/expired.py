"""Runs on their way out of the store.

::

    present ──retire──▶ retired ──erase, a slice at a time──▶ gone
       ▲                   nobody finds it any more, its name is free, nothing can be appended
       └─ spared: something reached it since it was looked at
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from tamiyo_service.store.rows import ClientDecisionRow, Entry, OutcomeRow, RunRow

Belonging = TypeVar("Belonging", Entry, OutcomeRow, ClientDecisionRow)
"""What belongs to a run, one table each."""

RETIRED_MARK: Final = "~"
"""Begins the name of a retired run; no run id has this character."""


@dataclass(frozen=True)
class Cutoffs:
    """Which runs have expired: those that nothing has reached since these moments. None: never.

    Attributes:
        completed: for completed runs.
        silent: for all others.
    """

    completed: int | None
    silent: int | None

    @property
    def latest(self) -> int:
        """No run that was created later has expired."""
        return max((moment for moment in (self.completed, self.silent) if moment is not None), default=-1)


class Expired(NamedTuple):
    """An expired run as it was when it was looked at."""

    run: RunRow
    seq: int
    """The number of its latest input, 0 without any."""
    client_decisions: int
    last_at: int
    """When its latest input came; its creation without any."""


class ExpiredPage(NamedTuple):
    """What a look at some runs found."""

    runs: tuple[Expired, ...]
    last: int | None
    """The last run looked at; None: there are no more."""


class Retired(NamedTuple):
    """A retired run that is not yet gone."""

    run: RunRow
    """Under the name it had."""
    to_archive: bool
    """Whether it was to be archived before it goes."""


def retired_name(run: RunRow) -> str:
    """The name a run bears once it is retired."""
    return f"{RETIRED_MARK}{run.run_pk}{RETIRED_MARK}{run.run_id}"


def former_name(name: str) -> str:
    """The name a run had before it was retired."""
    return name.split(RETIRED_MARK, 2)[2]
