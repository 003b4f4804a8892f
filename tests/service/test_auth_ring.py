"""The key ring: what is known without asking, for how long, and what happens while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta

import pytest
from tamiyo_service.auth.caller import Admission, Scope
from tamiyo_service.auth.limits import Rate
from tamiyo_service.auth.ring import KeyRing, Terms
from tamiyo_service.auth.tokens import NewKey, digest_of, new_key
from tamiyo_service.clock import to_micros
from tamiyo_service.errors import OverloadedError, StoreUnavailableError
from tamiyo_service.store.keys import Credential, MemoryKeys

from tests.service.clocks import SteppingClock


class Watched(MemoryKeys):
    """Keys in memory that may be away, and count how often they are asked."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.asked = 0
        self.held_back: asyncio.Event | None = None
        self.on_use: Callable[[], None] | None = None

    async def credentials(self, hashes: Iterable[str]) -> list[Credential]:
        self.asked += 1
        if self.held_back is not None:
            await self.held_back.wait()
        if self.away:
            raise StoreUnavailableError("away")
        return await super().credentials(hashes)

    async def used(self, moments: object) -> None:
        if self.away:
            raise StoreUnavailableError("away")
        if self.on_use is not None:
            self.on_use()
        await super().used(moments)  # type: ignore[arg-type]  # it is what it was given


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A ring with its store and its time."""

    def __init__(self, terms: Terms = Terms()) -> None:  # noqa: B008 - immutable
        self.store, self.time, self.clock = Watched(), Time(), SteppingClock()
        self.ring = KeyRing(self.store, self.clock, terms, self.time)

    async def key(self, expires: float | None = None) -> NewKey:
        now = self.clock()
        end = None if expires is None else now + timedelta(seconds=expires)
        made = new_key("ci", Scope.TRAINER, (), now, end)
        await self.store.add(made.row)
        return made

    async def find(self, made: NewKey) -> Admission | None:
        return await self.ring.find(made.row.hash)


async def test_a_key_is_asked_for_once_and_then_known() -> None:
    bench = Bench()
    made = await bench.key()
    assert bench.ring.known(made.row.hash) is None
    admission = await bench.find(made)
    assert admission is not None
    assert admission.caller.name == "ci"
    for _ in range(10):
        assert bench.ring.known(made.row.hash) == admission
    assert bench.store.asked == 1


async def test_those_who_wait_for_the_same_key_share_the_question() -> None:
    bench = Bench()
    made = await bench.key()
    bench.store.held_back = asyncio.Event()
    waiting = [asyncio.create_task(bench.find(made)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    bench.store.held_back.set()
    found = await asyncio.gather(*waiting[1:])
    assert all(one is not None for one in found)
    assert bench.store.asked == 1


async def test_what_is_no_key_is_asked_for_once_in_a_while() -> None:
    bench = Bench()
    digest = digest_of(b"nonsense")
    for _ in range(3):
        assert await bench.ring.find(digest) is None
    assert bench.store.asked == 1
    bench.time.now += 6
    assert await bench.ring.find(digest) is None
    assert bench.store.asked == 2


async def test_trying_keys_does_not_wear_the_store_out() -> None:
    bench = Bench(Terms(lookups=Rate(1.0, 3)))
    made = await bench.key()
    assert await bench.find(made) is not None
    for number in range(2):
        assert await bench.ring.find(digest_of(b"%d" % number)) is None
    with pytest.raises(OverloadedError):
        await bench.ring.find(digest_of(b"one too many"))
    bench.time.now += 10
    bench.store.asked = 0
    for number in range(100, 103):
        await bench.ring.find(digest_of(b"%d" % number))
    # Who was let in before is asked about all the same.
    assert await bench.find(made) is not None


async def test_a_revoked_key_is_known_for_five_seconds_at_most() -> None:
    bench = Bench()
    made = await bench.key()
    assert await bench.find(made) is not None
    await bench.store.revoke(made.row.key_id, 0)
    bench.time.now += 4.9
    assert bench.ring.known(made.row.hash) is not None
    bench.time.now += 0.2
    assert bench.ring.known(made.row.hash) is None
    assert await bench.find(made) is None


async def test_reading_again_sees_what_has_changed() -> None:
    bench = Bench()
    revoked, kept = await bench.key(), await bench.key()
    for made in (revoked, kept):
        await bench.find(made)
    await bench.store.revoke(revoked.row.key_id, 0)
    bench.time.now += 4
    await bench.ring.reread()
    assert bench.ring.known(revoked.row.hash) is None
    bench.time.now += 4
    assert bench.ring.known(kept.row.hash) is not None


async def test_a_key_ends_to_the_second_though_nothing_was_read() -> None:
    bench = Bench()
    made = await bench.key(expires=3.5)
    assert await bench.find(made) is not None
    bench.time.now += 3
    assert bench.ring.known(made.row.hash) is None


async def test_known_keys_go_on_being_known_while_the_store_is_away_for_a_minute() -> None:
    bench = Bench()
    made, stranger = await bench.key(), await bench.key()
    await bench.find(made)
    bench.store.away = True
    for _ in range(11):
        bench.time.now += 5
        assert await bench.find(made) is not None
    with pytest.raises(StoreUnavailableError):
        await bench.find(stranger)
    bench.time.now += 6
    with pytest.raises(StoreUnavailableError):
        await bench.find(made)
    bench.store.away = False
    assert await bench.find(made) is not None


async def test_a_key_that_ends_while_the_store_is_away_has_ended() -> None:
    bench = Bench()
    made = await bench.key(expires=30)
    await bench.find(made)
    bench.store.away = True
    bench.time.now += 5
    bench.clock.advance(31)
    await bench.ring.reread()
    assert bench.ring.known(made.row.hash) is None


async def test_the_last_use_is_written_once_a_minute_and_at_the_end() -> None:
    bench = Bench()
    made = await bench.key()

    async def last_used() -> int | None:
        return (await bench.store.all())[0].last_used_at

    async with bench.ring.running():
        await bench.find(made)
        assert await last_used() is None
        await bench.ring.reread()
        first = await last_used()
        assert first is not None
        bench.time.now += 4
        bench.ring.known(made.row.hash)
        await bench.ring.reread()
        assert await last_used() == first
        bench.time.now += 3
        bench.clock.advance(3)
        await bench.find(made)
    second = await last_used()
    assert second is not None
    assert second > first


async def test_a_use_that_could_not_be_written_hinders_nobody() -> None:
    bench = Bench()
    made = await bench.key()
    await bench.find(made)
    bench.store.away = True
    await bench.ring.reread()
    assert bench.ring.known(made.row.hash) is not None
    bench.store.away = False
    await bench.ring.reread()
    assert (await bench.store.all())[0].last_used_at is not None


async def test_keys_that_nobody_uses_are_not_read_again() -> None:
    bench = Bench()
    made = await bench.key()
    await bench.find(made)
    bench.time.now += 61
    await bench.ring.reread()
    asked = bench.store.asked
    await bench.ring.reread()
    assert bench.store.asked == asked


async def test_a_session_may_end_while_the_last_uses_of_idle_keys_are_written() -> None:
    bench = Bench()
    idle, ended = await bench.key(), await bench.key()
    for made in (idle, ended):
        assert await bench.find(made) is not None
    bench.time.now += 61
    bench.store.on_use = lambda: bench.ring.forget(ended.row.hash)
    await bench.ring.reread()
    assert await bench.find(idle) is not None


async def test_what_is_forgotten_while_keys_are_read_again_stays_forgotten() -> None:
    bench = Bench()
    made = await bench.key()
    await bench.find(made)
    bench.store.held_back = asyncio.Event()
    reading = asyncio.create_task(bench.ring.reread())
    await asyncio.sleep(0)
    bench.ring.forget(made.row.hash)
    bench.store.held_back.set()
    await reading
    assert bench.ring.known(made.row.hash) is None


async def test_a_key_that_is_used_now_and_then_was_last_used_then() -> None:
    bench = Bench()
    made = await bench.key()
    moments = []
    for _ in range(3):
        await bench.find(made)
        await bench.ring.reread()
        moments.append((await bench.store.all())[0].last_used_at)
        bench.time.now += 300
        bench.clock.advance(300)
        await bench.ring.reread()
    assert len(set(moments)) == 3


async def test_where_there_are_too_many_those_that_are_not_used_go_first() -> None:
    bench = Bench()
    used, idle = await bench.key(), await bench.key()
    for made in (used, idle):
        await bench.find(made)
    bench.time.now += 61
    await bench.find(used)
    await bench.ring.reread()
    assert list(bench.ring._held) == [idle.row.hash, used.row.hash]


async def test_who_comes_back_after_a_while_is_asked_for_though_strangers_try_keys() -> None:
    bench = Bench(Terms(lookups=Rate(0.001, 3)))
    made = await bench.key()
    assert await bench.find(made) is not None
    bench.time.now += 600
    await bench.ring.reread()
    for number in range(2):
        assert await bench.ring.find(digest_of(b"%d" % number)) is None
    with pytest.raises(OverloadedError):
        await bench.ring.find(digest_of(b"one too many"))
    assert await bench.find(made) is not None
    await bench.store.revoke(made.row.key_id, 0)
    bench.time.now += 600
    assert await bench.find(made) is None


async def test_a_key_that_was_revoked_by_a_clock_that_is_fast_has_ended_all_the_same() -> None:
    bench = Bench()
    made = await bench.key()
    assert await bench.find(made) is not None
    await bench.store.revoke(made.row.key_id, to_micros(bench.clock() + timedelta(hours=1)))
    await bench.ring.reread()
    assert bench.ring.known(made.row.hash) is None
    assert await bench.find(made) is None


async def test_what_is_known_is_bounded() -> None:
    bench = Bench(Terms(lookups=Rate(1e5, 10**6)))
    for number in range(10_050):
        await bench.ring.find(digest_of(b"%d" % number))
    assert len(bench.ring._none) == 10_000
