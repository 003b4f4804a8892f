"""POST /runs/{id}/epoch: one report in, one durable decision out, exactly once."""

from __future__ import annotations

import asyncio
import json

import pytest
from tamiyo_leyline import LEYLINE_VERSION, DecisionReply
from tamiyo_service.store import MemoryStore

from tests.service.asgi import post
from tests.service.conftest import Service, serving
from tests.service.samples import PLATEAU_EPOCHS, report, seed


async def test_a_report_gets_a_decision(any_service: Service) -> None:
    response = await any_service.report("run", 1)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["tamiyo-leyline"] == LEYLINE_VERSION
    assert "tamiyo-replayed" not in response.headers
    reply = DecisionReply.model_validate_json(response.content)
    assert (reply.run_id, reply.attempt, reply.epoch) == ("run", 0, 1)
    assert [command.command_type for command in reply.commands] == ["REQUEST_STATE"]
    assert reply.policy.name == "heuristic"


async def test_a_plateau_leads_to_a_germination(any_service: Service) -> None:
    replies = await any_service.reports("run", *range(PLATEAU_EPOCHS))
    types = [reply["commands"][0]["command_type"] for reply in replies]
    assert "GERMINATE" in types
    assert types[0] == "REQUEST_STATE"


async def test_the_same_report_gets_the_same_bytes(any_service: Service) -> None:
    first = await any_service.report("run", 1)
    again = await any_service.report("run", 1)
    assert again.content == first.content
    assert again.headers["tamiyo-replayed"] == "true"


async def test_an_old_report_gets_its_own_bytes(any_service: Service) -> None:
    first = await any_service.report("run", 1)
    await any_service.reports("run", 2, 5)
    again = await any_service.report("run", 1)
    assert again.content == first.content
    assert again.headers["tamiyo-replayed"] == "true"


async def test_equal_after_validation_is_the_same_content(service: Service) -> None:
    body = report(1, seeds=[seed(annotations={"a": "1", "b": "2"}, stage="TRAINING")])
    first = await service.http.post("/runs/run/epoch", json=body)
    body["seeds"][0] |= {"stage": 3, "annotations": {"b": "2", "a": "1"}, "alpha": 0}
    body |= {"attempt": 0, "train_loss": None, "val_loss": 1}
    again = await service.http.post("/runs/run/epoch", json=dict(reversed(body.items())))
    assert again.content == first.content


async def test_a_repeated_report_of_a_diverged_training_is_the_same(service: Service) -> None:
    first = await service.report("run", 1, val_loss="NaN", train_loss="Infinity")
    bare = (
        b'{"epoch": 1, "available_slots": 1, "val_accuracy": 50.0, "val_loss": NaN, "train_loss": Infinity}'
    )
    again = await service.http.post("/runs/run/epoch", content=bare)
    assert first.status_code == 200
    assert again.content == first.content


async def test_other_content_for_a_known_epoch_is_refused(any_service: Service) -> None:
    first = await any_service.report("run", 1)
    await any_service.report("run", 2)
    for epoch in (1, 2):
        refused = await any_service.report("run", epoch, val_accuracy=51.0)
        assert refused.status_code == 409
        assert refused.json()["code"] == "epoch_conflict"
    assert (await any_service.report("run", 1)).content == first.content
    assert (await any_service.get("/runs/run"))["counts"] == {"WAIT": 2}


async def test_an_epoch_of_the_past_that_was_never_reported_is_stale(any_service: Service) -> None:
    await any_service.reports("run", 1, 5)
    refused = await any_service.report("run", 3)
    assert refused.status_code == 409
    assert refused.json()["code"] == "stale_epoch"


async def test_an_attempt_that_no_rewind_opened_is_refused(any_service: Service) -> None:
    await any_service.report("run", 1)
    refused = await any_service.report("run", 2, attempt=1)
    assert refused.status_code == 409
    assert refused.json()["code"] == "attempt_conflict"
    assert refused.json()["errors"][0]["field"] == "attempt"


async def test_an_unknown_run_is_created_with_defaults(any_service: Service) -> None:
    await any_service.report("run", 1)
    run = await any_service.get("/runs/run")
    assert run["config"]["topology"]["name"] == "cnn"
    assert run["last_epoch"] == 1


