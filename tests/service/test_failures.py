"""What fails fails for those it must, changes nothing, and mends itself."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import httpx
import pytest
import structlog
from tamiyo_service.api import readiness
from tamiyo_service.errors import InvalidRequestError
from tamiyo_service.store import MemoryStore, SqlStore
from tamiyo_service.store.rows import DecisionKey, Entry, RunRow

from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import report
from tests.service.stores import FailingStore, SlowStore


def refused(response: httpx.Response, code: str) -> None:
    assert response.status_code == 503, response.text
    assert response.json()["code"] == code
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) >= 1


async def test_a_write_that_fails_changes_nothing_and_may_be_repeated() -> None:
    store = FailingStore()
    async with serving(store) as service:
        await service.reports("run", 1)
        before = await service.get("/runs/run")
        store.broken = True
        refused(await service.report("run", 2), "store_unavailable")
        refused(await service.report("run", 2, val_accuracy=99.0), "store_unavailable")
        refused(await service.http.post("/runs/run/complete", json={"result": "failed"}), "store_unavailable")
        refused(await service.http.get("/readyz"), "store_unavailable")
        assert (await service.report("run", 1)).headers["tamiyo-replayed"] == "true"
        store.broken = False
        assert await service.get("/runs/run") == before
        assert (await service.report("run", 2)).status_code == 200
        assert (await service.http.get("/readyz")).status_code == 200


async def test_a_batch_on_a_failing_disk_answers_for_each_report() -> None:
    store = FailingStore()
    async with serving(store) as service:
        await service.reports("run", 1)
        store.broken = True
        items = [{"run_id": "run", "report": report(epoch)} for epoch in (2, 3)]
        results = (await service.http.post("/epochs", json={"reports": items})).json()["results"]
        assert [result["problem"]["code"] for result in results] == ["store_unavailable"] * 2
        store.broken = False
        results = (await service.http.post("/epochs", json={"reports": items})).json()["results"]
        assert [result["status"] for result in results] == [200, 200]


class FullDisk(SqlStore):
    """An SQLite store whose file may not grow while `full` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"sqlite:///{folder / 'tamiyo.db'}")

    def set_full(self, full: bool) -> None:
        """Let the database have no page more than it has, or as many as it likes."""
        connection = self._transactions.connection
        assert connection is not None
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        limit = pages if full else 1_000_000_000
        connection.exec_driver_sql(f"PRAGMA max_page_count={limit}")
        connection.rollback()


async def test_a_full_disk_is_told_of_and_mends_itself(tmp_path: Path) -> None:
    store = FullDisk(tmp_path)
    async with serving(store) as service:
        await service.reports("run", 0)
        store.set_full(True)
        accepted = 0
        for epoch in range(1, 500):
            response = await service.report("run", epoch)
            if response.status_code != 200:
                break
            accepted = epoch
        refused(response, "store_unavailable")
        refused(await service.http.get("/readyz"), "store_unavailable")
        assert (await service.http.get("/healthz")).status_code == 200
        assert (await service.get("/runs/run"))["last_epoch"] == accepted
        store.set_full(False)
        assert (await service.report("run", accepted + 1)).status_code == 200
        assert (await service.http.get("/readyz")).status_code == 200
    connection = sqlite3.connect(tmp_path / "tamiyo.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT max(epoch), count(*) FROM journal").fetchall() == [
        (accepted + 1, accepted + 2)
    ]
    connection.close()


