"""How many runs have gone silent, as far as it can be told without much reading."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from tamiyo_leyline import RunStatus

from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import RunFilter

SILENT_FOR: Final[Mapping[str, timedelta]] = {"15m": timedelta(minutes=15), "1d": timedelta(days=1)}
"""A training that has died, and one that was given up: who looks for the first leaves the second out."""
_LOOK_SECONDS: Final = 60.0
_PAGES: Final = 20
_PAGE_RUNS: Final = 1_000


class Silence:
    """Counts silent runs, at most once a minute.

    Args:
        store: where runs are.
        clock: tells the present moment.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._looked: float | None = None
        self._counts: Mapping[str, int] = {}

    async def counts(self) -> Mapping[str, int]:
        """Active runs without a report for at least so long; without a store what was last known.

        A count is a lower bound where there are many thousand runs.
        """
        now = time.monotonic()
        if self._looked is None or now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            try:
                self._counts = {name: await self._count(span) for name, span in SILENT_FOR.items()}
            except StoreUnavailableError:
                self._looked = None
        return self._counts

    async def _count(self, span: timedelta) -> int:
        wanted = RunFilter(status=RunStatus.ACTIVE, silent_since=to_micros(self._clock() - span))
        count = 0
        for _ in range(_PAGES):
            found = await self._store.runs(wanted, _PAGE_RUNS)
            count += len(found.rows)
            if found.resume is None:
                break
            wanted = replace(wanted, after=found.resume)
        return count
