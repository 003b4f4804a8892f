"""The journal of a store in memory."""
# ruff: noqa: D102 - the methods are described once, by Journal

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tamiyo_service.store.journal import JournalRow, Place, Stretch, Watched
from tamiyo_service.store.rows import Entry, InputKind

_TURNS: Final = ('"type":"SEED_', '"type":"COMMAND_ISSUED"')


class MemoryJournal(Watched):
    """See `Journal` for the methods.

    Args:
        names: tells the ids of the runs that are there, by their keys.
    """

    def __init__(self, names: Callable[[], Mapping[int, str]]) -> None:
        super().__init__()
        self.entries: Final[dict[int, Entry]] = {}
        """By number, in order."""
        self.next = 1
        """The number of the next entry."""
        self._names = names

    def append(self, entry: Entry) -> None:
        """Take an entry in."""
        self.entries[self.next] = entry
        self.next += 1

    def forget(self, run_pk: int) -> None:
        """Delete the entries of a run."""
        for number in [number for number, entry in self.entries.items() if entry.run_pk == run_pk]:
            del self.entries[number]

    async def settled(self) -> int:
        return self.next

    async def stretch(self, first: int, limit: int) -> Stretch:
        found = [(number, entry) for number, entry in self.entries.items() if number >= first][:limit]
        if len(found) < limit:
            return Stretch(self._rows(found), max(first, self.next))
        return Stretch(self._rows(found), found[-1][0] + 1, complete=False)

    async def stretch_of_run(self, run_pk: int, first: int, after_seq: int, limit: int) -> Stretch:
        found = [
            (number, entry)
            for number, entry in self.entries.items()
            if entry.run_pk == run_pk and number >= first and entry.seq > after_seq
        ][:limit]
        if not found:
            return Stretch([], first, after_seq)
        number, last = found[-1]
        return Stretch(self._rows(found), number + 1, last.seq, len(found) < limit)

    async def place(self, number: int) -> Place | None:
        entry = self.entries.get(number)
        return None if entry is None else Place(entry.run_pk, entry.at)

    async def first(self) -> int | None:
        return next(iter(self.entries), None)

    async def inputs(self, run_pk: int, kind: InputKind, before_seq: int | None, limit: int) -> list[Entry]:
        found = [entry for entry in self._of(run_pk) if entry.kind is kind]
        return [entry for entry in reversed(found) if before_seq is None or entry.seq < before_seq][:limit]

    async def reports(self, run_pk: int, attempt: int, epochs: range, limit: int) -> list[Entry]:
        found = [entry for entry in self._of(run_pk) if entry.attempt == attempt and entry.epoch in epochs]
        return found[:limit]

    async def picked(self, seqs: Mapping[int, Sequence[int]]) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.seq in seqs.get(entry.run_pk, ())]

    async def last_acting(self, run_pks: Sequence[int]) -> dict[int, Entry]:
        acting = (entry for entry in self.entries.values() if entry.action not in (None, "WAIT"))
        return {entry.run_pk: entry for entry in acting if entry.run_pk in run_pks}

    async def turning_points(self, run_pk: int, seqs: range) -> list[Entry]:
        return [entry for entry in self._of(run_pk) if entry.seq in seqs and _is_turning_point(entry)]

    def _of(self, run_pk: int) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.run_pk == run_pk]

    def _rows(self, found: list[tuple[int, Entry]]) -> list[JournalRow]:
        names = self._names()
        return [
            JournalRow(number, names[entry.run_pk], entry) for number, entry in found if entry.run_pk in names
        ]


def _is_turning_point(entry: Entry) -> bool:
    return entry.kind is InputKind.REWIND or any(turn in (entry.events or "") for turn in _TURNS)
