"""Several services on one database: each uses the models that the others have met, without a restart."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tamiyo_service.learned.artifacts import Found
from tamiyo_service.learned.registry import FAILURE_STANDS_SECONDS, Registry
from tamiyo_service.learned.search import WAIT_SECONDS, Search
from tamiyo_service.store import MemoryStore
from tamiyo_service.store.models import ModelVersion

from tests.service.artifacts import SHIPPED_POLICY, put_artifact, rewrite
from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import report

MINE = "mine-1.1.0"
PINNED: dict[str, Any] = {"policy": {"name": "learned", "version": MINE}}
GENEROUS = 30.0
"""Seconds after which nothing comes any more."""
SETTINGS: dict[str, Any] = {"default_policy": "learned", "model_deadline": 60.0}


class Seconds:
    """Seconds that rise when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Service, Service]]:
    """Two services on one database, both of which have looked at the models before the artifact came."""
    settings = SETTINGS | {"models": tmp_path / "models"}
    async with (
        serving(sql_store(tmp_path), **settings) as one,
        serving(sql_store(tmp_path), **settings) as two,
    ):
        await one.reports("before-one", 1)
        await two.reports("before-two", 1)
        put_artifact(tmp_path / "models")
        yield one, two


def advised(reply: Any) -> bool:
    """Whether a network decided, with the identity that the run's artifact has."""
    assert reply["policy"]["version"] == MINE
    assert len(reply["policy"]["sha256"]) == 64
    return "the heuristic decided" not in reply["commands"][0]["reason"]


async def activate(service: Service) -> None:
    answer = await service.http.post("/models/mine/1.1.0/activate", json={"reason": "better"})
    assert answer.status_code == 200, answer.text


async def batch(service: Service, *items: tuple[str, int]) -> list[Any]:
    """Send a batch; its results."""
    reports = [{"run_id": run_id, "report": report(epoch)} for run_id, epoch in items]
    answer = await service.http.post("/epochs", json={"reports": reports})
    assert answer.status_code == 200, answer.text
    results: list[Any] = answer.json()["results"]
    return results


async def test_a_run_that_another_process_began_is_decided_by_its_network(
    pair: tuple[Service, Service],
) -> None:
    one, two = pair
    assert (await one.http.put("/runs/run", json=PINNED)).status_code == 201
    for epoch, service in enumerate((one, two, one, two), start=1):
        assert all(map(advised, await service.reports("run", epoch)))


async def test_a_run_that_another_process_began_is_decided_by_its_network_in_a_batch(
    pair: tuple[Service, Service],
) -> None:
    one, two = pair
    assert (await one.http.put("/runs/run", json=PINNED)).status_code == 201
    results = await batch(two, ("run", 1), ("before-two", 2))
    assert [result["status"] for result in results] == [200, 200]
    assert advised(results[0]["reply"])


async def test_a_policy_that_an_operator_gave_through_another_process_decides(
    pair: tuple[Service, Service],
) -> None:
    one, two = pair
    await two.reports("run", 1)
    given = await one.http.post("/runs/run/policy", json=PINNED | {"reason": "try it"})
    assert given.status_code == 200, given.text
    assert all(map(advised, await two.reports("run", 2)))