async def test_create_false_asks_for_a_run_that_exists(any_service: Service) -> None:
    refused = await any_service.http.post("/runs/run/epoch?create=false", json=report(1))
    assert refused.status_code == 404
    assert refused.json()["code"] == "run_not_found"
    await any_service.http.put("/runs/run")
    accepted = await any_service.http.post("/runs/run/epoch?create=false", json=report(1))
    assert accepted.status_code == 200


async def test_auto_create_can_be_switched_off_and_asked_for() -> None:
    async with serving(MemoryStore(), auto_create=False) as service:
        assert (await service.report("run", 1)).json()["code"] == "run_not_found"
        created = await service.http.post("/runs/run/epoch?create=true", json=report(1))
        assert created.status_code == 200


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"seeds": [seed(blueprint_id="nonsense")]}, "unknown_blueprint"),
        ({"attempt": 1}, "attempt_conflict"),
        ({"outcomes": [{"command_id": "run@0.1.1", "status": "EXECUTED"}]}, "unknown_command"),
    ],
)
async def test_a_refused_first_report_creates_no_run(
    any_service: Service, fields: dict[str, object], code: str
) -> None:
    refused = await any_service.report("run", 1, **fields)
    assert refused.json()["code"] == code
    assert (await any_service.http.get("/runs/run")).status_code == 404


async def test_fractions_become_percent_before_anything_else(any_service: Service) -> None:
    await any_service.http.put("/runs/run", json={"accuracy_unit": "fraction"})
    metrics = {"initial_val_accuracy": 0.25, "current_val_accuracy": 0.5}
    body = report(1, val_accuracy=0.5, seeds=[seed(metrics=metrics)])
    first = await any_service.http.post("/runs/run/epoch?explain=true", json=body)
    told = first.json()["report"]
    assert told["val_accuracy"] == 50.0
    assert told["seeds"][0]["metrics"]["total_improvement"] == 25.0
    assert (await any_service.http.post("/runs/run/epoch", json=body)).headers["tamiyo-replayed"] == "true"


async def test_a_fraction_beyond_one_is_refused(service: Service) -> None:
    await service.http.put("/runs/run", json={"accuracy_unit": "fraction"})
    refused = await service.report("run", 1, val_accuracy=50.0)
    assert refused.status_code == 422
    assert refused.json()["code"] == "invalid_report"
    assert refused.json()["errors"][0]["field"] == "val_accuracy"


async def test_fractions_sent_for_percent_are_warned_of(service: Service) -> None:
    await service.reports("run", *range(10), val_accuracy=0.5)
    record = await service.get("/runs/run/decisions/9")
    assert any("accuracy_unit" in warning for warning in record["warnings"])


async def test_an_illegal_move_of_a_seed_is_accepted_and_flagged(service: Service) -> None:
    await service.report("run", 1, seeds=[seed("TRAINING")])
    moved = await service.report("run", 2, seeds=[seed("PROBATIONARY")])
    assert moved.status_code == 200
    record = await service.get("/runs/run/decisions/2")
    assert any("PROBATIONARY" in warning for warning in record["warnings"])


async def test_a_late_report_is_observed_and_answered_with_wait(any_service: Service) -> None:
    for epoch in range(PLATEAU_EPOCHS + 3):
        response = await any_service.http.post("/runs/run/epoch?backfill=true", json=report(epoch))
        assert [command["command_type"] for command in response.json()["commands"]] == ["REQUEST_STATE"]
    response = await any_service.report("run", PLATEAU_EPOCHS + 3)
    assert response.json()["commands"][0]["command_type"] == "GERMINATE"


async def test_backfill_is_no_part_of_the_compared_content(service: Service) -> None:
    first = await service.http.post("/runs/run/epoch?backfill=true", json=report(1))
    assert (await service.report("run", 1)).content == first.content


async def test_snapshot_adds_the_state_and_leaves_the_stored_bytes(any_service: Service) -> None:
    with_state = await any_service.http.post("/runs/run/epoch?snapshot=true", json=report(1))
    plain = await any_service.report("run", 1)
    assert isinstance(with_state.json()["state"], list)
    assert {key: value for key, value in with_state.json().items() if key != "state"} == plain.json()
    assert "state" not in plain.json()
    await any_service.report("run", 2)
    again = await any_service.http.post("/runs/run/epoch?snapshot=true", json=report(1))
    assert again.content == with_state.content