async def test_a_database_locked_by_others_is_told_of(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path, patience=0.1)) as service:
        await service.reports("run", 0)
        other = sqlite3.connect(tmp_path / "tamiyo.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused(await service.report("run", 1), "store_unavailable")
        other.execute("ROLLBACK")
        other.close()
        assert (await service.report("run", 1)).status_code == 200


async def test_a_stuck_write_shows_in_readiness(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path), stall_seconds=0.05) as service:
        await service.reports("run", 0)
        other = sqlite3.connect(tmp_path / "tamiyo.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.ensure_future(service.report("run", 1))
        while (ready := await service.http.get("/readyz")).status_code == 200:
            await asyncio.sleep(0)
        refused(ready, "store_unavailable")
        assert (await service.http.get("/healthz")).status_code == 200
        other.execute("ROLLBACK")
        other.close()
        assert (await waiting).status_code == 200
        assert (await service.http.get("/readyz")).status_code == 200


async def test_a_store_that_gives_no_answer_shows_in_readiness() -> None:
    class Mute(MemoryStore):
        async def check(self) -> None:
            await asyncio.Event().wait()

    async with serving(Mute(), stall_seconds=0.01) as service:
        refused(await service.http.get("/readyz"), "store_unavailable")


async def test_the_store_is_asked_once_for_all_who_want_to_know_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(MemoryStore):
        checks = 0

        async def check(self) -> None:
            self.checks += 1
            await answers.wait()

    answers = asyncio.Event()
    store = Slow()
    async with serving(store, stall_seconds=3600.0) as service:
        asking = [asyncio.ensure_future(service.http.get("/readyz")) for _ in range(10)]
        while not store.checks:
            await asyncio.sleep(0)
        asking[0].cancel()
        await asyncio.sleep(0)
        answers.set()
        told = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(told[0], asyncio.CancelledError)
        assert {answer.status_code for answer in told[1:] if isinstance(answer, httpx.Response)} == {200}
        assert store.checks == 1
    answers.clear()
    monkeypatch.setattr(readiness, "_GIVEN_UP", 0.0)
    async with serving(store, stall_seconds=0.01) as service:
        refused(await service.http.get("/readyz"), "store_unavailable")
        refused(await service.http.get("/readyz"), "store_unavailable")
        # What hung is left alone: it may be its connection.
        assert store.checks == 3


async def test_more_waiting_writes_than_allowed_are_refused_at_once(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path, write_limit=3)) as service:
        for number in range(4):
            await service.report(f"run-{number}", 0)
        other = sqlite3.connect(tmp_path / "tamiyo.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = [asyncio.ensure_future(service.report(f"run-{number}", 1)) for number in range(3)]
        while service.store.write_age() == 0.0:
            await asyncio.sleep(0)
        late = asyncio.ensure_future(service.report("run-3", 1))
        refused(await late, "overloaded")
        other.execute("ROLLBACK")
        other.close()
        assert {(await response).status_code for response in waiting} == {200}
        assert (await service.report("run-0", 2)).status_code == 200


async def test_a_caller_who_hangs_up_does_not_undo_the_write() -> None:
    store = SlowStore()
    async with serving(store) as service:
        await service.reports("run", 0)
        store.writes_open.clear()
        store.waiting.clear()
        caller = asyncio.ensure_future(service.report("run", 1))
        await store.waiting.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        follower = asyncio.ensure_future(service.report("run", 1))
        store.writes_open.set()
        assert (await follower).headers["tamiyo-replayed"] == "true"
        assert (await service.report("run", 2)).status_code == 200
        assert (await service.get("/runs/run"))["counts"] == {"WAIT": 3}


async def test_a_caller_who_hangs_up_while_waiting_for_the_turn_blocks_nobody() -> None:
    store = SlowStore()
    async with serving(store) as service:
        await service.reports("run", 0)
        store.writes_open.clear()
        store.waiting.clear()
        first = asyncio.ensure_future(service.report("run", 1))
        await store.waiting.wait()
        second = asyncio.ensure_future(service.report("run", 2))
        third = asyncio.ensure_future(service.report("run", 3))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        store.writes_open.set()
        assert (await first).status_code == 200
        assert (await third).status_code == 200


async def test_a_stopping_service_refuses_new_work_in_words(service: Service) -> None:
    await service.reports("run", 1)
    service.app.state.services.gate.close()
    for response in (
        await service.report("run", 2),
        await service.report("run", 1),
        await service.http.get("/runs/run"),
        await service.http.get("/nonsense"),
        await service.http.get("/readyz"),
    ):
        refused(response, "shutting_down")
    assert (await service.http.get("/healthz")).status_code == 200


async def test_a_service_that_ends_beside_others_answers_whoever_still_gets_through(service: Service) -> None:
    service.app.state.services.gate.end()
    assert (await service.report("run", 1)).status_code == 200
    assert (await service.http.get("/readyz")).status_code == 200


async def test_another_process_that_advanced_the_run_is_caught_up_with(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as one, serving(SqlStore(database_url)) as two:
        for epoch in range(0, 10, 2):
            assert (await one.report("run", epoch)).status_code == 200
            assert (await two.report("run", epoch + 1)).status_code == 200
        first = await one.report("run", 10)
        again = await two.report("run", 10)
        assert again.content == first.content
        decided = [item["epoch"] for item in (await one.get("/runs/run/decisions"))["items"]]
        assert decided == list(range(10, -1, -1))
        for epoch in range(11):
            await one.get(f"/runs/run/decisions/{epoch}")


async def test_a_number_too_large_for_the_database_is_no_failure_of_it(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as service:
        with pytest.raises(InvalidRequestError, match="large"):
            await service.store.report(DecisionKey(1, 0, 2**64))
        assert (await service.http.get("/readyz")).status_code == 200


class BrokenStore(MemoryStore):
    """Has a defect."""

    async def run(self, run_id: str) -> RunRow | None:
        raise ZeroDivisionError("a defect")

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        raise ZeroDivisionError("a defect")


@pytest.mark.parametrize("path", ["/runs/run", "/runs/run/epoch"])
async def test_a_defect_is_answered_with_an_id_that_the_log_knows(path: str) -> None:
    async with serving(BrokenStore()) as service:
        with structlog.testing.capture_logs() as entries:
            method = "POST" if path.endswith("epoch") else "GET"
            response = await service.http.request(method, path, json=report(1) if method == "POST" else None)
        assert response.status_code == 500
        assert response.headers["content-type"] == "application/problem+json"
        document = response.json()
        assert document["code"] == "internal_error"
        assert "a defect" not in json.dumps(document)
        (entry,) = [entry for entry in entries if entry["event"] == "internal_error"]
        assert (entry["error_id"], entry["run"]) == (document["error_id"], "run")
        assert isinstance(entry["exc_info"], ZeroDivisionError)
