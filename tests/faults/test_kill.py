"""kill -9 again and again under load: what was acknowledged is there, once, and nothing else changed."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

from tests.faults.services import running
from tests.faults.trainers import (
    Trainers,
    listed,
    lively,
    require_exact,
    require_numbered,
    require_undisturbed,
)
from tests.service.processes import free_port

RUNS: Final = [f"run-{number}" for number in range(8)]
BETWEEN_KILLS: Final = (30, 61, 17, 44)
"""Decisions: the kills come at different points of what the service does."""
BATCH_EPOCHS: Final = 20
BATCHES: Final = 6


async def test_a_service_that_is_killed_again_and_again_keeps_every_acknowledged_decision(
    database_url: str,
) -> None:
    port = free_port()
    trainers = Trainers(f"http://127.0.0.1:{port}", run_ids=RUNS)
    trainers.start()
    for decisions in BETWEEN_KILLS:
        with running(database_url, port) as service:
            await trainers.progress(decisions)
            service.kill()
    with running(database_url, port) as service:
        await trainers.progress(len(RUNS))
        await trainers.finish()
        require_exact(service.url, trainers.told)
    require_numbered(database_url, trainers.told)
    await require_undisturbed(trainers.told)


def batch(run_ids: list[str], first: int) -> dict[str, Any]:
    """Some epochs of some runs, all in one request."""
    epochs = range(first, first + BATCH_EPOCHS)
    return {"reports": [{"run_id": run, "report": lively(epoch)} for epoch in epochs for run in run_ids]}


class Batcher:
    """Posts one batch after the other until the service is gone."""

    def __init__(self, url: str, run_ids: list[str]) -> None:
        self.run_ids = run_ids
        self.acknowledged: list[list[dict[str, Any]]] = []
        self._url = url

    async def post_until_it_is_gone(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=30) as http:
            while True:
                body = batch(self.run_ids, BATCH_EPOCHS * len(self.acknowledged))
                try:
                    answer = await http.post("/epochs", json=body)
                except httpx.TransportError:
                    return
                assert answer.status_code == 200
                self.acknowledged.append(answer.json()["results"])


async def killed_while_posting(port: int, database_url: str, batchers: list[Batcher]) -> None:
    with running(database_url, port) as service:
        posting = asyncio.gather(*(batcher.post_until_it_is_gone() for batcher in batchers))
        while sum(len(batcher.acknowledged) for batcher in batchers) < BATCHES and not posting.done():
            await asyncio.sleep(0)
        service.kill()
        await posting


async def test_batches_that_a_kill_interrupts_are_there_or_not_and_may_be_repeated(
    database_url: str,
) -> None:
    port = free_port()
    batchers = [Batcher(f"http://127.0.0.1:{port}", [f"run-{n}", f"run-{n + 1}"]) for n in (0, 2, 4)]
    await killed_while_posting(port, database_url, batchers)
    told: dict[str, list[bytes]] = {}
    with (
        running(database_url, port) as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        for batcher in batchers:
            whole = BATCH_EPOCHS * len(batcher.acknowledged)
            kept = {run: [item["epoch"] for item in listed(http, run)] for run in batcher.run_ids}
            # A batch is one transaction.
            assert kept[batcher.run_ids[0]] == kept[batcher.run_ids[1]]
            for epochs in kept.values():
                assert epochs == list(range(len(epochs)))
                assert len(epochs) in (whole, whole + BATCH_EPOCHS)
            for number in range(len(batcher.acknowledged) + 1):
                told_again(http, batcher, number, {run: len(epochs) for run, epochs in kept.items()})
            for run in batcher.run_ids:
                items = listed(http, run)
                assert len(items) == whole + BATCH_EPOCHS
                told[run] = [repeated(http, run, epoch) for epoch in range(len(items))]
    require_numbered(database_url, told)
    await require_undisturbed(told)


def told_again(http: httpx.Client, batcher: Batcher, number: int, kept: dict[str, int]) -> None:
    """Repeat a batch twice: what was kept is told again, and what was not is decided, once."""
    body = batch(batcher.run_ids, BATCH_EPOCHS * number)
    results = http.post("/epochs", json=body).json()["results"]
    for item, result in zip(body["reports"], results, strict=True):
        assert result["status"] == 200
        assert result.get("replayed", False) == (item["report"]["epoch"] < kept[item["run_id"]])
    if number < len(batcher.acknowledged):
        before = [result["reply"] for result in batcher.acknowledged[number]]
        assert [result["reply"] for result in results] == before
    again = http.post("/epochs", json=body).json()["results"]
    assert [result["reply"] for result in again] == [result["reply"] for result in results]
    assert all(result["replayed"] for result in again)


def repeated(http: httpx.Client, run_id: str, epoch: int) -> bytes:
    """The reply to a report by itself that a batch had."""
    answer = http.post(f"/runs/{run_id}/epoch", json=lively(epoch))
    assert answer.headers["tamiyo-replayed"] == "true"
    return answer.content
