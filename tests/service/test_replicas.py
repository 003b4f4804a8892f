"""Two processes on one database: what either has done, the other knows before it refuses or does nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tamiyo_service.store import MemoryStore, SqlStore
from tamiyo_service.store.rows import DecisionKey, Entry

from tests.service.conftest import Service, serving
from tests.service.samples import report


@pytest.fixture
async def pair(database_url: str) -> AsyncIterator[tuple[Service, Service]]:
    """Two services on one database; the first has the run in memory."""
    async with serving(SqlStore(database_url)) as one, serving(SqlStore(database_url)) as two:
        await one.reports("run", 0, 1, 2)
        yield one, two


async def post(service: Service, path: str, body: Any) -> Any:
    response = await service.http.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_attempt_that_another_process_opened(pair: tuple[Service, Service]) -> None:
    one, two = pair
    await post(two, "/runs/run/rewind", {"to_epoch": 1, "attempt": 1})
    assert (await one.report("run", 2, attempt=1)).status_code == 200
    assert (await two.report("run", 3, attempt=1)).status_code == 200


async def test_an_attempt_that_another_process_opened_before_a_batch(pair: tuple[Service, Service]) -> None:
    one, two = pair
    await post(two, "/runs/run/rewind", {"to_epoch": 1, "attempt": 1})
    items = [{"run_id": "run", "report": report(epoch, attempt=1)} for epoch in (2, 3)]
    results = (await post(one, "/epochs", {"reports": items}))["results"]
    assert [result["status"] for result in results] == [200, 200]


async def test_a_hold_of_another_process_is_released(pair: tuple[Service, Service]) -> None:
    one, two = pair
    await two.http.put("/runs/run/hold", json={"reason": "r"})
    assert (await one.http.delete("/runs/run/hold")).json()["status"] == "ACTIVE"
    (reply,) = await two.reports("run", 3)
    assert "held" not in reply["commands"][0]["reason"]


async def test_a_run_that_another_process_reopened_is_completed_again(pair: tuple[Service, Service]) -> None:
    one, two = pair
    await post(one, "/runs/run/complete", {"result": "succeeded"})
    await post(two, "/runs/run/rewind", {"to_epoch": 1, "attempt": 1})
    assert (await post(one, "/runs/run/complete", {"result": "succeeded"}))["status"] == "COMPLETED"
    assert (await two.report("run", 2, attempt=1)).json()["code"] == "run_completed"


async def test_a_run_that_another_process_reopened_takes_reports(pair: tuple[Service, Service]) -> None:
    one, two = pair
    await post(one, "/runs/run/complete", {"result": "succeeded"})
    await post(two, "/runs/run/rewind", {"to_epoch": 1, "attempt": 1})
    assert (await one.report("run", 2, attempt=1)).status_code == 200


async def test_a_run_that_another_process_deleted_is_gone(pair: tuple[Service, Service]) -> None:
    one, two = pair
    await two.http.delete("/runs/run")
    for response in (
        await one.http.delete("/runs/run/hold"),
        await one.http.delete("/runs/run"),
        await one.http.post("/runs/run/epoch?create=false", json=report(1)),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "run_not_found")
    anew = await one.report("run", 0)
    assert anew.status_code == 200
    assert "tamiyo-replayed" not in anew.headers


@pytest.mark.parametrize("reports", [0, 3])
async def test_a_run_that_another_process_made_anew_is_the_one_deleted(
    pair: tuple[Service, Service], reports: int
) -> None:
    one, two = pair
    await two.http.delete("/runs/run")
    await two.http.put("/runs/run")
    await two.reports("run", *range(reports))
    assert (await one.http.delete("/runs/run")).status_code == 204
    assert (await two.http.get("/runs/run")).status_code == 404


async def test_reports_that_both_receive_at_once_are_decided_once_each(pair: tuple[Service, Service]) -> None:
    names = [f"run-{number}" for number in range(6)]
    for epoch in range(12):
        asked = [(service, name) for name in names for service in pair]
        fields = {"val_accuracy": 50.0 + epoch % 3}
        answers = await asyncio.gather(*(service.report(name, epoch, **fields) for service, name in asked))
        assert {answer.status_code for answer in answers} == {200}
        for first, second in zip(answers[::2], answers[1::2], strict=True):
            assert first.content == second.content
            assert ("tamiyo-replayed" in first.headers) != ("tamiyo-replayed" in second.headers)
    one, _ = pair
    for name in names:
        items = (await one.get(f"/runs/{name}/decisions"))["items"]
        assert [item["epoch"] for item in items] == list(range(11, -1, -1))
        for epoch in range(12):
            await one.get(f"/runs/{name}/decisions/{epoch}")


async def test_reports_that_both_receive_with_other_content_are_decided_for_one(
    pair: tuple[Service, Service],
) -> None:
    one, two = pair
    for epoch in range(3, 15):
        answers = await asyncio.gather(
            one.report("run", epoch, val_accuracy=60.0), two.report("run", epoch, val_accuracy=40.0)
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]


class ReadCounter(MemoryStore):
    """Counts the questions about one run."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def version(self, run_pk: int) -> int | None:
        self.reads += 1
        return await super().version(run_pk)

    async def report(self, key: DecisionKey) -> Entry | None:
        self.reads += 1
        return await super().report(key)


async def test_neither_a_new_report_nor_the_repetition_of_the_latest_reads_anything() -> None:
    store = ReadCounter()
    async with serving(store) as service:
        for epoch in range(3):
            await service.report("run", epoch)
            assert (await service.report("run", epoch)).headers["tamiyo-replayed"] == "true"
        items = [{"run_id": "run", "report": report(epoch)} for epoch in (2, 3)]
        await post(service, "/epochs", {"reports": items})
        assert store.reads == 0
        assert (await service.report("run", 1, attempt=1)).status_code == 409
        assert store.reads == 1


async def test_an_outcome_of_the_latest_wait_reads_nothing() -> None:
    store = ReadCounter()
    async with serving(store) as service:
        (reply,) = await service.reports("run", 0)
        outcome = {"command_id": reply["commands"][0]["command_id"], "status": "EXECUTED"}
        assert (await service.report("run", 1, outcomes=[outcome])).status_code == 200
        outcome["command_id"] = "run@0.1.1"
        await post(service, "/runs/run/commands/run@0.1.1/outcome", {"status": "EXECUTED"})
        assert store.reads == 0
