"""The journal read as what it is: one log of everything, in the order in which it was stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from tamiyo_service.errors import TamiyoError
from tamiyo_service.store.rows import Entry, InputKind

Ended = Callable[[TamiyoError | None], None]
Notice = Callable[[], None]


class JournalRow(NamedTuple):
    """An entry of the journal as it is told: without the state after it, a report without its content."""

    number: int
    """Its place in the journal. Numbers only rise, and some are missing."""
    run_id: str
    entry: Entry


class Stretch(NamedTuple):
    """A part of the journal, without the entries of runs that are gone."""

    rows: list[JournalRow]
    next: int
    """Everything below this number has been looked at, and nothing will come up there any more."""
    last_seq: int = 0
    """Of one run: number of the last input looked at."""
    complete: bool = True
    """Whether there is no more at present."""


class Place(NamedTuple):
    """Where an entry stands."""

    run_pk: int
    at: int


class Journal(Protocol):
    """The log of a store. Every method may raise `StoreUnavailableError`."""

    async def settled(self) -> int:
        """The number below which no entry will come up any more: where the journal ends at present."""

    async def stretch(self, first: int, limit: int) -> Stretch:
        """At most `limit` entries from number `first` on."""

    async def stretch_of_run(self, run_pk: int, first: int, after_seq: int, limit: int) -> Stretch:
        """The same of one run, after its input `after_seq`: all that can be seen, settled or not."""

    async def place(self, number: int) -> Place | None:
        """Where the entry of that number stands; None: there is none, or no more."""

    async def first(self) -> int | None:
        """The number of the oldest entry; None: there is none."""

    async def inputs(self, run_pk: int, kind: InputKind, before_seq: int | None, limit: int) -> list[Entry]:
        """At most `limit` inputs of a run of one kind that is no report, the latest first.

        Args:
            run_pk: the run.
            kind: of the inputs.
            before_seq: only what came before this input; None: everything.
            limit: how many.
        """

    async def reports(self, run_pk: int, attempt: int, epochs: range, limit: int) -> list[Entry]:
        """At most `limit` reports of an attempt by epoch, without the states after them."""

    async def picked(self, seqs: Mapping[int, Sequence[int]]) -> list[Entry]:
        """Inputs of several runs by their numbers, in any order, without the states after them."""

    async def last_acting(self, run_pks: Sequence[int]) -> dict[int, Entry]:
        """The last decision of each of these runs that was no WAIT, by run; runs that only waited are absent.

        States and the content of reports are left out.
        """

    async def turning_points(self, run_pk: int, seqs: range) -> list[Entry]:
        """Those of some inputs that saw a seed change or issued a command, and rewinds, in order.

        Their states are left out, and the content of reports.
        """

    def watch(self, notice: Notice | None) -> None:
        """Have somebody told in the event loop after every write of this process; None: nobody any more."""


class Watched:
    """Tells a watcher of the writes that succeeded."""

    def __init__(self) -> None:
        self._notice: Notice | None = None

    def watch(self, notice: Notice | None) -> None:
        """Have somebody told; None: nobody any more."""
        self._notice = notice

    def telling(self, ended: Ended) -> Ended:
        """What a write is to call at its end."""
        notice = self._notice
        if notice is None:
            return ended

        def end(error: TamiyoError | None) -> None:
            ended(error)
            if error is None:
                notice()

        return end
