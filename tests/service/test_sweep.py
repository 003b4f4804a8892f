"""Sweeps: what has expired goes, everything else stays, whoever else is at work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tamiyo_service.clock import to_micros
from tamiyo_service.retention.opening import open_archive
from tamiyo_service.retention.rules import Rules
from tamiyo_service.retention.sweep import Sweep
from tamiyo_service.store import SqlStore, Store
from tamiyo_service.store.expired import Cutoffs
from tamiyo_service.store.rows import Entry

from tests.service.clocks import SteppingClock
from tests.service.retained import RULES, RevivingStore, archived, make_run, sweep_of

DAY = 86_400.0


@pytest.fixture
def clock() -> SteppingClock:
    return SteppingClock()


async def names(store: Store) -> list[str]:
    page = await store.expired(Cutoffs(10**18, 10**18), 0, 1000)
    return sorted(found.run.run_id for found in page.runs)


async def test_completed_and_silent_runs_go_each_after_their_time(store: Store, clock: SteppingClock) -> None:
    await make_run(store, clock, "done-long-ago", done=True)
    clock.advance(61 * DAY)
    await make_run(store, clock, "silent-for-a-month")
    await make_run(store, clock, "done-a-month-ago", done=True)
    clock.advance(29.5 * DAY)
    await make_run(store, clock, "alive")
    clock.advance(0.6 * DAY)
    swept = await sweep_of(store, clock).run()
    assert await names(store) == ["alive", "done-a-month-ago"]
    assert (swept.runs, swept.inputs, swept.spared) == (2, 4 + 3, 0)


async def test_without_rules_nothing_goes(store: Store, clock: SteppingClock) -> None:
    await make_run(store, clock, "old", done=True)
    clock.advance(10_000 * DAY)
    assert (await sweep_of(store, clock, rules=Rules()).run()).runs == 0
    assert await names(store) == ["old"]


async def test_a_look_changes_nothing(store: Store, clock: SteppingClock) -> None:
    await make_run(store, clock, "old")
    clock.advance(31 * DAY)
    found = [expired.run.run_id async for expired in sweep_of(store, clock).expired()]
    assert found == await names(store) == ["old"]


async def test_a_large_run_goes_entirely(store: Store, clock: SteppingClock) -> None:
    run = await make_run(store, clock, "large", epochs=2_000)
    clock.advance(31 * DAY)
    swept = await sweep_of(store, clock).run()
    assert (swept.runs, swept.inputs) == (1, 2_000)
    assert await store.version(run.run_pk) is None
    assert await store.retired(10**18, 10) == []


async def test_sweeps_at_the_same_time_share_the_runs(database_url: str, clock: SteppingClock) -> None:
    one, two = SqlStore(database_url), SqlStore(database_url)
    await one.open()
    await two.open()
    for number in range(40):
        await make_run(one, clock, f"run-{number}")
    clock.advance(31 * DAY)
    swept = await asyncio.gather(sweep_of(one, clock).run(), sweep_of(two, clock).run())
    assert sum(each.runs for each in swept) == 40
    assert await names(one) == []
    await one.close()
    await two.close()


async def test_a_run_that_comes_back_while_it_is_swept_is_spared(clock: SteppingClock) -> None:
    store = RevivingStore()
    run = await make_run(store, clock, "old")
    await make_run(store, clock, "older")
    clock.advance(31 * DAY)
    store.revived = run
    swept = await sweep_of(store, clock).run()
    assert (swept.runs, swept.spared) == (1, 1)
    assert await names(store) == ["old"]


async def test_what_a_killed_sweep_left_behind_is_finished_by_another(
    store: Store, clock: SteppingClock
) -> None:
    run = await make_run(store, clock, "old")
    clock.advance(31 * DAY)
    killed = asyncio.create_task(Sweep(store, RULES, clock, pause=for_ever).run())
    while await store.run("old") is not None:
        await asyncio.sleep(0)
    killed.cancel()
    await asyncio.wait([killed])
    assert await store.belongings(Entry, run.run_pk, 0, 10)
    assert (await sweep_of(store, clock).run()).runs == 0, "the other may still be at it"
    clock.advance(3_700)
    assert (await sweep_of(store, clock).run()).runs == 1
    assert await store.belongings(Entry, run.run_pk, 0, 10) == []
    assert await store.version(run.run_pk) is None


async def test_what_was_to_be_archived_waits_for_an_archive(
    store: Store, clock: SteppingClock, tmp_path: Path
) -> None:
    run = await make_run(store, clock, "old")
    clock.advance(31 * DAY)
    found = (await store.expired(RULES.cutoffs(clock()), 0, 10)).runs
    await store.retire(found, to_micros(clock()), to_archive=True)
    clock.advance(3_700)
    swept = await sweep_of(store, clock).run()
    assert (swept.runs, swept.waiting) == (0, 1)
    assert len(await store.belongings(Entry, run.run_pk, 0, 10)) == 3
    swept = await sweep_of(store, clock, open_archive(tmp_path / "archive")).run()
    assert (swept.runs, swept.waiting) == (1, 0)
    assert [row["run_id"] for row in archived(tmp_path / "archive", "runs")] == ["old"]
    assert len(archived(tmp_path / "archive", "journal")) == 3


async def for_ever(_seconds: float) -> None:
    await asyncio.Event().wait()