async def test_explain_answers_with_the_record(any_service: Service) -> None:
    explained = await any_service.http.post("/runs/run/epoch?explain=true", json=report(1))
    plain = (await any_service.report("run", 1)).json()
    record = explained.json()
    assert record["report"]["val_accuracy"] == 50.0
    assert len(record["features"]) == 27
    assert {key: record[key] for key in plain} == plain


async def test_outcomes_of_issued_commands_are_recorded(any_service: Service) -> None:
    issued = await any_service.germination("run")
    outcome = {"command_id": issued["commands"][0]["command_id"], "status": "REFUSED", "detail": "no memory"}
    accepted = await any_service.report("run", issued["epoch"] + 1, outcomes=[outcome])
    assert accepted.status_code == 200
    record = await any_service.get(f"/runs/run/decisions/{issued['epoch']}")
    assert record["outcomes"] == [outcome | {"epoch": issued["epoch"] + 1}]


@pytest.mark.parametrize(
    "command_id", ["nonsense", "other@0.1.1", "run@0.99.1", "run@0.1.7", "run@0.1.0", "run@1.1.1"]
)
async def test_outcomes_of_commands_never_issued_are_refused(any_service: Service, command_id: str) -> None:
    await any_service.reports("run", 1, 2)
    await any_service.report("other", 1)
    refused = await any_service.report("run", 3, outcomes=[{"command_id": command_id, "status": "EXECUTED"}])
    assert refused.status_code == 422
    assert refused.json()["code"] == "unknown_command"
    assert refused.json()["errors"][0]["field"] == "outcomes.0.command_id"
    assert (await any_service.get("/runs/run"))["last_epoch"] == 2


async def test_an_outcome_of_a_command_no_longer_tracked_is_accepted_with_a_warning(
    any_service: Service,
) -> None:
    await any_service.reports("run", *range(4))
    late = [{"command_id": "run@0.0.1", "status": "EXECUTED"}]
    assert (await any_service.report("run", 4, outcomes=late)).status_code == 200
    record = await any_service.get("/runs/run/decisions/4")
    assert any("run@0.0.1" in warning for warning in record["warnings"])


async def test_concurrent_first_reports_create_one_run_and_one_decision(any_service: Service) -> None:
    responses = await asyncio.gather(*(any_service.report("run", 1) for _ in range(50)))
    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    assert sum("tamiyo-replayed" not in response.headers for response in responses) == 1


async def test_ten_thousand_duplicate_and_concurrent_posts_leave_one_decision_each_epoch(
    any_service: Service,
) -> None:
    epochs, copies = 10, 100
    runs = [f"run-{number}" for number in range(10)]

    async def trainer(run_id: str) -> None:
        for epoch in range(epochs):
            posts = (post(any_service.app, f"/runs/{run_id}/epoch", report(epoch)) for _ in range(copies))
            answers = await asyncio.gather(*posts)
            assert {answer.status for answer in answers} == {200}
            assert len({answer.body for answer in answers}) == 1
            assert sum(b"tamiyo-replayed" not in answer.headers for answer in answers) == 1

    await asyncio.gather(*map(trainer, runs))
    page = await any_service.get("/decisions?limit=1000")
    decided = [(item["run_id"], item["epoch"]) for item in page["items"]]
    assert sorted(decided) == sorted((run_id, epoch) for run_id in runs for epoch in range(epochs))


async def test_runs_of_equal_configuration_share_an_engine(service: Service) -> None:
    for run_id, labels in (("a", {"n": "1"}), ("b", {"n": "2"}), ("c", {})):
        await service.http.put(f"/runs/{run_id}", json={"labels": labels})
        await service.report(run_id, 1)
    # Reaching inside: that memory is shared cannot be seen from outside.
    cached = service.app.state.services.intake._desk._sessions._cached
    assert len({id(session.engine) for session in cached.values()}) == 1


async def test_a_seeds_names_may_be_any_text(any_service: Service) -> None:
    odd = seed(seed_id='s"\\ä😀', slot_id="<slot>&'")
    response = await any_service.http.post("/runs/run/epoch?explain=true", json=report(1, seeds=[odd]))
    assert response.status_code == 200
    assert response.json()["slots"][0]["seed_id"] == odd["seed_id"]
    again = await any_service.report("run", 1, seeds=[odd])
    assert json.loads(again.content)["commands"][0]["target_seed_id"] == odd["seed_id"]
