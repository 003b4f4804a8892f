"""Runs: begin, look at, hold, complete, delete; outcomes and client decisions between reports."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tamiyo_leyline import RunConfig
from tamiyo_leyline.api import RunView
from tamiyo_service.store import Store
from tamiyo_service.store.expired import Cutoffs

from tests.service.conftest import Service, serving
from tests.service.samples import PLATEAU_EPOCHS, seed
from tests.service.stores import InterruptedMemoryStore, InterruptedSqlStore


async def test_a_new_run_shows_its_configuration_with_all_defaults(any_service: Service) -> None:
    response = await any_service.http.put("/runs/run", json={"topology": "transformer", "max_epochs": 7})
    assert response.status_code == 201
    run = RunView.model_validate_json(response.content)
    assert run.config == RunConfig(topology="transformer", max_epochs=7)  # type: ignore[arg-type]  # a name
    assert (run.status, run.attempt, run.last_epoch, run.last_report_at) == ("ACTIVE", 0, None, None)
    assert (run.policy.name, run.counts, run.seeds) == ("heuristic", {}, ())
    assert run.created_at == run.updated_at == any_service.clock.now


async def test_an_empty_body_means_defaults(any_service: Service) -> None:
    response = await any_service.http.put("/runs/run")
    assert response.status_code == 201
    assert response.json()["config"] == RunConfig().model_dump(mode="json")


async def test_creating_a_run_again_with_the_same_configuration(any_service: Service) -> None:
    first = await any_service.http.put("/runs/run", json={"labels": {"a": "1", "b": "2"}})
    again = await any_service.http.put(
        "/runs/run", json={"labels": {"b": "2", "a": "1"}, "topology": "CNN", "max_epochs": 50}
    )
    assert again.status_code == 200
    assert again.json() == first.json()


async def test_creating_a_run_again_with_another_configuration(any_service: Service) -> None:
    await any_service.http.put("/runs/run", json={"max_epochs": 7})
    refused = await any_service.http.put("/runs/run", json={"max_epochs": 8})
    assert refused.status_code == 409
    assert refused.json()["code"] == "run_exists"
    assert refused.json()["errors"][0]["field"] == "max_epochs"
    assert (await any_service.get("/runs/run"))["config"]["max_epochs"] == 7


async def test_concurrent_creations_are_one(any_service: Service) -> None:
    puts = (any_service.http.put("/runs/run", json={"max_epochs": 7}) for _ in range(20))
    statuses = sorted(response.status_code for response in await asyncio.gather(*puts))
    assert statuses == [200] * 19 + [201]


async def test_a_run_tells_of_its_reports(any_service: Service) -> None:
    issued = await any_service.germination("run")
    reporting = await any_service.report("run", issued["epoch"] + 1, seeds=[seed("GERMINATED")])
    assert reporting.status_code == 200
    run = RunView.model_validate_json((await any_service.http.get("/runs/run")).content)
    assert run.last_epoch == issued["epoch"] + 1
    assert run.last_report_at == run.updated_at
    assert run.counts == {"WAIT": issued["epoch"] + 1, "GERMINATE_NORM": 1}
    assert [(s.seed_id, s.slot_id, s.blueprint_id, s.stage.name) for s in run.seeds] == [
        ("seed-1", "slot-1", "norm", "GERMINATED")
    ]


async def test_a_topology_of_ones_own_has_its_own_actions(any_service: Service) -> None:
    topology = {"name": "mine", "blueprints": [{"name": "Wide", "parameters": 10}]}
    await any_service.http.put("/runs/run", json={"topology": topology})
    issued = await any_service.germination("run")
    assert issued["commands"][0]["blueprint_id"] == "wide"
    page = await any_service.get("/runs/run/decisions?action=germinate_wide")
    assert [item["epoch"] for item in page["items"]] == [issued["epoch"]]
    assert len((await any_service.get("/decisions?action=GERMINATE_WIDE"))["items"]) == 1


async def test_a_held_run_only_waits_until_released(any_service: Service) -> None:
    await any_service.report("run", 0)
    held = await any_service.http.put("/runs/run/hold", json={"reason": "demo day"})
    assert held.json()["status"] == "HELD"
    replies = await any_service.reports("run", *range(1, 2 * PLATEAU_EPOCHS))
    reasons = {command["reason"] for reply in replies for command in reply["commands"]}
    assert reasons == {"held by operator: demo day"}
    released = await any_service.http.delete("/runs/run/hold")
    assert released.json()["status"] == "ACTIVE"
    assert await any_service.germination("run", 2 * PLATEAU_EPOCHS)


async def test_holding_twice_takes_the_new_reason(any_service: Service) -> None:
    await any_service.report("run", 0)
    for reason in ("first", "second", "second"):
        held = await any_service.http.put("/runs/run/hold", json={"reason": reason})
        assert held.status_code == 200
    (reply,) = await any_service.reports("run", 1)
    assert reply["commands"][0]["reason"] == "held by operator: second"


@pytest.mark.parametrize("reason", ["", "  ", "\u00a0", "two\nlines", "x" * 129, None])
async def test_an_order_has_a_reason_in_one_line(any_service: Service, reason: str | None) -> None:
    await any_service.http.put("/runs/run", json={})
    for method, path, body in (
        ("PUT", "hold", {}),
        ("POST", "override", {"action": "WAIT"}),
        ("POST", "policy", {"policy": {"name": "heuristic"}}),
    ):
        refused = await any_service.http.request(method, f"/runs/run/{path}", json=body | {"reason": reason})
        assert refused.status_code == 422, path
        assert refused.json()["errors"][0]["field"] == "reason"
    assert (await any_service.get("/runs/run"))["status"] == "ACTIVE"


async def test_a_held_run_tells_why_by_whom_and_since_when(any_service: Service) -> None:
    for run_id in ("run", "other"):
        await any_service.http.put(f"/runs/{run_id}", json={})
    assert (await any_service.get("/runs/run"))["hold"] is None
    for reason, by in (("first", "ann"), ("second", None)):
        held = await any_service.http.put("/runs/run/hold", json={"reason": reason, "by": by})
        hold = held.json()["hold"]
        assert (hold["reason"], hold["by"], hold["since"]) == (reason, by, held.json()["updated_at"])
    await any_service.http.post("/runs/run/notes", json={"text": "still so"})
    assert (await any_service.get("/runs/run"))["hold"] == hold
    listed = {run["run_id"]: run["hold"] for run in (await any_service.get("/runs"))["items"]}
    assert listed == {"run": hold, "other": None}
    assert (await any_service.http.delete("/runs/run/hold")).json()["hold"] is None


async def test_releasing_a_run_that_is_not_held_changes_nothing(any_service: Service) -> None:
    await any_service.report("run", 0)
    before = await any_service.get("/runs/run")
    assert (await any_service.http.delete("/runs/run/hold")).json() == before


async def test_a_completed_run_takes_no_more(any_service: Service) -> None:
    first = await any_service.report("run", 1)
    completed = await any_service.http.post("/runs/run/complete", json={"result": "succeeded"})
    assert (completed.json()["status"], completed.json()["result"]) == ("COMPLETED", "succeeded")
    refusals = [
        await any_service.report("run", 2),
        await any_service.http.put("/runs/run/hold", json={"reason": "r"}),
        await any_service.http.delete("/runs/run/hold"),
        await any_service.http.post("/runs/run/commands/run@0.1.1/outcome", json={"status": "EXECUTED"}),
        await any_service.http.post("/runs/run/complete", json={"result": "failed"}),
    ]
    assert [(r.status_code, r.json()["code"]) for r in refusals] == [(409, "run_completed")] * 5
    assert (await any_service.report("run", 1)).content == first.content
    assert (await any_service.report("run", 0)).json()["code"] == "stale_epoch"


async def test_completing_twice_with_the_same_result_is_one_completion(any_service: Service) -> None:
    await any_service.report("run", 1)
    first = await any_service.http.post("/runs/run/complete", json={"result": "aborted"})
    again = await any_service.http.post("/runs/run/complete", json={"result": "aborted"})
    assert (again.status_code, again.json()) == (200, first.json())


async def test_a_deleted_run_is_gone_and_may_begin_anew(any_service: Service) -> None:
    await any_service.reports("run", 1, 2)
    await any_service.reports("other", 1)
    assert (await any_service.http.delete("/runs/run")).status_code == 204
    assert (await any_service.http.get("/runs/run")).status_code == 404
    assert [item["run_id"] for item in (await any_service.get("/decisions"))["items"]] == ["other"]
    anew = await any_service.report("run", 1)
    assert "tamiyo-replayed" not in anew.headers
    assert (await any_service.get("/runs/run"))["counts"] == {"WAIT": 1}


async def test_reports_while_a_run_is_deleted_end_well(any_service: Service) -> None:
    await any_service.report("run", 0)
    deletion = any_service.http.delete("/runs/run")
    answers = await asyncio.gather(deletion, *(any_service.report("run", epoch) for epoch in range(1, 20)))
    assert answers[0].status_code == 204
    assert {answer.status_code for answer in answers[1:]} <= {200, 409}
    decided = [item["epoch"] for item in (await any_service.get("/runs/run/decisions"))["items"]]
    assert decided == sorted(set(decided), reverse=True)


async def test_an_outcome_takes_effect_with_the_next_report(any_service: Service) -> None:
    issued = await any_service.germination("run")
    command_id = issued["commands"][0]["command_id"]
    path = f"/runs/run/commands/{command_id}/outcome"
    told = await any_service.http.post(path, json={"status": "REFUSED", "detail": "no memory"})
    assert told.json() == {"run_id": "run", "command_id": command_id, "status": "REFUSED"}
    again = await any_service.http.post(path, json={"status": "REFUSED", "detail": "no memory"})
    assert again.json() == told.json()
    await any_service.report("run", issued["epoch"] + 1)
    record = await any_service.get(f"/runs/run/decisions/{issued['epoch']}")
    outcome = {"command_id": command_id, "status": "REFUSED", "epoch": issued["epoch"] + 1}
    assert record["outcomes"] == [outcome | {"detail": "no memory"}]


@pytest.mark.parametrize(
    "command_id",
    ["nonsense", "run@0.9.1", "other@0.1.1", "run@0.99999999999999999999.1", f"run@{2**64}.1.1"],
)
async def test_an_outcome_of_an_unknown_command_is_refused(any_service: Service, command_id: str) -> None:
    await any_service.reports("run", 1)
    path = f"/runs/run/commands/{command_id}/outcome"
    refused = await any_service.http.post(path, json={"status": "EXECUTED"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_command")


async def test_client_decisions_are_recorded_once(any_service: Service) -> None:
    issued = await any_service.germination("run")
    decisions = [
        {"epoch": 50, "reason": "no answer in 2 s", "commands": []},
        {"epoch": 51, "attempt": 0, "reason": "no answer in 2 s", "commands": issued["commands"]},
    ]
    first = await any_service.http.post("/runs/run/client-decisions", json=decisions)
    assert first.json() == {"run_id": "run", "recorded": 2, "known": 0}
    again = await any_service.http.post(
        "/runs/run/client-decisions", json=[*decisions, {**decisions[0], "epoch": 52}]
    )
    assert again.json() == {"run_id": "run", "recorded": 1, "known": 2}
    assert (await any_service.report("run", 60)).status_code == 200


Interrupted = InterruptedMemoryStore | InterruptedSqlStore


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def interrupted(request: pytest.FixtureRequest, tmp_path: Path) -> Interrupted:
    """A store of each kind in which something happens between two steps of a request."""
    if request.param == "memory":
        return InterruptedMemoryStore()
    if request.param == "sqlite":
        return InterruptedSqlStore(f"sqlite:///{tmp_path / 'tamiyo.db'}")
    return InterruptedSqlStore(request.getfixturevalue("postgres_url"))


async def deleted(store: Store) -> None:
    run = await store.run("run")
    assert run is not None
    await store.delete_run(run.run_pk, 10**15)


async def retired(store: Store) -> None:
    found = (await store.expired(Cutoffs(completed=10**18, silent=10**18), 0, 10)).runs
    assert await store.retire(found, 10**15, to_archive=True) == list(found)


@pytest.mark.parametrize("gone", [deleted, retired])
async def test_client_decisions_of_a_run_that_goes_meanwhile_are_refused(
    interrupted: Interrupted, gone: Callable[[Store], Awaitable[None]]
) -> None:
    async with serving(interrupted) as service:
        await service.http.put("/runs/run", json={})
        interrupted.meanwhile = partial(gone, interrupted)
        decisions = [{"epoch": 3, "reason": "no answer", "commands": []}]
        response = await service.http.post("/runs/run/client-decisions", json=decisions)
    assert (response.status_code, response.json()["code"]) == (404, "run_not_found")


async def listed(service: Service, query: str = "") -> list[str]:
    return [run["run_id"] for run in (await service.get(f"/runs{query}"))["items"]]


async def create_some(service: Service) -> None:
    for number, labels in enumerate(
        [{"team": "vision"}, {"team": "speech"}, {"team": "vision", "url": "a:b"}]
    ):
        await service.http.put(f"/runs/run-{number}", json={"labels": labels})


async def test_runs_are_listed_by_label_status_policy_and_silence(any_service: Service) -> None:
    await create_some(any_service)
    any_service.clock.advance(1000)
    await any_service.report("run-1", 1)
    await any_service.http.put("/runs/run-0/hold", json={"reason": "r"})
    assert await listed(any_service) == ["run-2", "run-1", "run-0"]
    assert await listed(any_service, "?label=team:vision") == ["run-2", "run-0"]
    assert await listed(any_service, "?label=team:vision&label=url:a:b") == ["run-2"]
    assert await listed(any_service, "?status=HELD") == ["run-0"]
    assert await listed(any_service, "?status=ACTIVE") == ["run-2", "run-1"]
    assert await listed(any_service, "?policy=heuristic") == ["run-2", "run-1", "run-0"]
    assert await listed(any_service, "?policy=learned") == []
    assert await listed(any_service, "?silent_for=500") == ["run-2", "run-0"]
    assert await listed(any_service, "?silent_for=5000") == []


async def test_runs_are_listed_page_by_page(any_service: Service) -> None:
    await create_some(any_service)
    first = await any_service.get("/runs?limit=2")
    assert [run["run_id"] for run in first["items"]] == ["run-2", "run-1"]
    await any_service.http.put("/runs/run-3")
    second = await any_service.get(f"/runs?limit=2&cursor={first['next_cursor']}")
    assert [run["run_id"] for run in second["items"]] == ["run-0"]
    assert second["next_cursor"] is None


async def test_a_listed_run_is_the_run(any_service: Service) -> None:
    await any_service.reports("run", 1, 2)
    listed_run: Any = (await any_service.get("/runs"))["items"][0]
    assert listed_run == await any_service.get("/runs/run")
