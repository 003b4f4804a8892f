"""A service that deletes what need not be kept, while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tamiyo_service import Settings, create_app
from tamiyo_service.errors import StoreUnavailableError
from tamiyo_service.retention.archive import ArchiveError
from tamiyo_service.retention.sweeper import Sweeper
from tamiyo_service.store import MemoryStore, SqlStore, Store
from tamiyo_service.store.expired import Cutoffs, ExpiredPage
from tamiyo_service.store.retention import AT_ONCE_ROWS

from tests.service.clocks import SteppingClock
from tests.service.conftest import Service, serving, sql_store
from tests.service.retained import archived, at_once, make_run, sweep_of
from tests.service.samples import report

DAY = 86_400.0
GONE = (404, "run_not_found")
KEPT = {"retention": "90d", "retention_silent": "30d"}


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    store: Store = MemoryStore() if request.param == "memory" else sql_store(tmp_path)
    if request.param == "postgresql":
        store = SqlStore(request.getfixturevalue("postgres_url"))
    async with serving(store, **KEPT) as running:
        yield running


def sweeper_of(service: Service) -> Sweeper:
    sweeper = service.app.state.services.sweeper
    assert isinstance(sweeper, Sweeper)
    return sweeper


@asynccontextmanager
async def swept(service: Service) -> AsyncIterator[None]:
    """After a sweep has retired what is due, before it erases it."""
    task = asyncio.create_task(sweeper_of(service).sweep.run())
    # Until it is forgotten as well, its last report is still repeated from memory.
    while await status(service, "POST", "/runs/old/epoch?create=false", report(2)) != GONE:
        assert not task.done(), task
        await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def status(service: Service, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = await service.http.request(method, path, json=body)
    return answer.status_code, answer.json().get("code") if answer.content else None


async def test_a_run_that_expired_is_unknown_though_it_was_in_memory(service: Service) -> None:
    await service.reports("old", 0, 1, 2)
    service.clock.advance(31 * DAY)
    await service.reports("young", 0)
    async with swept(service):
        for method, path, body in (
            ("POST", "/runs/old/epoch?create=false", report(2)),
            ("POST", "/runs/old/epoch?create=false", report(3)),
            ("GET", "/runs/old", None),
            ("GET", "/runs/old/decisions", None),
            ("GET", "/runs/old/decisions/2", None),
            ("PUT", "/runs/old/hold", {"reason": "r"}),
            ("POST", "/runs/old/complete", {"result": "failed"}),
            ("POST", "/runs/old/rewind", {"to_epoch": 1, "attempt": 1}),
            ("DELETE", "/runs/old", None),
        ):
            assert await status(service, method, path, body) == GONE, (method, path)
        items = (await service.get("/runs"))["items"]
        assert [item["run_id"] for item in items] == ["young"]
        items = (await service.get("/decisions"))["items"]
        assert {item["run_id"] for item in items} == {"young"}


async def test_a_run_that_reports_after_it_expired_begins_anew(service: Service) -> None:
    await service.reports("old", 0, 1, 2)
    service.clock.advance(31 * DAY)
    async with swept(service):
        (reply,) = await service.reports("old", 0)
        assert reply["epoch"] == 0
        assert len((await service.get("/runs/old/decisions"))["items"]) == 1
        assert (await service.report("old", 0)).headers["tamiyo-replayed"] == "true"


async def test_a_run_that_reports_is_not_silent(service: Service) -> None:
    await service.reports("run", 0, 1)
    await service.http.put("/runs/run/hold", json={"reason": "r"})
    service.clock.advance(29 * DAY)
    await service.reports("run", 2)
    service.clock.advance(29 * DAY)
    assert (await sweeper_of(service).sweep.run()).runs == 0
    assert (await service.report("run", 3)).status_code == 200


async def test_completed_runs_are_kept_for_longer(service: Service) -> None:
    await service.reports("run", 0, 1)
    await service.http.post("/runs/run/complete", json={"result": "succeeded"})
    service.clock.advance(89 * DAY)
    assert (await sweeper_of(service).sweep.run()).runs == 0
    assert (await service.report("run", 1)).headers["tamiyo-replayed"] == "true"


async def test_a_run_that_another_process_swept_is_unknown_to_this_one(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as service:
        await service.reports("old", 0, 1, 2)
        await service.reports("older", 0, 1, 2)
        await service.http.put("/runs/silent")
        other, clock = SqlStore(database_url), SteppingClock()
        await other.open()
        clock.advance(40 * DAY)
        assert (await sweep_of(other, clock).run()).runs == 3
        await other.close()
        assert await status(service, "POST", "/runs/old/epoch?create=false", report(3)) == (
            404,
            "run_not_found",
        )
        assert await status(service, "PUT", "/runs/older/hold", {"reason": "r"}) == GONE
        anew = await service.report("old", 3)
        assert (anew.status_code, anew.json()["epoch"]) == (200, 3)
        batch = {
            "reports": [{"run_id": run_id, "report": report(4)} for run_id in ("older", "silent", "old")]
        }
        results = (await service.http.post("/epochs", json=batch)).json()["results"]
        assert [result["status"] for result in results] == [200, 200, 200]
        for run_id, epochs in (("old", [4, 3]), ("older", [4]), ("silent", [4])):
            items = (await service.get(f"/runs/{run_id}/decisions"))["items"]
            assert [item["epoch"] for item in items] == epochs


async def test_reports_that_arrive_while_their_run_is_swept_are_all_answered_and_kept(
    database_url: str,
) -> None:
    """Whoever is first: the run is spared, or the report begins a new one."""
    async with serving(SqlStore(database_url)) as service:
        other, clock = SqlStore(database_url), SteppingClock()
        await other.open()
        names = [f"run-{n}" for n in range(30)]
        for run_id in names:
            await service.reports(run_id, 0, 1)
        clock.advance(40 * DAY)
        service.clock.advance(40 * DAY)
        sweep = asyncio.create_task(sweep_of(other, clock).run())
        answers = [await service.report(run_id, 2) for run_id in reversed(names)]
        await sweep
        assert {answer.status_code for answer in answers} == {200}
        for run_id in names:
            items = (await service.get(f"/runs/{run_id}/decisions"))["items"]
            assert items[0]["epoch"] == 2
        await other.close()


async def test_a_service_sweeps_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    store = sql_store(tmp_path)
    async with serving(store, **KEPT, archive=folder, sweep_seconds=0.001) as service:
        await service.reports("old", 0, 1, 2)
        service.clock.advance(31 * DAY)
        while (await service.http.get("/runs/old")).status_code == 200:
            await asyncio.sleep(0)
        while not archived(folder, "runs"):
            await asyncio.sleep(0)
        assert [row["epoch"] for row in archived(folder, "journal")] == [0, 1, 2]


async def test_by_default_everything_is_kept() -> None:
    async with serving(MemoryStore()) as service:
        await service.reports("old", 0, 1)
        service.clock.advance(10_000 * DAY)
        with capture_logs() as entries:
            await sweeper_of(service).sweep_once()
        assert entries == []
        assert (await service.http.get("/runs/old")).status_code == 200


async def test_what_a_deletion_left_is_finished_by_a_sweep(tmp_path: Path) -> None:
    store = sql_store(tmp_path)
    async with serving(store) as service:
        run = await make_run(store, service.clock, "long", AT_ONCE_ROWS)
        assert await store.delete_run(run.run_pk, round(service.clock().timestamp() * 1e6))
        service.clock.advance(DAY)
        await sweeper_of(service).sweep_once()
        assert await store.version(run.run_pk) is None


async def test_a_long_run_is_deleted_at_once_and_erased_little_by_little(service: Service) -> None:
    store = service.app.state.services.store
    reports = [{"run_id": "long", "report": report(epoch)} for epoch in range(AT_ONCE_ROWS + 1)]
    assert await status(service, "POST", "/epochs", {"reports": reports}) == (200, None)
    run = await store.run("long")
    assert await status(service, "DELETE", "/runs/long") == (204, None)
    assert await status(service, "GET", "/runs/long") == GONE
    assert await status(service, "POST", "/runs/long/epoch?create=false", report(9_999)) == GONE
    assert (await service.http.get("/runs")).json()["items"] == []
    await service.reports("long", 0, 1)
    assert (await service.get("/runs/long"))["last_epoch"] == 1
    while await store.version(run.run_pk) is not None:
        await asyncio.sleep(0)
    assert (await service.get("/runs/long"))["last_epoch"] == 1


def test_an_archive_that_cannot_be_used_keeps_a_service_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(retention="90d", archive=tmp_path / "file" / "archive")
    with pytest.raises(ArchiveError, match="make sure that Tamiyo may write there"):
        create_app(settings, store=MemoryStore())


class SometimesAbsent(MemoryStore):
    """Does not answer the first question of a sweep."""

    asked = 0

    async def expired(self, cutoffs: Cutoffs, after: int, limit: int) -> ExpiredPage:
        self.asked += 1
        if self.asked == 1:
            raise StoreUnavailableError("the database does not answer")
        return await super().expired(cutoffs, after, limit)


async def test_a_failed_sweep_is_told_of_and_tried_again() -> None:
    store, clock = SometimesAbsent(), SteppingClock()
    await make_run(store, clock, "old")
    clock.advance(31 * DAY)
    sweeper = Sweeper(sweep_of(store, clock), 1.0, pause=at_once)
    with capture_logs() as logs:
        await sweeper.sweep_once()
        assert await store.run("old") is not None
        await sweeper.sweep_once()
    assert [entry["event"] for entry in logs] == ["sweep_failed", "swept"]
    assert logs[0]["error"] == "the database does not answer"
    assert (logs[1]["runs"], logs[1]["inputs"]) == (1, 3)
    assert logs[1]["seconds"] >= 0


async def test_a_service_that_stops_breaks_a_sweep_off() -> None:
    store, clock = MemoryStore(), SteppingClock()
    await make_run(store, clock, "old")
    clock.advance(31 * DAY)
    resting = asyncio.Event()

    async def rest(seconds: float) -> None:
        if seconds:
            resting.set()
            await asyncio.Event().wait()

    async with Sweeper(sweep_of(store, clock), 1.0, pause=rest).running():
        await resting.wait()


class Defective(MemoryStore):
    """Meets a defect in the first sweep."""

    def __init__(self) -> None:
        super().__init__()
        self.sweeps = 0

    async def expired(self, cutoffs: Cutoffs, after: int, limit: int) -> ExpiredPage:
        self.sweeps += 1
        if self.sweeps == 1:
            raise ZeroDivisionError("a defect")
        return await super().expired(cutoffs, after, limit)


async def test_a_defect_ends_one_sweep_and_no_more() -> None:
    store = Defective()
    async with serving(store) as service:
        await service.reports("old", 0)
        service.clock.advance(31 * DAY)
        sweeper = Sweeper(sweep_of(store, service.clock), 1.0)
        with capture_logs() as entries:
            await sweeper.sweep_once()
        assert [entry["event"] for entry in entries] == ["sweep_broke_off"]
        await sweeper.sweep_once()
        assert await status(service, "GET", "/runs/old") == GONE
