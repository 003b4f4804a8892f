"""Artifacts swapped, spoiled and taken away under load, and a service killed amid learned decisions."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import httpx
import orjson

from tests.faults.services import running
from tests.faults.trainers import Trainers, require_exact, require_numbered
from tests.service.artifacts import NAME, SHIPPED_POLICY, SHIPPED_VERSION, put_artifact, truncate
from tests.service.processes import free_port

PINNED: Final = [f"pinned-{number}" for number in range(4)]
DEFAULT: Final = [f"default-{number}" for number in range(4)]
LATE: Final = [f"late-{number}" for number in range(4)]


def create(http: httpx.Client, run_ids: list[str], version: str | None = None) -> None:
    """Create runs of the learned policy."""
    for run_id in run_ids:
        created = http.put(f"/runs/{run_id}", json={"policy": {"name": "learned", "version": version}})
        assert created.status_code == 201, created.text


def activate(http: httpx.Client, name: str, version: str) -> httpx.Response:
    """Try to make a model the one that new runs begin with."""
    return http.post(f"/models/{name}/{version}/activate", json={"reason": "a fault test"})


def versions(trainers: Trainers) -> dict[str, set[str]]:
    """Of every run the versions that decided."""
    return {
        run_id: {orjson.loads(reply)["policy"]["version"] for reply in replies}
        for run_id, replies in trainers.told.items()
    }


def reasons(trainers: Trainers) -> set[str]:
    """What every reply says."""
    commands: list[Any] = []
    for replies in trainers.told.values():
        for reply in replies:
            commands += orjson.loads(reply)["commands"]
    return {command["reason"] for command in commands}


async def test_artifacts_that_come_and_go_under_load_fail_no_request(tmp_path: Path) -> None:
    models = tmp_path / "models"
    first, second = put_artifact(models, "1.1.0"), put_artifact(models, "2.0.0")
    database_url = f"sqlite:///{tmp_path / 'tamiyo.db'}"
    with (
        running(database_url, models=models) as service,
        httpx.Client(base_url=service.url, timeout=30) as http,
    ):
        create(http, PINNED, "mine-1.1.0")
        create(http, DEFAULT)
        # Not patient: whatever is not answered with 200 fails the test.
        trainers = Trainers(service.url, run_ids=PINNED + DEFAULT, patient=False)
        trainers.start()
        await trainers.progress(40)
        assert activate(http, "mine", "2.0.0").status_code == 200
        create(http, LATE)
        late = Trainers(service.url, run_ids=LATE, patient=False)
        late.start()
        await trainers.progress(40)
        truncate(first)
        refused = activate(http, "mine", "1.1.0")
        assert (refused.status_code, refused.json()["code"]) == (409, "model_rejected")
        await trainers.progress(40)
        shutil.rmtree(second)
        await late.progress(40)
        assert activate(http, NAME, SHIPPED_VERSION).status_code == 200
        await trainers.progress(40)
        await trainers.finish()
        await late.finish()
        for one in (trainers, late):
            require_exact(service.url, one.told)
    decided = versions(trainers) | versions(late)
    assert {run_id: decided[run_id] for run_id in PINNED} == {key: {"mine-1.1.0"} for key in PINNED}
    assert {run_id: decided[run_id] for run_id in DEFAULT} == {key: {SHIPPED_POLICY} for key in DEFAULT}
    assert {run_id: decided[run_id] for run_id in LATE} == {key: {"mine-2.0.0"} for key in LATE}
    told = reasons(trainers) | reasons(late)
    assert any("the network gives" in reason for reason in told)
    assert not any("cannot be used" in reason for reason in told), "what is loaded goes on serving"


async def test_a_service_killed_amid_learned_decisions_keeps_every_acknowledged_one(tmp_path: Path) -> None:
    models = tmp_path / "models"
    put_artifact(models, "1.1.0")
    database_url, port = f"sqlite:///{tmp_path / 'tamiyo.db'}", free_port()
    url = f"http://127.0.0.1:{port}"
    trainers = Trainers(url, run_ids=PINNED)
    with running(database_url, port, models=models) as service:
        with httpx.Client(base_url=url, timeout=30) as http:
            create(http, PINNED, "mine-1.1.0")
        trainers.start()
        await trainers.progress(60)
        service.kill()
    shutil.rmtree(models / "mine")
    with running(database_url, port, models=models):
        # Without its artifact the heuristic decides in its place.
        await trainers.progress(60)
        await trainers.finish()
        require_exact(url, trainers.told)
    require_numbered(database_url, trainers.told)
    told = reasons(trainers)
    assert any("the network gives" in reason for reason in told)
    assert any("the heuristic decided" in reason for reason in told)
