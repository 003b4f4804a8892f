"""Operators' orders: an override of the next command, another policy for a run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from tamiyo_service.store import SqlStore

from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import report, seed

TRAINING = {"seeds": [seed("TRAINING")], "available_slots": 0}
CULL = {"action": "CULL", "target_seed_id": "seed-1", "reason": "it leaks", "by": "ada"}
LEARNED = {"policy": {"name": "learned"}, "reason": "try the network", "by": "ada"}
HEURISTIC = {"policy": {"name": "heuristic"}, "reason": "back", "by": "ada"}


async def ordered(service: Service, path: str, body: dict[str, Any], run_id: str = "run") -> Any:
    response = await service.http.post(f"/runs/{run_id}/{path}", json=body)
    assert response.status_code == 200, response.text
    return response.json()


# Override


async def test_the_next_report_is_answered_with_the_command_ordered(any_service: Service) -> None:
    await any_service.reports("run", 0, 1, **TRAINING)
    waiting = await ordered(any_service, "override", CULL)
    assert waiting["override"] == CULL
    culled, after = await any_service.reports("run", 2, 3, **TRAINING)
    (command,) = culled["commands"]
    assert (command["command_type"], command["target_seed_id"]) == ("CULL", "seed-1")
    assert command["reason"] == "ordered by operator: it leaks"
    assert after["commands"][0]["command_type"] != "CULL" or "operator" not in after["commands"][0]["reason"]
    assert (await any_service.get("/runs/run"))["override"] is None


async def test_an_override_is_explained_and_told(any_service: Service) -> None:
    await any_service.reports("run", 0, **TRAINING)
    await ordered(any_service, "override", CULL)
    await any_service.reports("run", 1, **TRAINING)
    record = await any_service.get("/runs/run/decisions/1")
    slot = record["slots"][0]
    assert (slot["ordered"], slot["action"], slot["runner_up"]) == (True, "CULL", "WAIT")
    (event,) = [event for event in record["events"] if event["type"] == "OPERATOR_OVERRIDE"]
    assert event["message"] == "CULL of seed-1, ordered by ada: it leaks (instead of WAIT)"
    assert event["seed_id"] == "seed-1"


async def test_the_report_of_a_seed_says_that_an_operator_ended_it(any_service: Service) -> None:
    await any_service.reports("run", 0, **TRAINING)
    await ordered(any_service, "override", CULL)
    await any_service.reports("run", 1, **TRAINING)
    await any_service.reports("run", 2, seeds=[])
    (told,) = (await any_service.get("/runs/run/field-reports"))["items"]
    assert (told["ended_by"]["action"], told["ended_by"]["ordered"]) == ("CULL", True)


async def test_a_repeated_report_gets_the_same_bytes_and_takes_no_second_override(
    any_service: Service,
) -> None:
    await any_service.reports("run", 0, **TRAINING)
    await ordered(any_service, "override", CULL)
    first = await any_service.report("run", 1, **TRAINING)
    await ordered(any_service, "override", {**CULL, "action": "WAIT"})
    again = await any_service.report("run", 1, **TRAINING)
    assert again.content == first.content
    assert (await any_service.get("/runs/run"))["override"]["action"] == "WAIT"


async def test_the_only_live_seed_need_not_be_named(any_service: Service) -> None:
    await any_service.reports("run", 0, **TRAINING)
    view = await ordered(any_service, "override", {"action": "cull", "reason": "r"})
    assert view["override"] == {"action": "CULL", "target_seed_id": "seed-1", "reason": "r", "by": None}


async def test_a_late_report_leaves_the_override_waiting(any_service: Service) -> None:
    await any_service.reports("run", 0, **TRAINING)
    await ordered(any_service, "override", CULL)
    late = await any_service.http.post("/runs/run/epoch?backfill=true", json=report(1, **TRAINING))
    assert late.json()["commands"][0]["command_type"] == "REQUEST_STATE"
    (reply,) = await any_service.reports("run", 2, **TRAINING)
    assert reply["commands"][0]["command_type"] == "CULL"
    assert (await any_service.get("/runs/run/decisions/1"))["slots"][0]["ordered"] is False


async def test_an_override_can_be_replaced_and_withdrawn(any_service: Service) -> None:
    await any_service.reports("run", 0, **TRAINING)
    await ordered(any_service, "override", CULL)
    replaced = await ordered(any_service, "override", {**CULL, "reason": "another"})
    assert replaced["override"]["reason"] == "another"
    withdrawn = await any_service.http.delete("/runs/run/override")
    assert withdrawn.json()["override"] is None
    assert (await any_service.http.delete("/runs/run/override")).json() == withdrawn.json()
    (reply,) = await any_service.reports("run", 1, **TRAINING)
    assert reply["commands"][0]["command_type"] == "REQUEST_STATE"


@pytest.mark.parametrize(
    ("body", "field", "remedy"),
    [
        ({"action": "PRUNE", "reason": "r"}, "action", "GERMINATE_NORM"),
        ({**CULL, "target_seed_id": "nobody"}, "target_seed_id", "seed-1"),
        ({"action": "GERMINATE_NORM", "target_seed_id": "seed-1", "reason": "r"}, "target_seed_id", "leave"),
        ({"action": "CULL"}, "reason", "required"),
    ],
)
async def test_an_order_that_cannot_be_meant_is_refused(
    any_service: Service, body: dict[str, Any], field: str, remedy: str
) -> None:
    await any_service.reports("run", 0, **TRAINING)
    refused = await any_service.http.post("/runs/run/override", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert remedy in refused.text


async def test_orders_for_runs_that_are_not_there_or_over(any_service: Service) -> None:
    for path, body in (("override", CULL), ("policy", HEURISTIC)):
        missing = await any_service.http.post(f"/runs/none/{path}", json=body)
        assert (missing.status_code, missing.json()["code"]) == (404, "run_not_found")
    await any_service.reports("run", 0, **TRAINING)
    await any_service.http.post("/runs/run/complete", json={"result": "failed"})
    refusals = [
        await any_service.http.post("/runs/run/override", json=CULL),
        await any_service.http.delete("/runs/run/override"),
        await any_service.http.post("/runs/run/policy", json=LEARNED),
    ]
    assert [(r.status_code, r.json()["code"]) for r in refusals] == [(409, "run_completed")] * 3


async def test_an_override_and_a_policy_survive_a_restart(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        await service.reports("run", 0, 1, **TRAINING)
        await ordered(service, "policy", LEARNED)
        await ordered(service, "override", CULL)
    async with serving(sql_store(tmp_path)) as service:
        view = await service.get("/runs/run")
        assert (view["override"], view["policy"]["name"]) == (CULL, "learned")
        (reply,) = await service.reports("run", 2, **TRAINING)
        assert (reply["commands"][0]["command_type"], reply["policy"]["name"]) == ("CULL", "learned")
    async with serving(sql_store(tmp_path)) as service:
        assert (await service.get("/runs/run"))["override"] is None
        assert (await service.get("/runs/run/decisions/2"))["slots"][0]["ordered"] is True


async def test_another_process_obeys_an_override_and_a_change_of_policy(database_url: str) -> None:
    async with serving(SqlStore(database_url)) as one, serving(SqlStore(database_url)) as two:
        await one.reports("run", 0, 1, **TRAINING)
        await two.reports("run", 2, **TRAINING)
        await ordered(one, "override", CULL)
        await ordered(one, "policy", LEARNED)
        (reply,) = await two.reports("run", 3, **TRAINING)
        assert (reply["commands"][0]["command_type"], reply["policy"]["name"]) == ("CULL", "learned")
        assert (await one.get("/runs/run"))["policy"]["name"] == "learned"
        assert (await one.reports("run", 4, **TRAINING))[0]["policy"]["name"] == "learned"


@contextmanager
def reading_in_two_goes() -> Iterator[tuple[threading.Event, threading.Event]]:
    """The next look-up of a run tells when its first statement is answered, then waits to be let on."""
    answered, let_on, armed = threading.Event(), threading.Event(), threading.Lock()

    def pause(*arguments: Any) -> None:
        looks_up = "runs.run_id =" in arguments[2] and threading.current_thread().name.startswith(
            "tamiyo-reader"
        )
        if looks_up and armed.acquire(blocking=False):
            answered.set()
            assert let_on.wait(20)

    event.listen(Engine, "after_cursor_execute", pause)
    try:
        yield answered, let_on
    finally:
        let_on.set()
        event.remove(Engine, "after_cursor_execute", pause)


async def test_a_policy_changed_while_another_process_reads_the_run_decides_there_too(
    database_url: str,
) -> None:
    async with serving(SqlStore(database_url)) as one, serving(SqlStore(database_url)) as two:
        await one.reports("run", 0, 1)
        with reading_in_two_goes() as (answered, let_on):
            reporting = asyncio.create_task(two.report("run", 2))
            assert await asyncio.to_thread(answered.wait, 20)
            await ordered(one, "policy", LEARNED)
            let_on.set()
            reply = (await reporting).json()
        assert reply["policy"]["name"] == "learned"
        assert (await two.get("/runs/run/decisions/2"))["policy"]["name"] == "learned"


# Another policy


async def test_a_run_goes_on_with_another_policy_and_back(any_service: Service) -> None:
    await any_service.reports("run", *range(3))
    view = await ordered(any_service, "policy", LEARNED)
    assert (view["policy"]["name"], view["config"]["policy"]["name"]) == ("learned", "heuristic")
    assert view["policy"]["sha256"] is not None
    await any_service.reports("run", *range(3, 6))
    await ordered(any_service, "policy", HEURISTIC)
    await any_service.reports("run", *range(6, 9))
    items = (await any_service.get("/runs/run/decisions?order=asc"))["items"]
    assert [item["policy"]["name"] for item in items] == ["heuristic"] * 3 + ["learned"] * 3 + [
        "heuristic"
    ] * 3


async def test_every_decision_is_explained_by_the_policy_that_made_it(any_service: Service) -> None:
    await any_service.reports("run", *range(3))
    await ordered(any_service, "policy", LEARNED)
    await any_service.reports("run", *range(3, 6))
    for epoch in range(6):
        record = await any_service.get(f"/runs/run/decisions/{epoch}")
        assert record["policy"]["name"] == ("heuristic" if epoch < 3 else "learned")
    assert (await any_service.get("/runs/run/series"))["run_id"] == "run"


async def test_runs_are_listed_under_the_policy_they_have_now(any_service: Service) -> None:
    await any_service.reports("run", 0)
    await any_service.reports("other", 0)
    await ordered(any_service, "policy", LEARNED)
    found = {
        name: [item["run_id"] for item in (await any_service.get(f"/runs?policy={name}"))["items"]]
        for name in ("learned", "heuristic")
    }
    assert found == {"learned": ["run"], "heuristic": ["other"]}


async def test_the_plateau_seen_so_far_counts_for_the_new_policy(any_service: Service) -> None:
    unchanged = await any_service.germination("same")
    await any_service.reports("run", *range(unchanged["epoch"]))
    await ordered(any_service, "policy", LEARNED)
    await ordered(any_service, "policy", HEURISTIC)
    changed = await any_service.germination("run", unchanged["epoch"])
    assert changed["epoch"] == unchanged["epoch"]


async def test_a_trainer_that_begins_again_with_its_own_configuration_is_welcome(
    any_service: Service,
) -> None:
    config = {"policy": {"name": "heuristic"}, "max_epochs": 9}
    assert (await any_service.http.put("/runs/run", json=config)).status_code == 201
    await ordered(any_service, "policy", LEARNED)
    assert (await any_service.http.put("/runs/run", json=config)).status_code == 200
    assert (await any_service.reports("run", 0))[0]["policy"]["name"] == "learned"


async def test_a_rewind_to_before_the_change_keeps_the_policy_the_operator_gave(any_service: Service) -> None:
    await any_service.reports("run", *range(4))
    await ordered(any_service, "policy", LEARNED)
    await any_service.reports("run", 4)
    rewound = await any_service.http.post("/runs/run/rewind", json={"to_epoch": 2, "attempt": 1})
    assert rewound.status_code == 200
    (reply,) = await any_service.reports("run", 3, attempt=1)
    assert reply["policy"]["name"] == "learned"
    assert (await any_service.get("/runs/run/decisions/3"))["policy"]["name"] == "learned"
    assert (await any_service.get("/runs/run/decisions/3?attempt=0"))["policy"]["name"] == "heuristic"


async def test_the_policy_a_run_has_already_changes_nothing(any_service: Service) -> None:
    await any_service.reports("run", 0)
    before = await any_service.get("/runs/run")
    assert await ordered(any_service, "policy", HEURISTIC) == before


async def test_naming_the_version_of_the_policy_a_run_has_makes_it_forget_nothing(
    any_service: Service,
) -> None:
    sick = {"seeds": [seed("TRAINING", telemetry={"has_exploding": True})], "available_slots": 0}
    await any_service.reports("run", 0, **sick)
    await ordered(any_service, "policy", {"policy": {"name": "heuristic", "version": "1"}, "reason": "r"})
    (reply,) = await any_service.reports("run", 1, **sick)
    assert reply["commands"][0]["command_type"] == "CULL"


@pytest.mark.parametrize(
    ("policy", "status", "code"),
    [
        ({"name": "oracle"}, 422, "invalid_config"),
        ({"name": "learned", "version": "nobody-9.9.9"}, 422, "no_artifact"),
    ],
)
async def test_a_policy_that_cannot_be_had_is_refused_and_the_old_one_goes_on(
    any_service: Service, policy: dict[str, str], status: int, code: str
) -> None:
    await any_service.reports("run", 0)
    refused = await any_service.http.post("/runs/run/policy", json={"policy": policy, "reason": "r"})
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await any_service.reports("run", 1))[0]["policy"]["name"] == "heuristic"
