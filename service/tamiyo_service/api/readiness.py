"""Whether decisions can be made and stored now."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tamiyo_service.api.border import Gate
from tamiyo_service.errors import ShuttingDownError, StoreUnavailableError, UnavailableError
from tamiyo_service.store.protocol import Store

_BRIEFLY_SECONDS: Final = 1.0
_GIVEN_UP: Final = 6.0
"""After so many times the seconds that it may take a question is asked anew: its connection may be dead."""


class Readiness:
    """Asks the store, once for all who want to know at the same time.

    Args:
        store: has to answer, and to take writes.
        gate: closes when the service stops.
        stall_seconds: how long a write or an answer of the store may take.
    """

    def __init__(self, store: Store, gate: Gate, stall_seconds: float) -> None:
        self._store = store
        self._gate = gate
        self._stall_seconds = stall_seconds
        self._question: asyncio.Task[None] | None = None
        self._asked_at = 0.0
        self._answered = True

    async def require(self) -> None:
        """Return if decisions can be made and stored now.

        Raises:
            ShuttingDownError: if the service is stopping.
            StoreUnavailableError: if the store does not answer, takes no writes, or is stuck with one.
        """
        if self._gate.stopping:
            raise ShuttingDownError("the service is stopping")
        age = self._store.write_age()
        if age > self._stall_seconds:
            raise StoreUnavailableError(f"a write takes {age:.1f} s already: the disk is slow or stuck")
        question = self._ask()
        left = self._asked_at + self._stall_seconds - time.monotonic()
        # Whoever gives up waiting leaves the question to the others.
        await asyncio.wait([question], timeout=max(0.0, left))
        if not question.done():
            raise StoreUnavailableError(f"the store gave no answer in {self._stall_seconds} s")
        question.result()

    async def told_briefly(self) -> bool:
        """The same within about a second: where the store takes longer, what its last answer was."""
        try:
            async with asyncio.timeout(_BRIEFLY_SECONDS):
                await self.require()
        except UnavailableError:
            return False
        except TimeoutError:
            return self._answered
        return True

    async def close(self) -> None:
        """Wait for no answer any more."""
        if self._question is not None:
            self._question.cancel()
            await asyncio.wait([self._question])

    def _ask(self) -> asyncio.Task[None]:
        """The question that is under way, or a new one."""
        now = time.monotonic()
        if self._question is not None and now - self._asked_at > _GIVEN_UP * self._stall_seconds:
            self._question.cancel()
            self._question = None
        if self._question is None:
            self._asked_at = now
            self._question = asyncio.create_task(self._store.check(), name="tamiyo-readiness")
            self._question.add_done_callback(self._take)
        return self._question

    def _take(self, question: asyncio.Task[None]) -> None:
        if self._question is question:
            self._question = None
        self._answered = not question.cancelled() and question.exception() is None
