"""Models: which there are, which decides about a new run, and what is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tamiyo_service.store import MemoryStore

from tests.service.artifacts import (
    LEARNED,
    NAME,
    SHIPPED_POLICY,
    SHIPPED_VERSION,
    put_artifact,
    put_for,
    reorder_features,
    replace_pickle,
    rewrite,
    spoil_self_test,
    truncate,
)
from tests.service.conftest import Service, serving, sql_store


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
async def learning(models: Path) -> AsyncIterator[Service]:
    """A service with a folder of models."""
    async with serving(MemoryStore(), models=models) as service:
        yield service


async def create(service: Service, run_id: str, config: dict[str, Any] | None = None) -> str:
    """Create a run of the learned policy; the version it is pinned to."""
    created = await service.http.put(f"/runs/{run_id}", json=LEARNED if config is None else config)
    assert created.status_code in (200, 201), created.text
    version: str = created.json()["config"]["policy"]["version"]
    return version


async def activate(service: Service, name: str, version: str, reason: str = "better") -> Any:
    """Try to activate a model; the answer."""
    answer = await service.http.post(f"/models/{name}/{version}/activate", json={"reason": reason})
    return answer.status_code, answer.json()


async def listed(service: Service) -> dict[str, Any]:
    return {model["policy_version"]: model for model in (await service.get("/models"))["items"]}


def refused(answer: Any, status: int, code: str, words: str = "") -> None:
    assert (answer[0], answer[1]["code"]) == (status, code), answer
    assert words in answer[1]["detail"]


async def test_the_model_that_tamiyo_brings_is_active(learning: Service) -> None:
    model = (await listed(learning))[SHIPPED_POLICY]
    assert (model["state"], model["topology"], model["shipped"]) == ("active", "cnn", True)
    assert (model["reason"], model["loaded_on"], model["activation"]) == (None, None, None)
    assert model["about"]["formats"] == ["onnx", "torchscript"]
    assert await create(learning, "run") == SHIPPED_POLICY
    assert (await listed(learning))[SHIPPED_POLICY]["loaded_on"] == "cpu"


async def test_policies_tell_what_a_run_may_choose_and_gets(learning: Service, models: Path) -> None:
    put_artifact(models, "1.9.0")
    put_artifact(models, "1.10.0")
    policies = {policy["name"]: policy for policy in (await learning.get("/policies"))["items"]}
    assert list(policies) == ["heuristic", "learned"]
    assert policies["heuristic"]["default"]
    assert policies["heuristic"]["active"] == {"*": policies["heuristic"]["versions"][0]}
    assert policies["learned"]["versions"] == ["mine-1.10.0", "mine-1.9.0", SHIPPED_POLICY]
    assert policies["learned"]["active"] == {"cnn": SHIPPED_POLICY}


async def test_new_runs_get_the_active_version_and_others_keep_theirs(
    learning: Service, models: Path
) -> None:
    put_artifact(models)
    assert await create(learning, "before") == SHIPPED_POLICY
    status, activation = await activate(learning, "mine", "1.1.0")
    assert (status, activation["model"], activation["previous"]) == (200, "mine-1.1.0", SHIPPED_POLICY)
    assert await create(learning, "after") == "mine-1.1.0"
    # What was sent before is answered as before.
    again = await learning.http.put("/runs/before", json=LEARNED)
    assert (again.status_code, again.json()["config"]["policy"]["version"]) == (200, SHIPPED_POLICY)
    assert (await learning.get("/runs/before"))["policy"]["version"] == SHIPPED_POLICY
    states = {version: model["state"] for version, model in (await listed(learning)).items()}
    assert states == {SHIPPED_POLICY: "loaded", "mine-1.1.0": "active"}


async def test_a_run_may_name_its_version(learning: Service, models: Path) -> None:
    put_artifact(models)
    named = {"policy": {"name": "learned", "version": "mine-1.1.0"}}
    assert await create(learning, "run", named) == "mine-1.1.0"
    assert (await learning.http.put("/runs/run", json=named)).status_code == 200
    other = {"policy": {"name": "learned", "version": SHIPPED_POLICY}}
    assert (await learning.http.put("/runs/run", json=other)).json()["code"] == "run_exists"
    missing = await learning.http.put("/runs/new", json={"policy": {"name": "learned", "version": "x-1"}})
    refused((missing.status_code, missing.json()), 422, "no_artifact", SHIPPED_POLICY)


async def test_rolling_back_is_activating_the_one_before(learning: Service, models: Path) -> None:
    put_artifact(models)
    await activate(learning, "mine", "1.1.0", "new")
    status, back = await activate(learning, NAME, SHIPPED_VERSION, "worse on digits")
    assert (status, back["previous"]) == (200, "mine-1.1.0")
    assert await create(learning, "run") == SHIPPED_POLICY
    told = await listed(learning)
    assert told[SHIPPED_POLICY]["activation"]["reason"] == "worse on digits"
    assert told["mine-1.1.0"]["activation"]["reason"] == "new"
    # Saying it twice is saying it once; another reason is kept.
    assert await activate(learning, NAME, SHIPPED_VERSION, "worse on digits") == (200, back)
    _, again = await activate(learning, NAME, SHIPPED_VERSION, "worse everywhere")
    assert (again["reason"], again["previous"]) == ("worse everywhere", "mine-1.1.0")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (truncate, "bytes, its manifest says"),
    "a pickle": (replace_pickle, "bytes, its manifest says"),
    "other answers": (spoil_self_test, "self-test"),
    "other features": (reorder_features, "feature_names"),
    "no manifest any more": (lambda place: (place / "manifest.json").write_text("{"), "manifest.json"),
    "moved": (lambda place: rewrite(place, lambda old: old | {"version": "9"}), "name its folders so"),
}


@pytest.mark.parametrize(("spoil", "words"), SPOILT.values(), ids=SPOILT)
async def test_what_cannot_be_used_is_refused_and_the_active_one_stays(
    learning: Service, models: Path, spoil: Callable[[Path], object], words: str
) -> None:
    spoil(put_artifact(models))
    refused(await activate(learning, "mine", "1.1.0"), 409, "model_rejected", words)
    assert await create(learning, "run") == SHIPPED_POLICY
    assert (await listed(learning))[SHIPPED_POLICY]["state"] == "active"
    named = {"policy": {"name": "learned", "version": "mine-1.1.0"}}
    again = await learning.http.put("/runs/new", json=named)
    assert again.json()["code"] in ("no_artifact", "model_rejected")
    assert (await learning.http.get("/runs/new")).status_code == 404


async def test_refused_models_are_listed_with_the_reason(learning: Service, models: Path) -> None:
    truncate(put_artifact(models))
    model = (await listed(learning))["mine-1.1.0"]
    assert model["state"] == "refused"
    assert "its manifest says" in model["reason"]


async def test_a_folder_whose_name_is_no_text_is_listed_with_its_bytes(
    learning: Service, models: Path
) -> None:
    put_artifact(models).rename(os.fsdecode(os.fsencode(models / "mine") + b"/\xff\xfe"))
    (model,) = [model for model in (await learning.get("/models"))["items"] if not model["shipped"]]
    assert (model["name"], model["version"], model["state"]) == ("mine", r"\udcff\udcfe", "refused")
    assert "name its folders so" in model["reason"]


async def test_a_mended_artifact_is_noticed(learning: Service, models: Path) -> None:
    place = put_artifact(models)
    truncate(place)
    refused(await activate(learning, "mine", "1.1.0"), 409, "model_rejected")
    shutil.rmtree(place)
    put_artifact(models)
    assert (await activate(learning, "mine", "1.1.0"))[0] == 200


async def test_a_model_that_is_not_there_is_not_found(learning: Service) -> None:
    refused(await activate(learning, "mine", "1.1.0"), 404, "model_not_found", SHIPPED_POLICY)
    without = await learning.http.post(f"/models/{NAME}/{SHIPPED_VERSION}/activate", json={})
    refused((without.status_code, without.json()), 422, "invalid_request")


async def test_a_version_changed_in_place_is_refused(learning: Service, models: Path) -> None:
    place = put_artifact(models)
    await activate(learning, "mine", "1.1.0")
    assert await create(learning, "run") == "mine-1.1.0"
    rewrite(place, lambda manifest: manifest | {"description": "another"})
    assert "changed in place" in (await listed(learning))["mine-1.1.0"]["reason"]
    refused(await activate(learning, "mine", "1.1.0"), 409, "model_rejected", "changed in place")
    created = await learning.http.put("/runs/new", json=LEARNED)
    refused((created.status_code, created.json()), 409, "model_rejected", "changed in place")
    assert (await learning.report("run", 0)).status_code == 200
    # The one before is still to be had.
    assert (await activate(learning, NAME, SHIPPED_VERSION))[0] == 200
    assert await create(learning, "new") == SHIPPED_POLICY


async def test_another_under_the_name_of_one_that_tamiyo_brings_is_refused(
    learning: Service, models: Path
) -> None:
    place = put_artifact(models, SHIPPED_VERSION, NAME)
    rewrite(place, lambda manifest: manifest | {"description": "another"})
    found = (await learning.get("/models"))["items"]
    assert sorted(model["state"] for model in found) == ["active", "refused"]
    assert await create(learning, "run") == SHIPPED_POLICY
    # Whoever activates it means the other, perhaps.
    answer = await activate(learning, NAME, SHIPPED_VERSION)
    refused(answer, 409, "model_rejected", "give it another version")
    shutil.rmtree(place)
    assert (await activate(learning, NAME, SHIPPED_VERSION))[0] == 200


async def test_a_model_for_other_blueprints_does_not_take_a_topology_from_its_runs(
    learning: Service, models: Path
) -> None:
    put_for(models, "cnn", "a", "b", "c", "d")
    refused(await activate(learning, "mine-cnn", "1.1.0"), 409, "model_rejected", "give its topology another")
    assert await create(learning, "run") == SHIPPED_POLICY
    own = {"name": "cnn", "blueprints": [{"name": name, "parameters": 1} for name in "abcd"]}
    named = {"policy": {"name": "learned", "version": "mine-cnn-1.1.0"}, "topology": own}
    assert await create(learning, "own", named) == "mine-cnn-1.1.0"


async def test_nor_does_one_of_a_topology_of_ones_own(learning: Service, models: Path) -> None:
    put_for(models, "own", "a", "b", "c", "d")
    place = put_for(models / "other", "own", "a", "b", "c", "e")
    shutil.copytree(place, models / "mine-own" / "1.2.0")
    rewrite(models / "mine-own" / "1.2.0", lambda manifest: manifest | {"version": "1.2.0"})
    assert (await activate(learning, "mine-own", "1.1.0"))[0] == 200
    refused(await activate(learning, "mine-own", "1.2.0"), 409, "model_rejected", "mine-own-1.1.0, which is")
    assert (await listed(learning))["mine-own-1.1.0"]["state"] == "active"


async def test_a_topology_without_an_artifact_is_refused(learning: Service) -> None:
    answer = await learning.http.put("/runs/run", json=LEARNED | {"topology": "transformer"})
    refused((answer.status_code, answer.json()), 422, "no_artifact", f"{SHIPPED_POLICY} (cnn)")
    version = {"policy": {"name": "learned", "version": SHIPPED_POLICY}, "topology": "transformer"}
    answer = await learning.http.put("/runs/run", json=version)
    refused((answer.status_code, answer.json()), 422, "no_artifact", "not for transformer")
    own = {"name": "cnn", "blueprints": [{"name": "wide", "parameters": 1}]}
    answer = await learning.http.put("/runs/run", json=LEARNED | {"topology": own})
    refused((answer.status_code, answer.json()), 422, "no_artifact")


async def test_a_topology_of_ones_own_is_served_once_its_model_is_active(
    learning: Service, models: Path
) -> None:
    put_for(models, "own", "a", "b", "c", "d")
    own = {"name": "own", "blueprints": [{"name": name, "parameters": 1} for name in "abcd"]}
    answer = await learning.http.put("/runs/run", json=LEARNED | {"topology": own})
    refused((answer.status_code, answer.json()), 422, "no_artifact", "activate one of mine-own-1.1.0")
    assert (await activate(learning, "mine-own", "1.1.0"))[0] == 200
    assert await create(learning, "run", LEARNED | {"topology": own}) == "mine-own-1.1.0"
    assert await create(learning, "other") == SHIPPED_POLICY


async def test_services_on_one_database_agree_and_remember(tmp_path: Path, models: Path) -> None:
    put_artifact(models)
    async with (
        serving(sql_store(tmp_path), models=models) as one,
        serving(sql_store(tmp_path), models=models) as two,
    ):
        assert await create(two, "before") == SHIPPED_POLICY
        assert (await activate(one, "mine", "1.1.0"))[0] == 200
        assert await create(two, "after") == "mine-1.1.0"
    async with serving(sql_store(tmp_path), models=models) as three:
        assert await create(three, "later") == "mine-1.1.0"
        assert (await listed(three))["mine-1.1.0"]["activation"]["reason"] == "better"


async def test_an_activation_among_many_creations_is_seen_at_once(tmp_path: Path, models: Path) -> None:
    put_artifact(models)
    async with serving(sql_store(tmp_path), models=models) as service:
        await create(service, "warm")
        during = asyncio.gather(*(create(service, f"run-{number}") for number in range(40)))
        status, _ = await activate(service, "mine", "1.1.0")
        after = await asyncio.gather(*(create(service, f"later-{number}") for number in range(10)))
        assert status == 200
        assert set(await during) <= {SHIPPED_POLICY, "mine-1.1.0"}
        assert set(after) == {"mine-1.1.0"}


async def test_a_run_outlives_its_artifact(tmp_path: Path, models: Path) -> None:
    place = put_artifact(models)
    async with serving(sql_store(tmp_path), models=models) as service:
        await activate(service, "mine", "1.1.0")
        await create(service, "run")
        assert (await service.report("run", 0)).status_code == 200
        shutil.rmtree(place)
        assert (await service.report("run", 1)).status_code == 200
    async with serving(sql_store(tmp_path), models=models) as service:
        assert (await service.report("run", 2)).status_code == 200
        assert (await service.get("/runs/run"))["policy"]["version"] == "mine-1.1.0"
        assert (await service.get("/runs/run/decisions/1"))["epoch"] == 1
        answer = await service.http.put("/runs/new", json=LEARNED)
        refused((answer.status_code, answer.json()), 422, "no_artifact", SHIPPED_POLICY)
        # What was created before is answered as before.
        assert (await service.http.put("/runs/run", json=LEARNED)).status_code == 200


async def test_the_default_policy_decides_about_runs_that_name_none(models: Path) -> None:
    store = MemoryStore()
    async with serving(store, models=models, default_policy="learned") as service:
        sha256 = (await listed(service))[SHIPPED_POLICY]["sha256"]
        assert service.app.state.services.registry.ready(sha256) is not None
        assert await create(service, "put", {}) == SHIPPED_POLICY
        assert await create(service, "labelled", {"labels": {"a": "b"}}) == SHIPPED_POLICY
        await service.report("reported", 0)
        assert (await service.get("/runs/reported"))["policy"]["version"] == SHIPPED_POLICY
        named = await service.http.put("/runs/named", json={"policy": {"name": "heuristic"}})
        assert named.json()["policy"]["name"] == "heuristic"
        assert (await service.http.put("/runs/reported", json={})).status_code == 200
    async with serving(store, models=models) as service:
        for run_id in ("put", "reported", "named"):
            assert (await service.http.put(f"/runs/{run_id}", json={})).status_code == 200
        other = await service.http.put("/runs/put", json={"policy": {"name": "heuristic"}})
        assert other.json()["code"] == "run_exists"
        assert (await service.http.put("/runs/new", json={})).json()["policy"]["name"] == "heuristic"


async def test_a_service_in_learned_mode_starts_although_its_model_is_damaged(
    tmp_path: Path, models: Path
) -> None:
    place = put_artifact(models)
    async with serving(sql_store(tmp_path), models=models) as service:
        await activate(service, "mine", "1.1.0")
        await create(service, "run")
    truncate(place)
    async with serving(sql_store(tmp_path), models=models, default_policy="learned") as service:
        assert (await service.http.get("/readyz")).status_code == 200
        assert (await service.report("run", 0)).status_code == 200
        heuristic = await service.http.put("/runs/other", json={"policy": {"name": "heuristic"}})
        assert heuristic.status_code == 201
