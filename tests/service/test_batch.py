"""POST /epochs: many reports at once, each answered for itself."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from typing import Any

import structlog
from tamiyo_leyline import EpochReport
from tamiyo_service import Settings
from tamiyo_service.clock import utc_now
from tamiyo_service.runs.deciding import Reply
from tamiyo_service.runs.seat import TOGETHER
from tamiyo_service.runs.stretches import STRETCH_SECONDS
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.rows import DecisionKey, Entry, NewRun, RunRow
from tamiyo_service.testing import open_app

from tests.service.conftest import Service, serving
from tests.service.samples import epoch_report, report, seed


async def post(service: Service, *items: Any) -> list[dict[str, Any]]:
    response = await service.http.post("/epochs", json={"reports": list(items)})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results


def item(run_id: str, epoch: int, **fields: Any) -> dict[str, Any]:
    return {"run_id": run_id, "report": report(epoch, **fields)}


async def test_replies_come_in_the_order_of_the_reports(any_service: Service) -> None:
    order = [("a", 1), ("b", 1), ("a", 2), ("c", 7), ("b", 2), ("a", 3)]
    results = await post(any_service, *(item(run_id, epoch) for run_id, epoch in order))
    assert [result["status"] for result in results] == [200] * 6
    assert [(r["reply"]["run_id"], r["reply"]["epoch"]) for r in results] == order


async def test_a_batch_decides_as_single_reports_would(any_service: Service) -> None:
    batched = await post(any_service, *(item("batched", epoch) for epoch in range(12)))
    single = await any_service.reports("single", *range(12))
    assert [r["reply"]["commands"][0]["reason"] for r in batched] == [
        reply["commands"][0]["reason"] for reply in single
    ]
    assert (await any_service.get("/runs/batched"))["counts"] == (await any_service.get("/runs/single"))[
        "counts"
    ]
    for epoch in range(12):
        assert (await any_service.get(f"/runs/batched/decisions/{epoch}"))["epoch"] == epoch


async def test_a_failure_concerns_its_report_alone(any_service: Service) -> None:
    await any_service.reports("a", 1)
    results = await post(
        any_service,
        item("a", 1, val_accuracy=1.0),
        item("a", 2),
        item("a", 3, val_accuracy=250),
        item("a", 3, seeds=[seed(blueprint_id="mlp")]),
        item("a", 3),
        item("b c", 1),
        {"run_id": "b"},
        "nonsense",
        item("b", 1, attempt=4),
        item("b", 1),
    )
    codes = [result["problem"]["code"] if result["problem"] else None for result in results]
    assert codes == [
        "epoch_conflict", None, "invalid_report", "unknown_blueprint", None,
        "invalid_run_id", "invalid_report", "invalid_report", "attempt_conflict", None,
    ]  # fmt: skip
    assert [result["status"] for result in results] == [409, 200, 422, 422, 200, 422, 422, 422, 409, 200]
    assert (await any_service.get("/runs/a"))["last_epoch"] == 3
    assert (await any_service.get("/runs/b"))["last_epoch"] == 1


async def test_repetitions_within_and_after_a_batch_are_replays(any_service: Service) -> None:
    first = await post(any_service, item("a", 1), item("a", 2), item("a", 1), item("a", 2, val_accuracy=2.0))
    assert [result["replayed"] for result in first] == [False, False, True, False]
    assert first[2]["reply"] == first[0]["reply"]
    assert first[3]["problem"]["code"] == "epoch_conflict"
    again = await post(any_service, item("a", 1), item("a", 2))
    assert [result["replayed"] for result in again] == [True, True]
    assert [result["reply"] for result in again] == [first[0]["reply"], first[1]["reply"]]


async def test_outcomes_may_concern_commands_of_the_same_batch(any_service: Service) -> None:
    issued = await any_service.germination("rehearsal")
    reports = [item("a", epoch) for epoch in range(issued["epoch"] + 1)]
    command_id = f"a@0.{issued['epoch']}.1"
    outcome = [{"command_id": command_id, "status": "REFUSED"}]
    results = await post(any_service, *reports, item("a", issued["epoch"] + 1, outcomes=outcome))
    assert results[-1]["status"] == 200
    record = await any_service.get(f"/runs/a/decisions/{issued['epoch']}")
    assert [known["status"] for known in record["outcomes"]] == ["REFUSED"]


async def test_a_run_all_of_whose_reports_are_refused_is_not_created(any_service: Service) -> None:
    results = await post(any_service, item("a", 1, attempt=1), item("a", 2, seeds=[seed(blueprint_id="mlp")]))
    assert [result["problem"]["code"] for result in results] == ["attempt_conflict", "unknown_blueprint"]
    assert (await any_service.http.get("/runs/a")).status_code == 404


async def test_a_full_batch(any_service: Service) -> None:
    results = await post(any_service, *(item(f"run-{n % 100}", n // 100) for n in range(1024)))
    assert {result["status"] for result in results} == {200}
    assert len((await any_service.get("/decisions?limit=1000"))["items"]) == 1000


async def test_an_empty_batch(any_service: Service) -> None:
    assert await post(any_service) == []


async def test_not_finite_losses_travel_in_a_batch(any_service: Service) -> None:
    body = b'{"reports": [{"run_id": "a", "report": {"epoch": 1, "available_slots": 0, "val_loss": NaN}}, 7]}'
    response = await any_service.http.post("/epochs", content=body)
    assert [result["status"] for result in response.json()["results"]] == [200, 422]
    assert (await any_service.get("/runs/a/decisions/1"))["report"]["val_loss"] == "NaN"


async def test_an_outcome_of_an_impossible_command_concerns_its_report_alone(any_service: Service) -> None:
    outcome = {"command_id": "a@0.99999999999999999999.1", "status": "EXECUTED"}
    results = await post(
        any_service, item("b", 1), item("a", 1), item("a", 2, outcomes=[outcome]), item("a", 2), item("c", 1)
    )
    assert [result["status"] for result in results] == [200, 200, 422, 200, 200]
    assert results[2]["problem"]["code"] == "unknown_command"


class FaultyStore(MemoryStore):
    """Has a defect that shows with one run, and one that shows with one epoch."""

    async def load(self, run_id: str) -> tuple[RunRow, Entry | None] | None:
        if run_id == "poison":
            raise ZeroDivisionError("a defect")
        return await super().load(run_id)

    async def create_run(self, run: NewRun) -> tuple[RunRow, bool]:
        if run.run_id == "poison":
            raise ZeroDivisionError("a defect")
        return await super().create_run(run)

    async def report(self, key: DecisionKey) -> Entry | None:
        if key.epoch == 2:
            raise ZeroDivisionError("a defect")
        return await super().report(key)


async def test_a_defect_concerns_its_report_alone() -> None:
    async with serving(FaultyStore()) as service:
        await service.reports("b", 1, 3)
        with structlog.testing.capture_logs() as entries:
            results = await post(
                service, item("a", 1), item("poison", 1), item("b", 2), item("b", 4), item("c", 1)
            )
        assert [result["status"] for result in results] == [200, 500, 500, 200, 200]
        problems = [result["problem"] for result in results[1:3]]
        assert {problem["code"] for problem in problems} == {"internal_error"}
        logged = {entry["error_id"]: entry["exc_info"] for entry in entries}
        for problem in problems:
            assert isinstance(logged[problem["error_id"]].__cause__, ZeroDivisionError)
        assert (await service.get("/runs/b"))["last_epoch"] == 4


async def test_others_have_their_turn_while_a_batch_is_decided() -> None:
    working = False

    def working_clock() -> datetime:
        """Tells the time after as much work as others have to wait for at a stretch."""
        until = time.monotonic() + working * STRETCH_SECONDS
        while time.monotonic() < until:
            pass
        return utc_now()

    def reports(epoch: int) -> list[tuple[str, EpochReport]]:
        return [(f"run-{number}", epoch_report(epoch)) for number in range(20 * TOGETHER)]

    async with open_app(Settings(), store=MemoryStore(), clock=working_clock) as app:
        await app.state.services.batches.answer(reports(0))
        working = True
        batch = asyncio.ensure_future(app.state.services.batches.answer(reports(1)))
        turns = 0
        while not batch.done():
            await asyncio.sleep(0)
            turns += 1
    assert all(isinstance(reply, Reply) for reply in batch.result())
    assert turns > 20
