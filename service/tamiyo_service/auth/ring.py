"""The key ring: who a key stands for, known without asking the store each time.

::

    known, read from the store less than five seconds ago ──▶ let in, at once
    known for longer, or not known ──▶ the store is asked, once for all who wait ──▶ let in, or not
    the store is away ──▶ known for less than a minute: let in; else StoreUnavailableError

A task reads all keys in use again every two seconds, so that none is ever asked for on the way of a request,
and a revocation is seen within five seconds by every process. A key that was let in once is asked for however
many unknown ones are being tried.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import structlog

from tamiyo_service.auth.caller import Admission, Caller, Scope
from tamiyo_service.auth.limits import Limiter, Rate
from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import OverloadedError, RateLimitedError, StoreUnavailableError, TamiyoError
from tamiyo_service.store.keys import Credential, KeyStore

_MOST: Final = 10_000
"""Keys and sessions known at a time, and as many known to be none."""
_LOG: Final = structlog.get_logger(__name__)


class Terms(NamedTuple):
    """How long what was read from the store counts, in seconds."""

    reread: float = 2.0
    """Between two readings of all keys in use."""
    fresh: float = 5.0
    """A key counts so long after it was read."""
    stale: float = 60.0
    """The same while the store does not answer."""
    idle: float = 60.0
    """A key that was not used for so long is not read again."""
    unknown: float = 5.0
    """What was no key counts as none for so long."""
    written: float = 60.0
    """Between two writings of when a key was last used."""
    lookups: Rate = Rate(50.0, 200)
    """How often the store is asked for keys that are not known."""


class _Held:
    """A key or session as it was last read."""

    __slots__ = ("admission", "good_until", "read_at", "used_at")

    def __init__(self, admission: Admission, read_at: float, good_until: float, used_at: float) -> None:
        self.admission = admission
        self.read_at = read_at
        self.good_until = good_until
        self.used_at = used_at


class KeyRing:
    """Knows keys and sessions by their hashes.

    Args:
        store: where they are kept.
        clock: tells whether one has ended.
        terms: how long things count.
        monotonic: seconds of a clock that is never set.
    """

    def __init__(
        self,
        store: KeyStore,
        clock: Clock,
        terms: Terms = Terms(),  # noqa: B008 - immutable
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._terms = terms
        self._monotonic = monotonic
        self._held: dict[str, _Held] = {}
        self._none: dict[str, float] = {}
        self._asked: dict[str, asyncio.Task[Admission | None]] = {}
        self._lookups = Limiter(terms.lookups, "unknown keys", monotonic)
        self._written: dict[str, float] = {}

    def known(self, digest: str) -> Admission | None:
        """Who it is, if that is known without asking."""
        held = self._held.get(digest)
        if held is None:
            return None
        now = self._monotonic()
        if now >= held.good_until:
            return None
        held.used_at = now
        return held.admission

    async def find(self, digest: str) -> Admission | None:
        """Who it is; None: nobody.

        Raises:
            StoreUnavailableError: if the store would have to be asked and does not answer.
            OverloadedError: if too many unknown keys are being tried.
        """
        known = self.known(digest)
        if known is not None:
            return known
        if self._none.get(digest, 0.0) > self._monotonic():
            return None
        task = self._asked.get(digest)
        if task is None:
            self._require_room(digest)
            task = self._asked[digest] = asyncio.create_task(self._look_up(digest), name="tamiyo-key")
            task.add_done_callback(lambda _: self._asked.pop(digest, None))
        # Who goes away takes the answer from nobody else.
        return await asyncio.shield(task)

    def forget(self, digest: str) -> None:
        """Ask the store the next time: it has ended."""
        self._held.pop(digest, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep what is known up to date while the context is open."""
        task = asyncio.create_task(self._keep_up(), name="tamiyo-keys")
        try:
            yield
        finally:
            waiting = [task, *self._asked.values()]
            for one in waiting:
                one.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await self._write_uses(at_last=True)

    async def reread(self) -> None:
        """Read all keys in use again; those not used for a while are asked for when they come back."""
        now = self._monotonic()
        asked = [digest for digest, held in self._held.items() if now - held.used_at <= self._terms.idle]
        if asked:
            try:
                found = {one.hash: one for one in await self._store.credentials(asked)}
            except StoreUnavailableError:
                self._bridge(asked)
                return
            for digest in asked:
                # What has been forgotten meanwhile is not known again.
                if digest in self._held:
                    self._take(digest, found.get(digest))
        await self._write_uses()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(self._terms.reread)
            try:
                await self.reread()
            except TamiyoError as error:
                _LOG.warning("keys_not_read", error=error.message)

    def _require_room(self, digest: str) -> None:
        """Return if the store may be asked: what is held was let in before, and is asked for in any case."""
        if digest in self._held:
            return
        try:
            self._lookups.take("")
        except RateLimitedError as error:
            raise OverloadedError("too many unknown keys are being tried; send it again later") from error

    async def _look_up(self, digest: str) -> Admission | None:
        try:
            found = await self._store.credentials([digest])
        except StoreUnavailableError:
            self._bridge([digest])
            known = self.known(digest)
            if known is None:
                raise
            return known
        admission = self._take(digest, found[0] if found else None)
        if admission is not None:
            self._held[digest].used_at = self._monotonic()
        return admission

    def _take(self, digest: str, found: Credential | None) -> Admission | None:
        """Remember what was read."""
        now = self._monotonic()
        # Those in use move to the end: where there are too many, the others go first.
        before = self._held.pop(digest, None)
        admission, left = (None, 0.0) if found is None else self._judged(found)
        if admission is None or left <= 0.0:
            _bound(self._none)
            self._none[digest] = now + self._terms.unknown
            return None
        _bound(self._held)
        used_at = now if before is None else before.used_at
        self._held[digest] = _Held(admission, now, now + min(left, self._terms.fresh), used_at)
        return admission

    def _judged(self, found: Credential) -> tuple[Admission, float]:
        """Who was found, and for how many seconds more."""
        key = found.key
        ends = [moment for moment in (key.ends_at(), found.expires_at) if moment is not None]
        caller = Caller(key.name, key.key_id, Scope(key.scope), key.prefixes)
        left = (min(ends) - to_micros(self._clock())) / 1e6 if ends else float("inf")
        if key.revoked_at is not None:
            # Whoever revoked it may have a clock that is fast.
            left = 0.0
        session = found.expires_at is not None
        return Admission(caller, found.hash, min(ends, default=None), session), left

    def _bridge(self, digests: list[str]) -> None:
        """While the store is away, what was read not too long ago goes on counting."""
        now, wall = self._monotonic(), to_micros(self._clock())
        for digest in digests:
            held = self._held.get(digest)
            if held is None:
                continue
            ends_at = held.admission.ends_at
            left = float("inf") if ends_at is None else (ends_at - wall) / 1e6
            held.good_until = min(now + min(left, self._terms.fresh), held.read_at + self._terms.stale)

    async def _write_uses(self, *, at_last: bool = False) -> None:
        """Remember when keys were last used, each at most once a minute."""
        now, wall = self._monotonic(), to_micros(self._clock())
        uses: dict[str, float] = {}
        for held in self._held.values():
            key_id = held.admission.caller.key_id
            uses[key_id] = max(uses.get(key_id, 0.0), held.used_at)
        due = {
            key_id: used_at
            for key_id, used_at in uses.items()
            if key_id not in self._written
            or (
                used_at > self._written[key_id]
                and (at_last or now - self._written[key_id] > self._terms.written)
            )
        }
        if due:
            await self._write(
                {key_id: wall - round((now - used_at) * 1e6) for key_id, used_at in due.items()}
            )

    async def _write(self, moments: dict[str, int]) -> None:
        now = self._monotonic()
        try:
            await self._store.used(moments)
        except TamiyoError:
            # It is tried again with the next use: when a key was last used is worth no refusal.
            return
        self._written |= dict.fromkeys(moments, now)


def _bound(entries: dict[str, _Held] | dict[str, float]) -> None:
    """Make room for one more: the one that came first goes."""
    while len(entries) >= _MOST:
        del entries[next(iter(entries))]
