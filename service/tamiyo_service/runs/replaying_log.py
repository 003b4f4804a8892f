"""The logged inputs of a run in their order: what counts of it after rewinds, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from tamiyo_service.errors import InvalidRequestError
from tamiyo_service.runs.series import passages
from tamiyo_service.runs.timeline import kept_up_to, known_in
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, InputKind, OutcomeRow, Rewind, RunRow

PAGE: Final = 100
"""Reports in memory at a time."""
_PICKED: Final = 500
"""Other inputs looked at between reports at a time."""


class Line(NamedTuple):
    """The line of a run's history that leads to an attempt."""

    attempt: int
    passages: Sequence[tuple[int, range]]
    """The attempts that it leads through, each with its epochs, the earliest first."""
    rewinds: Sequence[Rewind]
    """Those that it went through."""
    opened_at: Mapping[int, int]
    """The numbers of the inputs that opened the attempts."""


class Record(NamedTuple):
    """A report with what the journal has about it."""

    entry: Entry
    told: Sequence[Entry]
    """The outcomes told between the report before and this one."""
    outcomes: Sequence[OutcomeRow]
    """What became of its commands, in the order in which it became known."""


async def line_of(store: Store, run: RunRow, attempt: int | None, until_epoch: int) -> Line:
    """The line that leads to an attempt, as far as it has been reported now.

    Args:
        store: where the journal is.
        run: the run.
        attempt: None: the current one.
        until_epoch: last epoch wanted.

    Raises:
        InvalidRequestError: if there is no such attempt.
    """
    rewinds = (await store.rewinds([run.run_pk])).get(run.run_pk, ())
    newest = rewinds[-1].attempt if rewinds else 0
    if attempt is not None and attempt > newest:
        raise InvalidRequestError(f"the last attempt of run {run.run_id} is {newest}", field="attempt")
    chosen = newest if attempt is None else attempt
    known = [rewind for rewind in rewinds if rewind.attempt <= chosen]
    last = await kept_up_to(store, run.run_pk, until_epoch, chosen, known)
    stop = 0 if last is None or last.epoch is None else last.epoch + 1
    opened_at = await _opened_at(store, run.run_pk) if known else {}
    return Line(chosen, passages(chosen, known, range(stop)), known, opened_at)


async def records(store: Store, run: RunRow, line: Line) -> AsyncGenerator[list[Record], None]:
    """Pages of the reports along a line, in order."""
    for attempt, epochs in line.passages:
        seq = line.opened_at.get(attempt, 0)
        while page := await store.journal.reports(run.run_pk, attempt, epochs, PAGE):
            told = await _told_between(store, run.run_pk, seq, page)
            outcomes = await store.outcomes([entry.key for entry in page if entry.action != "WAIT"])
            yield [
                Record(
                    entry,
                    told.get(entry.seq, ()),
                    known_in(line.attempt, outcomes.get(entry.key, ()), line.rewinds),
                )
                for entry in page
            ]
            assert page[-1].epoch is not None
            seq, epochs = page[-1].seq, range(page[-1].epoch + 1, epochs.stop)


async def _opened_at(store: Store, run_pk: int) -> dict[int, int]:
    found: dict[int, int] = {}
    before: int | None = None
    while page := await store.journal.inputs(run_pk, InputKind.REWIND, before, PAGE):
        found |= {entry.attempt: entry.seq for entry in page}
        before = page[-1].seq
    return found


async def _told_between(
    store: Store, run_pk: int, after: int, page: Sequence[Entry]
) -> dict[int, list[Entry]]:
    """The outcomes told before each report of a page, by the report's number.

    Reports of one attempt follow each other: what lies between two of them is no report.
    """
    told: dict[int, list[Entry]] = {}
    for report, seqs in _gaps(after, page):
        for first in range(seqs.start, seqs.stop, _PICKED):
            some = range(first, min(first + _PICKED, seqs.stop))
            picked = sorted(await store.journal.picked({run_pk: some}), key=lambda entry: entry.seq)
            found = [entry for entry in picked if entry.kind is InputKind.OUTCOME]
            if found:
                told.setdefault(report, []).extend(found)
    return told


def _gaps(after: int, page: Sequence[Entry]) -> Iterator[tuple[int, range]]:
    for entry in page:
        if entry.seq > after + 1:
            yield entry.seq, range(after + 1, entry.seq)
        after = entry.seq
