"""The system's clock is set back while trainings go on."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import tamiyo_client
import tamiyo_service
from tamiyo_service.store import SqlStore

from tests.faults.trainers import alone, essence, lively
from tests.service.clocks import SteppingClock
from tests.service.conftest import Service, serving
from tests.service.retained import make_run, sweep_of

RUNS: Final = ("a", "b")
DAY: Final = 86_400.0
JUMPS: Final = (-30.0, -3_600.0, 5.0, -400 * DAY)
"""Seconds, one after the other."""


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Service]:
    """A service on each kind of database."""
    async with serving(SqlStore(database_url)) as running:
        yield running


async def train(service: Service, epochs: range) -> list[bytes]:
    """Report these epochs of all runs; the replies, as they came."""
    return [
        (await service.http.post(f"/runs/{run}/epoch", json=lively(epoch))).content
        for epoch in epochs
        for run in RUNS
    ]


async def train_while_time_jumps(service: Service) -> list[bytes]:
    """Report six epochs of all runs before every jump, and after the last."""
    replies = []
    for number, jump in enumerate((*JUMPS, 0.0)):
        replies += await train(service, range(6 * number, 6 * number + 6))
        service.clock.advance(jump)
    return replies


async def pages(service: Service, path: str, cursor: str | None = None) -> list[dict[str, Any]]:
    """Everything of a list, page by page, after the cursor."""
    items: list[dict[str, Any]] = []
    while True:
        page = await service.get(path if cursor is None else f"{path}&cursor={cursor}")
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


async def test_decisions_and_their_repetitions_do_not_depend_on_the_time(service: Service) -> None:
    replies = await train_while_time_jumps(service)
    epochs = range(6 * (len(JUMPS) + 1))
    for number, run in enumerate(RUNS):
        told = replies[number :: len(RUNS)]
        assert [essence(reply) for reply in told] == await alone(run, epochs)
        listed = await pages(service, f"/runs/{run}/decisions?limit=7&order=asc")
        assert [item["epoch"] for item in listed] == list(epochs)
        for epoch in epochs:
            again = await service.http.post(f"/runs/{run}/epoch", json=lively(epoch))
            assert (again.content, again.headers["tamiyo-replayed"]) == (told[epoch], "true")
            assert (await service.http.get(f"/runs/{run}/decisions/{epoch}")).status_code == 200


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_lists_over_all_runs_hold_every_decision_once_in_the_order_of_its_moment(
    service: Service, order: str
) -> None:
    replies = await train_while_time_jumps(service)
    listed = await pages(service, f"/decisions?limit=7&order={order}")
    moments = [item["decided_at"] for item in listed]
    assert moments == sorted(moments, reverse=order == "desc")
    assert len({(item["run_id"], item["epoch"]) for item in listed}) == len(listed) == len(replies)
    for boundary in {*moments[::5], "2026-01-01T12:00:00Z"}:
        since = await pages(service, f"/decisions?limit=50&order={order}&since={boundary}")
        until = await pages(service, f"/decisions?limit=50&order={order}&until={boundary}")
        assert len(since) + len(until) == len(listed)
        assert all(item["decided_at"] >= boundary for item in since)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("jump", [-30.0, -3_600.0])
async def test_who_reads_on_after_a_jump_gets_what_was_there_once_and_forward_all_that_came(
    service: Service, order: str, jump: float
) -> None:
    await train(service, range(6))
    first = await service.get(f"/decisions?limit=11&order={order}")
    service.clock.advance(jump)
    await train(service, range(6, 12))
    rest = await pages(service, f"/decisions?limit=11&order={order}", first["next_cursor"])
    met = [(item["run_id"], item["epoch"]) for item in (*first["items"], *rest)]
    assert len(set(met)) == len(met)
    there_before = {(run, epoch) for run in RUNS for epoch in range(6)}
    assert there_before <= set(met)
    if order == "asc":
        assert set(met) == {(run, epoch) for run in RUNS for epoch in range(12)}


async def test_retention_deletes_nothing_early_when_the_clock_is_set_back(
    database_url: str,
) -> None:
    clock, store = SteppingClock(), SqlStore(database_url)
    await store.open()
    run = await make_run(store, clock, "silent")
    clock.advance(-400 * DAY)
    assert (await sweep_of(store, clock).run()).runs == 0
    later = await make_run(store, clock, "silent since an earlier time")
    clock.advance(31 * DAY)
    assert (await sweep_of(store, clock).run()).runs == 1
    assert await store.version(later.run_pk) is None
    assert await store.version(run.run_pk) is not None
    await store.close()


async def test_a_run_whose_last_report_lies_in_the_future_is_not_silent(service: Service) -> None:
    await train(service, range(2))
    service.clock.advance(-3_600.0)
    assert (await service.get("/runs?silent_for=60"))["items"] == []
    service.clock.advance(2 * 3_600.0)
    assert len((await service.get("/runs?silent_for=60"))["items"]) == len(RUNS)


def test_nothing_that_waits_looks_at_the_clock_that_can_be_set() -> None:
    """Moments are made in three places: the service's, the client's, and of spans; deadlines are none."""
    settable = re.compile(r"\btime\.time(_ns)?\(|from time import.*\btime\b|datetime\.(now|utcnow|today)\(")
    folders = [Path(package.__path__[0]) for package in (tamiyo_client, tamiyo_service)]
    files = [path for folder in folders for path in folder.rglob("*.py")]
    looking = {path.name for path in files if settable.search(path.read_text(encoding="utf-8"))}
    assert looking == {"clock.py", "decision.py", "spans.py"}
