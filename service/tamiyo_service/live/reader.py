"""Reads the journal for those who follow it."""

from __future__ import annotations

from typing import Final, NamedTuple

from tamiyo_service.live.happenings import Happening, happenings_of
from tamiyo_service.live.marks import Mark
from tamiyo_service.store.journal import Stretch
from tamiyo_service.store.protocol import Store

PAGE: Final = 100
"""Entries read at a time: what is made of them takes the event loop a few milliseconds."""


class Position(NamedTuple):
    """How far somebody has come in the journal."""

    next: int
    """The number of the first entry that is not known yet."""
    skip: int = 0
    """Events of that entry that are known all the same."""
    seq: int = 0
    """Within one run: number of the last input looked at."""

    def precedes(self, happening: Happening) -> bool:
        """Whether an event is not known yet."""
        number, event, _ = happening.mark
        return number > self.next or (number == self.next and (event or 0) >= self.skip)


class Passage(NamedTuple):
    """A part of the journal, told."""

    happenings: list[Happening]
    after: Position
    complete: bool
    """Whether there is no more at present."""


class Start(NamedTuple):
    """Where a stream begins."""

    position: Position
    known: Mark
    """The same place as a mark."""
    skipped: str | None = None
    """Why that is not where it was to begin; None: it is."""


class Reader:
    """Reads entries and makes events of them. Every method may raise `StoreUnavailableError`.

    Args:
        store: where the journal is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def end(self) -> int:
        """Where the journal ends at present: the number of the next entry, or more."""
        return await self._store.journal.settled()

    async def start(self, mark: Mark | None) -> Start:
        """Where to begin after a mark; None: with what is yet to happen."""
        end = await self.end()
        if mark is None:
            return _after(end - 1)
        if mark.number >= end:
            return _after(end - 1, "this id is not of this database: what happened before now is left out")
        if mark.event is None:
            return await self._start_after(mark.number)
        place = await self._store.journal.place(mark.number)
        if place is None:
            return await self._start_after(mark.number, gone=True)
        if place.at != mark.at:
            return _after(end - 1, "this id is of another database: what happened before now is left out")
        return Start(Position(mark.number, skip=mark.event + 1), mark)

    async def passage(self, position: Position, run_pk: int | None = None) -> Passage:
        """What comes next, at most `PAGE` entries.

        Args:
            position: what is known.
            run_pk: of one run only.
        """
        journal = self._store.journal
        if run_pk is None:
            stretch = await journal.stretch(position.next, PAGE)
        else:
            stretch = await journal.stretch_of_run(run_pk, position.next, position.seq, PAGE)
        unknown = [told for told in await self._happenings(stretch) if position.precedes(told)]
        after = position if stretch.next == position.next else Position(stretch.next, 0, stretch.last_seq)
        return Passage(unknown, after, stretch.complete)

    async def _start_after(self, number: int, *, gone: bool = False) -> Start:
        oldest = await self._store.journal.first()
        if number > 0 and oldest is not None and number + 1 < oldest:
            return _after(number, "the history up to here is deleted: its events are left out")
        if gone:
            return _after(number, "the run of this id is deleted: its events are left out")
        return _after(number)

    async def _happenings(self, stretch: Stretch) -> list[Happening]:
        rows = stretch.rows
        run_pks = sorted({row.entry.run_pk for row in rows})
        if not run_pks:
            return []
        rewinds = await self._store.rewinds(run_pks)
        outcomes = await self._store.outcomes([row.entry.key for row in rows if row.entry.epoch is not None])
        labels = await self._store.labels(run_pks)
        return [
            happening
            for row in rows
            for happening in happenings_of(
                row,
                labels.get(row.entry.run_pk, {}),
                rewinds.get(row.entry.run_pk, ()),
                outcomes.get(row.entry.key, ()),
            )
        ]


def _after(number: int, skipped: str | None = None) -> Start:
    return Start(Position(number + 1), Mark(number), skipped)
