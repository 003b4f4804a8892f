"""A run's history for charts, read from the journal when it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from tamiyo_leyline import RunConfig
from tamiyo_leyline.fields import MAX_COUNT

from tamiyo_service.runs.curves import MOST_DECISIONS, Curves
from tamiyo_service.runs.series_shapes import RunSeries
from tamiyo_service.runs.timeline import kept_up_to
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import Rewind, RunRow

MOST_EPOCHS: Final = 20_000
"""Epochs that one series looks at: the last ones of its window."""
_PAGE: Final = 100
"""Reports read at a time: what is made of them takes the event loop a few milliseconds."""


class Window(NamedTuple):
    """Which part of a run."""

    points: int
    """Measurements of each line, at most."""
    since_epoch: int = 0
    until_epoch: int = MAX_COUNT
    attempt: int | None = None
    """Whose history; None: the current attempt's."""


class SeriesReader:
    """Makes series of runs; every method may raise `StoreUnavailableError`.

    Args:
        store: where the journal is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def of(self, run: RunRow, window: Window) -> RunSeries:
        """The run's history in a window: of every epoch the report that no rewind discarded.

        Args:
            run: the run.
            window: which part of it.
        """
        rewinds = (await self._store.rewinds([run.run_pk])).get(run.run_pk, ())
        newest = rewinds[-1].attempt if rewinds else 0
        attempt = newest if window.attempt is None else min(window.attempt, newest)
        known = [rewind for rewind in rewinds if rewind.attempt <= attempt]
        config = RunConfig.model_validate_json(run.config)
        curves = Curves(config.heuristic.embargo_epochs_after_cull)
        last = await kept_up_to(self._store, run.run_pk, window.until_epoch, attempt, known)
        first = window.since_epoch
        if last is not None and last.epoch is not None:
            first = max(first, last.epoch - MOST_EPOCHS + 1)
            for number, epochs in passages(attempt, known, range(first, last.epoch + 1)):
                await self._gather(curves, run.run_pk, number, epochs)
        return _told(run, attempt, curves, known, window, earlier=first > window.since_epoch)

    async def _gather(self, curves: Curves, run_pk: int, attempt: int, epochs: range) -> None:
        while page := await self._store.journal.reports(run_pk, attempt, epochs, _PAGE):
            for entry in page:
                curves.take(entry)
            assert page[-1].epoch is not None
            epochs = range(page[-1].epoch + 1, epochs.stop)
            # Others have their turn, also where the store answers at once.
            await asyncio.sleep(0)


def passages(attempt: int, rewinds: Sequence[Rewind], epochs: range) -> list[tuple[int, range]]:
    """The attempts through which an attempt's history leads, each with its epochs, the earliest first.

    Args:
        attempt: whose history.
        rewinds: up to the one that opened it, in order of their attempts.
        epochs: that are wanted.
    """
    opened_by = {rewind.attempt: rewind for rewind in rewinds}
    found, stop = list[tuple[int, range]](), epochs.stop
    for number in range(attempt, -1, -1):
        kept = opened_by[number].kept_epoch if number in opened_by else -1
        first = max(kept + 1, epochs.start)
        if first < stop:
            found.append((number, range(first, stop)))
        stop = min(stop, kept + 1)
    return found[::-1]


def _told(
    run: RunRow, attempt: int, curves: Curves, rewinds: Sequence[Rewind], window: Window, *, earlier: bool
) -> RunSeries:
    curves.plateaus.end()
    first = 0 if curves.first is None else curves.first
    # All of it was validated when it was stored.
    return RunSeries.model_construct(
        run_id=run.run_id,
        attempt=attempt,
        first_epoch=curves.first,
        last_epoch=curves.last,
        reports=curves.reports,
        earlier=earlier,
        lines=curves.lines(window.points),
        seeds=tuple(curves.bands()),
        decisions=tuple(curves.decisions[-MOST_DECISIONS:]),
        plateaus=tuple(curves.plateaus.found),
        embargoes=tuple(curves.embargoes.found),
        holds=tuple(curves.holds.found),
        divergences=tuple(curves.divergences[-MOST_DECISIONS:]),
        rewinds=tuple(
            rewind.kept_epoch for rewind in rewinds if first <= rewind.kept_epoch <= (curves.last or 0)
        ),
        omitted=curves.omitted,
    )
