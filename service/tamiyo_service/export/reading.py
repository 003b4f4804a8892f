"""The decisions of one moment, read a page at a time, however many there are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import DecisionFilter, Entry, OutcomeRow, Rewind

PAGE: Final = 100


class Told(NamedTuple):
    """A decision with what has become known of it."""

    run_id: str
    entry: Entry
    rewinds: Sequence[Rewind]
    """Of its run."""
    outcomes: Sequence[OutcomeRow]
    """Of its commands."""


Pages = AsyncIterable[list[Told]]
"""Decisions, a page at a time."""


async def decisions(store: Store, wanted: DecisionFilter, below: int) -> AsyncGenerator[list[Told], None]:
    """Pages of the decisions that pass a filter, the oldest first; what is stored meanwhile is left out.

    Args:
        store: where they are.
        wanted: the filter.
        below: where the journal ended at the moment that counts.

    Raises:
        StoreUnavailableError: if the store does not answer.
    """
    wanted = replace(wanted, ascending=True, after=None)
    while True:
        found = await store.decisions_below(wanted, PAGE, below)
        rewinds = await store.rewinds(sorted({row.entry.run_pk for row in found.rows}))
        outcomes = await store.outcomes([row.entry.key for row in found.rows])
        yield [
            Told(
                row.run_id,
                row.entry,
                rewinds.get(row.entry.run_pk, ()),
                outcomes.get(row.entry.key, ()),
            )
            for row in found.rows
        ]
        if found.resume is None:
            return
        wanted = replace(wanted, after=found.resume)
