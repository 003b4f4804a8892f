"""A few reports of each of many runs, spread over the whole of it: for curves as small as a word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from tamiyo_service.runs.timeline import is_superseded
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Entry, InputKind

POINTS: Final = 24
"""Reports of each run, at most."""
_NEAR: Final = 4
"""Inputs looked at on either side of one that is no report."""


class Stand(NamedTuple):
    """How far a run has come."""

    run_pk: int
    seq: int
    """The number of its latest input."""
    attempt: int
    last_epoch: int | None
    """The last epoch reported that counts; None: there is none."""


async def sampled(store: Store, stands: Sequence[Stand]) -> dict[int, list[Entry]]:
    """A few reports of each run that no rewind discarded, the last one always, in order.

    Runs without any are absent.

    Args:
        store: where the journal is.
        stands: of the runs.

    Raises:
        StoreUnavailableError: if the journal cannot be read.
    """
    reported = [stand for stand in stands if stand.last_epoch is not None]
    places = {stand.run_pk: _spread(stand.seq) for stand in reported}
    found = await _reports(store, places)
    near = {stand.run_pk: _around(stand, places[stand.run_pk], found) for stand in reported}
    found |= await _reports(store, {run_pk: seqs for run_pk, seqs in near.items() if seqs})
    rewinds = await store.rewinds([stand.run_pk for stand in reported if stand.attempt])
    told: dict[int, list[Entry]] = {}
    for stand in reported:
        nearest = (_nearest(stand.run_pk, place, found) for place in places[stand.run_pk])
        chosen = sorted({entry.seq: entry for entry in nearest if entry is not None}.items())
        discarding = rewinds.get(stand.run_pk, ())
        kept = [e for _, e in chosen if not is_superseded(e.attempt, e.epoch or 0, discarding)]
        told[stand.run_pk] = await _with_last(store, stand, kept)
    return told


async def _reports(store: Store, seqs: Mapping[int, Sequence[int]]) -> dict[tuple[int, int], Entry]:
    """The reports among some inputs, by run and number."""
    picked = await store.journal.picked(seqs) if seqs else []
    return {(entry.run_pk, entry.seq): entry for entry in picked if entry.kind is InputKind.REPORT}


async def _with_last(store: Store, stand: Stand, reports: list[Entry]) -> list[Entry]:
    assert stand.last_epoch is not None
    if reports and reports[-1].epoch == stand.last_epoch:
        return reports
    # Whatever came after it: what was reported of that epoch last is what counts.
    last = await store.latest_report(stand.run_pk, stand.last_epoch)
    return reports if last is None else [*reports, last]


def _spread(length: int) -> list[int]:
    """Numbers of inputs from 1 to `length`, spread evenly, both ends included."""
    steps = min(POINTS, length) - 1
    return [1 + (length - 1) * step // steps for step in range(steps + 1)] if steps else [length]


def _around(stand: Stand, places: Sequence[int], found: Mapping[tuple[int, int], Entry]) -> list[int]:
    """The numbers beside those places where there is no report."""
    missed = [place for place in places if (stand.run_pk, place) not in found]
    return sorted({seq for place in missed for seq in _near(place) if 0 < seq <= stand.seq})


def _near(place: int) -> list[int]:
    """The numbers beside a place, the nearest first."""
    return [seq for step in range(1, _NEAR + 1) for seq in (place - step, place + step)]


def _nearest(run_pk: int, place: int, found: Mapping[tuple[int, int], Entry]) -> Entry | None:
    seqs = (seq for seq in (place, *_near(place)) if (run_pk, seq) in found)
    seq = next(seqs, None)
    return None if seq is None else found[run_pk, seq]
