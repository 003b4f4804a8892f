"""How many runs have gone silent, as far as it can be told without much reading."""

from __future__ import annotations

import asyncio
import math
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
_WAIT_SECONDS: Final = 1.0
"""What scrapes wait for a look."""
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
        self._looked = -math.inf
        self._look: asyncio.Task[None] | None = None
        self.last_counts: Mapping[str, int] = {}
        """What `counts` last told, without looking."""

    async def counts(self) -> Mapping[str, int]:
        """Active runs without a report for at least so long; without a store what was last known.

        A count is a lower bound where there are many thousand runs. A look that takes longer than a second
        goes on by itself: what it finds is told the next time.
        """
        now = time.monotonic()
        if self._look is None and now - self._looked >= _LOOK_SECONDS:
            # Whatever comes of it: a store that does not answer is not asked again at once.
            self._looked = now
            self._look = asyncio.create_task(self._count_all(), name="tamiyo-silence")
        if self._look is not None:
            await asyncio.wait([self._look], timeout=_WAIT_SECONDS)
        return self.last_counts

    async def close(self) -> None:
        """Stop looking."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])

    async def _count_all(self) -> None:
        try:
            self.last_counts = {name: await self._count(span) for name, span in SILENT_FOR.items()}
        except StoreUnavailableError:
            # The store has logged why.
            pass
        finally:
            self._look = None

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
