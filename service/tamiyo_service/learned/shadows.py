"""Shadow policies: they decide about every report too, after the reply and without effect.

A follower goes along the journal behind the requests, a page at a time, and stores what other policies would
have decided. It shares nothing with the requests but the store: no reply waits for it.

::

    take shares ──▶ read a page ──▶ decide in a thread, all questions in one pass ──▶ store, put back
         ▲                                                                                   │
         └──────────── rests as long as it worked, longer when there is nothing to do ◀──────┘
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import TamiyoError
from tamiyo_service.learned.comparing import Compared, Comparing
from tamiyo_service.retention.erasing import Pause
from tamiyo_service.store.shadows import Followed, ShadowStore, Share

CATCH_UP: Final = 10_000
"""Entries of the journal that are made up for after a standstill; older ones are left out."""
PAGE: Final = 32
"""Reports decided about at a time: they are in memory together."""
_LOOK_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 5.0
_HELD_FOR: Final = timedelta(minutes=2)
"""How long after a killed process others take up what it held."""

_LOG: Final = structlog.get_logger(__name__)


class Tally(NamedTuple):
    """What a shadow policy has come to since this process started."""

    agreed: int
    disagreed: int
    failed: int
    """Decisions that were left out: the policy, or its network, could not decide."""


class Shadows:
    """Follows the journal.

    Args:
        store: where the journal is.
        comparing: decides.
        clock: tells when something happens.
        holder: unique name of this process.
        always: whether there are policies that shadow every run.
        catch_up: entries of the journal that are made up for after a standstill.
        pause: waits for a number of seconds.

    Attributes:
        held: shares that were taken and not put back.
    """

    def __init__(
        self,
        store: ShadowStore,
        comparing: Comparing,
        clock: Clock,
        *,
        holder: str,
        always: bool,
        catch_up: int = CATCH_UP,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._store = store
        self._comparing = comparing
        self._clock = clock
        self.holder: Final = holder
        self._always = always
        self._catch_up = catch_up
        self._pause = pause
        self._turn = asyncio.Lock()
        self.held: Final[set[Share]] = set()
        self._agreed: Counter[tuple[str, str]] = Counter()
        self._disagreed: Counter[tuple[str, str]] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()

    def counts(self) -> Mapping[tuple[str, str], Tally]:
        """How often each policy, by name and version, agreed with what was really decided."""
        policies = sorted({*self._agreed, *self._disagreed, *self._failed})
        return {one: Tally(self._agreed[one], self._disagreed[one], self._failed[one]) for one in policies}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow while the context is open; what is under way at its end is broken off, and done again."""
        if self._always:
            await self._store.begin()
        task = asyncio.create_task(self._run(), name="tamiyo-shadows")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self._let_go()

    async def round(self) -> bool:
        """Decide about what has come, a page of each share taken; whether there was anything to do.

        Raises:
            StoreUnavailableError: if the store does not answer; what is not stored is decided again.
        """
        async with self._turn:
            now = self._clock()
            shares = await self._store.take(self.holder, to_micros(now), to_micros(now + _HELD_FOR))
            self.held.update(shares)
            settled = await self._store.settled() if shares else 0
            for share in shares:
                await self._follow(share, settled)
            return bool(shares)

    async def _follow(self, share: Share, settled: int) -> None:
        begin = self._within_reach(share, settled)
        page = await self._store.follow(begin, settled, PAGE)
        compared = await self._compared(page)
        position = page[-1].position if len(page) == PAGE else settled - 1
        await self._store.put(self.holder, [share._replace(position=position)], compared.rows)
        self.held.discard(share)
        self._count(compared)

    async def _compared(self, page: Sequence[Followed]) -> Compared:
        try:
            return await self._comparing.compare(page)
        except TamiyoError:
            raise
        except Exception:  # noqa: BLE001 - a defect leaves a page out, not all that comes after it
            _LOG.exception("shadows_leave_page_out", reports=len(page))
            return Compared([], Counter())

    async def _let_go(self) -> None:
        """Put back what was not finished, where it was, for others to take up at once."""
        with suppress(TamiyoError):
            await self._store.put(self.holder, list(self.held), [])

    async def _run(self) -> None:
        while True:
            await self._pause(await self._worked())

    async def _worked(self) -> float:
        """Do a round; the seconds to rest after it."""
        began = time.monotonic()
        try:
            worked = await self.round()
        except TamiyoError as error:
            _LOG.warning("shadows_pause", error=str(error))
            return _PAUSE_SECONDS
        # At most half of a core is spent on what nobody waits for.
        return time.monotonic() - began if worked else _LOOK_SECONDS

    def _within_reach(self, share: Share, settled: int) -> Share:
        first = settled - 1 - self._catch_up
        if share.position >= first:
            return share
        _LOG.warning("shadows_leave_out", share=share.number, entries=first - share.position)
        return share._replace(position=first)

    def _count(self, compared: Compared) -> None:
        for row in compared.rows:
            (self._agreed if row.agrees else self._disagreed)[row.policy, row.version] += 1
        self._failed.update(compared.failed)