async def test_a_model_activated_through_another_process_is_what_new_runs_get(
    pair: tuple[Service, Service],
) -> None:
    one, two = pair
    await activate(one)
    answers = [await service.report(f"after-{number}", 1) for number, service in enumerate(pair)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert all(advised(answer.json()) for answer in answers)
    (created,) = await batch(two, ("batched", 1))
    assert advised(created["reply"])


async def test_what_was_put_anew_before_it_was_first_used_is_what_others_used(
    pair: tuple[Service, Service], tmp_path: Path
) -> None:
    one, two = pair
    await two.get("/models")
    shutil.rmtree(tmp_path / "models/mine")
    place = put_artifact(tmp_path / "models")
    rewrite(place, lambda manifest: manifest | {"description": "another"})
    await activate(one)
    (told,) = await one.reports("one", 1)
    (created,) = await two.reports("two", 1)
    (going_on,) = await two.reports("one", 2)
    assert [told["policy"], told["policy"]] == [created["policy"], going_on["policy"]]
    assert all(map(advised, (told, created, going_on)))


async def test_a_model_that_nobody_has_here_concerns_new_runs_alone(
    pair: tuple[Service, Service], tmp_path: Path
) -> None:
    one, two = pair
    await activate(one)
    shutil.rmtree(tmp_path / "models/mine")
    results = await batch(two, ("before-two", 2), ("new", 1), ("before-one", 2), ("other", 1))
    assert [result["status"] for result in results] == [200, 422, 200, 422]
    assert {result["problem"]["code"] for result in results if result["problem"]} == {"no_artifact"}
    assert results[0]["reply"]["policy"]["version"] == SHIPPED_POLICY


async def test_an_artifact_that_comes_back_decides_again_without_a_restart(tmp_path: Path) -> None:
    models, away = tmp_path / "models", tmp_path / "away"
    place = put_artifact(models)
    settings = SETTINGS | {"models": models}
    async with serving(sql_store(tmp_path), **settings) as service:
        for run_id in ("kept", "read"):
            assert (await service.http.put(f"/runs/{run_id}", json=PINNED)).status_code == 201
            await service.reports(run_id, 1)
    shutil.move(place, away)
    seconds = Seconds()
    async with serving(sql_store(tmp_path), **settings) as service:
        # Reaching inside: no test waits for seconds to pass.
        services = service.app.state.services
        services.activations.search._clock = services.registry._serving._clock = seconds
        (reply,) = await service.reports("kept", 2)
        assert "is not here any more" in reply["commands"][0]["reason"]
        shutil.move(away, place)
        (reply,) = await service.reports("kept", 3)
        assert "is not here any more" in reply["commands"][0]["reason"], "not looked for at every report"
        seconds.now += FAILURE_STANDS_SECONDS
        assert all(map(advised, await service.reports("kept", 4, 5)))
        assert all(map(advised, await service.reports("read", 2)))


class CountingRegistry(Registry):
    """Counts its looks, and has them wait."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "cpu")
        self.looks = 0
        self.open = asyncio.Event()
        self.open.set()
        self.error: OSError | None = None

    async def look(self) -> tuple[Found, ...]:
        self.looks += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return await super().look()


async def search_for(tmp_path: Path) -> tuple[Search, CountingRegistry, Seconds]:
    """A search with what it works on; one version was used before, by another process."""
    store, registry, seconds = MemoryStore(), CountingRegistry(tmp_path), Seconds()
    await store.models.remember(ModelVersion("mine", "1.1.0", "ab", 0))
    return Search(store.models, registry, clock=seconds), registry, seconds


async def test_a_version_is_looked_for_once_for_all_who_ask(tmp_path: Path) -> None:
    search, registry, seconds = await search_for(tmp_path)
    registry.open.clear()
    asking = [asyncio.ensure_future(search.look_for(MINE)) for _ in range(20)]
    await asyncio.sleep(0)
    registry.open.set()
    await asyncio.gather(*asking)
    await search.look_for(MINE)
    assert (registry.looks, registry.first_used(MINE), search.is_due(MINE)) == (1, "ab", False)
    await search.look_for("mine-2.0.0")
    assert registry.looks == 2, "another version may have come since"
    seconds.now += FAILURE_STANDS_SECONDS
    assert search.is_due(MINE)
    await search.look_for(MINE)
    assert registry.looks == 3


async def test_a_folder_that_cannot_be_read_holds_no_run_up(tmp_path: Path) -> None:
    search, registry, seconds = await search_for(tmp_path)
    registry.error = OSError("stale file handle")
    await search.look_for(MINE)
    registry.error = None
    registry.open.clear()
    seconds.now += FAILURE_STANDS_SECONDS
    waiting = asyncio.ensure_future(search.look_for(MINE))
    while registry.looks < 2:
        await asyncio.sleep(0)
    seconds.now += WAIT_SECONDS
    await asyncio.wait_for(search.look_for(MINE), GENEROUS)
    assert registry.looks == 2, "the look that hangs is the only one"
    registry.open.set()
    await waiting
