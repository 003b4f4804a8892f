"""Runs whose policy is not installed any more: everything but a new decision goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.conftest import Service, serving, sql_store
from tests.service.plugins import policy_installed

MINE: dict[str, Any] = {"policy": {"name": "mine", "version": "1"}}


@pytest.fixture
async def orphaned(tmp_path: Path) -> Path:
    """A folder whose database has a run of a policy that is gone, one without reports, and one of another."""
    with policy_installed(tmp_path):
        async with serving(sql_store(tmp_path)) as service:
            for run_id in ("run", "fresh"):
                assert (await service.http.put(f"/runs/{run_id}", json=MINE)).status_code == 201
            await service.reports("run", 0, 1, 2)
            await service.report("other", 0)
    return tmp_path


def refused(response: httpx.Response, reason: str) -> None:
    assert (response.status_code, response.json()["code"]) == (409, "model_rejected"), response.text
    assert reason in response.json()["detail"]
    assert "restart" in response.json()["detail"]


async def test_a_run_without_its_policy_is_read_listed_and_replayed(orphaned: Path) -> None:
    async with serving(sql_store(orphaned)) as service:
        assert [run["run_id"] for run in (await service.get("/runs"))["items"]] == ["other", "fresh", "run"]
        run = await service.get("/runs/run")
        assert (run["policy"]["name"], run["policy"]["version"], run["last_epoch"]) == ("mine", "1", 2)
        assert len((await service.get("/runs/run/decisions"))["items"]) == 3
        for epoch in (0, 2):
            assert (await service.report("run", epoch)).headers["tamiyo-replayed"] == "true"
        assert (await service.http.put("/runs/run", json=MINE)).status_code == 200
        assert (await service.http.put("/runs/new", json=MINE)).json()["code"] == "invalid_config"


async def test_a_run_without_its_policy_gets_no_new_decision_and_no_explanation(orphaned: Path) -> None:
    async with serving(sql_store(orphaned)) as service:
        for response in (
            await service.report("run", 3),
            await service.report("fresh", 0),
            await service.http.get("/runs/run/decisions/1"),
        ):
            refused(response, "unknown policy 'mine'")
        assert (await service.get("/runs/run"))["last_epoch"] == 2
        assert (await service.report("other", 1)).status_code == 200


async def test_another_version_than_the_pinned_one_decides_nothing(orphaned: Path) -> None:
    with policy_installed(orphaned, "2"):
        async with serving(sql_store(orphaned)) as service:
            refused(await service.report("run", 3), "policy mine has version 2, not '1'")
            assert len((await service.get("/runs"))["items"]) == 3


async def test_a_run_without_its_policy_is_completed_and_deleted(orphaned: Path) -> None:
    async with serving(sql_store(orphaned)) as service:
        for run_id in ("run", "fresh"):
            completed = await service.http.post(f"/runs/{run_id}/complete", json={"result": "failed"})
            assert completed.json()["status"] == "COMPLETED"
            assert (await service.http.delete(f"/runs/{run_id}")).status_code == 204
        assert [run["run_id"] for run in (await service.get("/runs"))["items"]] == ["other"]


async def told(service: Service, run_id: str, epoch: int, **fields: Any) -> str:
    (reply,) = await service.reports(run_id, epoch, **fields)
    reason: str = reply["commands"][0]["reason"]
    return reason


async def test_a_policy_that_is_back_goes_on_where_it_was(orphaned: Path) -> None:
    async with serving(sql_store(orphaned)) as service:
        for run_id in ("run", "fresh"):
            assert (await service.http.put(f"/runs/{run_id}/hold", json={"reason": "r"})).status_code == 200
            assert (await service.http.delete(f"/runs/{run_id}/hold")).status_code == 200
        assert (await service.http.post("/runs/run/rewind", json={"to_epoch": 1, "attempt": 1})).is_success
    with policy_installed(orphaned):
        async with serving(sql_store(orphaned)) as service:
            assert await told(service, "run", 2, attempt=1) == "wait number 3"
            assert await told(service, "fresh", 0) == "wait number 1"
            assert (await service.get("/runs/fresh/decisions/0"))["epoch"] == 0


async def test_runs_are_listed_by_an_installed_policy(orphaned: Path) -> None:
    with policy_installed(orphaned):
        async with serving(sql_store(orphaned)) as service:
            assert [run["run_id"] for run in (await service.get("/runs?policy=mine"))["items"]] == [
                "fresh",
                "run",
            ]
            unknown = await service.http.get("/runs?policy=yours")
            assert unknown.status_code == 422
            assert "heuristic, mine, learned" in unknown.json()["detail"]
