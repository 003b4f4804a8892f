"""The SQLite file is taken away from under a service: it says so, and writes nothing that nobody finds."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import structlog
from tamiyo_service.store import transactions

from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import report

LOST = "the database's file was removed or replaced"


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write looks for the file."""
    monkeypatch.setattr(transactions, "_LOOK_SECONDS", 0.0)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(sql_store(tmp_path)) as running:
        # One after the other: those beside the first are written in the event loop where the disk is quick.
        await running.reports("run", *range(10))
        yield running


async def require_refusals(service: Service) -> None:
    """Return if neither readiness nor a write says that all is well, and both say why."""
    batch = {"reports": [{"run_id": "run", "report": report(epoch)} for epoch in (20, 21)]}
    refused = [
        await service.http.get("/readyz"),
        await service.report("run", 20),
        await service.http.put("/runs/another"),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.json()["detail"].startswith(LOST)
        assert "tamiyo.db" not in answer.text
    for one in (await service.http.post("/epochs", json=batch)).json()["results"]:
        assert one["problem"]["detail"].startswith(LOST)


@pytest.mark.usefixtures("looking")
async def test_a_removed_file_is_noticed_and_everything_goes_on_when_it_is_back(
    service: Service, tmp_path: Path
) -> None:
    path, elsewhere = tmp_path / "tamiyo.db", tmp_path / "elsewhere.db"
    path.rename(elsewhere)
    with structlog.testing.capture_logs() as log:
        await require_refusals(service)
    assert f"{path} was removed while it was in use" in str(log)
    elsewhere.rename(path)
    assert (await service.http.get("/readyz")).status_code == 200
    assert (await service.report("run", 20)).status_code == 200
    decided = (await service.get("/runs/run/decisions"))["items"]
    assert [item["epoch"] for item in decided] == [20, *range(9, -1, -1)]


@pytest.mark.usefixtures("looking")
async def test_a_replaced_file_is_noticed_and_left_alone(service: Service, tmp_path: Path) -> None:
    path, copy = tmp_path / "tamiyo.db", tmp_path / "copy.db"
    shutil.copy(path, copy)
    copy.replace(path)
    before = path.read_bytes()
    with structlog.testing.capture_logs() as log:
        await require_refusals(service)
    assert f"{path} was replaced by another file while it was in use" in str(log)
    assert path.read_bytes() == before


async def test_no_new_file_is_made_in_place_of_a_removed_one(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "tamiyo.db"
    path.unlink()
    answers = await asyncio.gather(
        *(service.http.get(path) for path in ("/readyz", "/runs", "/decisions") for _ in range(10))
    )
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert {told(answer) for answer in answers if answer.status_code == 503} == {LOST}
    assert not path.exists()


def told(answer: httpx.Response) -> str:
    detail: str = answer.json()["detail"]
    return detail.partition(":")[0]


async def test_readiness_looks_each_time_and_writes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(transactions, "_LOOK_SECONDS", 3600.0)
    store = sql_store(tmp_path)
    async with serving(store) as service:
        await service.reports("run", *range(10))
        looks: list[None] = []
        monkeypatch.setattr(store._database, "require_same_place", lambda: looks.append(None))
        await service.reports("run", *range(10, 20))
        assert looks == []
        for _ in range(3):
            await service.http.get("/readyz")
        assert len(looks) == 3
