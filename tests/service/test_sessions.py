"""Runs in memory: bounded, loaded once, never dropped while in use."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from pathlib import Path

from tamiyo_leyline import RunConfig
from tamiyo_service import Settings, create_app
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.forgetting import forget
from tamiyo_service.runs.session import Session, Sessions
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.rows import Entry, NewRun, RunRow
from tamiyo_service.testing import open_app

from tests.service.asgi import post
from tests.service.conftest import serving, sql_store
from tests.service.samples import epoch_report, report, seed
from tests.service.stores import CountingStore, SlowStore

BYTES_PER_RUN = 6 * 1024
"""What a cached idle run may cost."""


async def filled(store: MemoryStore, runs: int) -> MemoryStore:
    for number in range(runs):
        await store.create_run(NewRun(f"run-{number}", RunConfig().model_dump_json(), "1", "heuristic", 0))
    return store


async def turn(sessions: Sessions, run_id: str) -> Session:
    session = await sessions.turn(run_id)
    assert session is not None
    return session


async def test_the_least_recently_used_run_leaves() -> None:
    store = CountingStore()
    sessions = Sessions(await filled(store, 4), Engines(), 2)
    for run_id in ("run-0", "run-1", "run-0", "run-2", "run-0"):
        sessions.release(await turn(sessions, run_id))
    assert (len(sessions), store.loads) == (2, 3)
    sessions.release(await turn(sessions, "run-1"))
    assert store.loads == 4


async def test_a_run_in_use_stays_even_beyond_the_limit() -> None:
    store = CountingStore()
    sessions = Sessions(await filled(store, 5), Engines(), 1)
    used = [await turn(sessions, f"run-{number}") for number in range(3)]
    assert len(sessions) == 3
    waiting = asyncio.ensure_future(turn(sessions, "run-0"))
    await asyncio.sleep(0)
    sessions.release(used[0])
    sessions.release(await turn(sessions, "run-3"))
    assert await waiting is used[0]
    for session in used:
        sessions.release(session)
    sessions.release(await turn(sessions, "run-4"))
    assert len(sessions) == 1


async def test_concurrent_first_touches_load_once() -> None:
    store = SlowStore()
    sessions = Sessions(await filled(store, 1), Engines(), 10)
    store.reads_open.clear()
    turns = [asyncio.ensure_future(turn(sessions, "run-0")) for _ in range(20)]
    await store.waiting.wait()
    store.reads_open.set()
    seen = set()
    for waiting in turns:
        session = await waiting
        seen.add(id(session))
        sessions.release(session)
    assert (len(seen), store.looks) == (1, 1)


async def test_a_run_that_goes_while_several_wait_for_it_to_be_read_is_looked_up_again() -> None:
    class Remembering(SlowStore):
        async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
            found = await MemoryStore.load(self, run_id)
            await super().load(run_id)
            return found

    store = Remembering()
    sessions = Sessions(await filled(store, 1), Engines(), 10)
    run = await store.run("run-0")
    assert run is not None
    store.reads_open.clear()
    loading = asyncio.ensure_future(sessions.load(["run-0"]))
    await store.waiting.wait()
    await store.delete_run(run.run_pk, 0)
    forgetting = asyncio.ensure_future(forget(sessions, run))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(sessions.turn("run-0"))
    await asyncio.sleep(0)
    store.reads_open.set()
    await asyncio.gather(loading, forgetting)
    assert await late is None
    assert (len(sessions), store.looks) == (0, 2)


async def test_a_cancelled_wait_leaves_the_line_in_order() -> None:
    sessions = Sessions(await filled(MemoryStore(), 1), Engines(), 10)
    first = await turn(sessions, "run-0")
    impatient = asyncio.ensure_future(turn(sessions, "run-0"))
    patient = asyncio.ensure_future(turn(sessions, "run-0"))
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    sessions.release(first)
    assert await patient is first
    sessions.release(first)
    assert first.users == 0


async def test_a_failed_load_is_tried_again() -> None:
    class Flaky(MemoryStore):
        broken = True

        async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
            if self.broken:
                raise OSError("unreadable")
            return await super().load(run_id)

    store = Flaky()
    sessions = Sessions(await filled(store, 1), Engines(), 10)
    first, second = await asyncio.gather(
        sessions.turn("run-0"), sessions.turn("run-0"), return_exceptions=True
    )
    assert isinstance(first, OSError)
    assert isinstance(second, OSError)
    store.broken = False
    assert await sessions.turn("run-0") is not None


async def test_more_runs_than_fit_go_round_and_round() -> None:
    runs, rounds = 10_000, 2
    store = CountingStore()
    async with open_app(Settings(cached_runs=1_000), store=store) as app:
        intake = app.state.services.intake
        for epoch in range(rounds):
            reported = epoch_report(epoch).model_dump_json().encode()
            for start in range(0, runs, 500):
                numbers = range(start, start + 500)
                await asyncio.gather(*(intake.report(f"run-{number}", reported) for number in numbers))
        assert store.loads == (rounds - 1) * runs, "every round after the first loads every run once"
        for number in random.Random(0).sample(range(runs), 50):
            answer = await post(app, f"/runs/run-{number}/epoch?snapshot=true", report(rounds))
            assert f'"run_id":"run-{number}"'.encode() in answer.body
            assert b'"state":[1,[3,2,2,' in answer.body, "three reports observed, the last of epoch 2"


async def test_an_evicted_run_goes_on_as_if_it_had_stayed(tmp_path: Path) -> None:
    replies: dict[int, list[str]] = {}
    for limit in (1, 100):
        folder = tmp_path / str(limit)
        folder.mkdir()
        async with serving(sql_store(folder), cached_runs=limit) as service:
            for epoch in range(15):
                for run_id in ("a", "b", "c"):
                    answer = await service.report(run_id, epoch)
                    reasons = [command["reason"] for command in answer.json()["commands"]]
                    replies.setdefault(limit, []).extend(reasons)
    assert replies[1] == replies[100]


async def test_an_idle_cached_run_costs_little_memory() -> None:
    runs, epochs = 100, 15
    store = MemoryStore()
    growing = [seed("TRAINING", metrics={"current_val_accuracy": 60.0, "accuracy_at_stage_start": 55.0})]
    reports = [
        epoch_report(epoch, seeds=growing, val_loss=0.5 + epoch / 7).model_dump_json().encode()
        for epoch in range(epochs)
    ]
    intake = create_app(Settings(), store=store).state.services.intake
    for number in range(runs):
        for reported in reports:
            await intake.report(f"run-{number}", reported)
    intake = create_app(Settings(), store=store).state.services.intake
    await intake.report("run-0", reports[-1])
    gc.collect()
    tracemalloc.start()
    for number in range(1, runs):
        await intake.report(f"run-{number}", reports[-1])
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / (runs - 1) < BYTES_PER_RUN
