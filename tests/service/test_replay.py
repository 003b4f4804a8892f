"""Replays: the reports of a run decided again, over every kind of store."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tamiyo_leyline import AdaptationCommand
from tamiyo_leyline.replay import Replay
from tamiyo_service.store import MemoryStore, Store

from bench.pretend import PretendTraining
from tests.service.artifacts import LEARNED, put_artifact
from tests.service.conftest import Service, serving, sql_store
from tests.service.plugins import policy_installed
from tests.service.samples import report, seed

REPORT = {"heuristic": {"preset": "report"}}


@pytest.fixture
async def live(closed_store: Store) -> AsyncIterator[Service]:
    """A service over each kind of store."""
    async with serving(closed_store) as service:
        yield service


async def replay(service: Service, run_id: str, **request: Any) -> dict[str, Any]:
    """A replay, which must be one."""
    response = await service.http.post(f"/runs/{run_id}/replay", json=request)
    assert response.status_code == 200, response.text
    Replay.model_validate_json(response.content)
    answer: dict[str, Any] = response.json()
    assert answer["failure"] is None
    return answer


async def train(service: Service, run_id: str, epochs: int, **config: Any) -> None:
    """A pretended training that obeys, and tells every third outcome between the reports."""
    await service.http.put(f"/runs/{run_id}", json=config)
    await go_on(service, run_id, PretendTraining(seed=1), range(epochs))


async def go_on(
    service: Service, run_id: str, training: PretendTraining, epochs: range, attempt: int = 0
) -> None:
    for epoch in epochs:
        content = training.report(epoch) | {"attempt": attempt}
        if epoch % 3 == 0:
            for outcome in content.pop("outcomes", ()):
                path = f"/runs/{run_id}/commands/{outcome.pop('command_id')}/outcome"
                assert (await service.http.post(path, json=outcome)).status_code == 200
        response = await service.http.post(f"/runs/{run_id}/epoch", json=content)
        assert response.status_code == 200, response.text
        for command in response.json()["commands"]:
            training.obey(AdaptationCommand.model_validate(command))


def full_agreement(answer: dict[str, Any], reports: int) -> bool:
    counts = answer["counts"]
    return (
        counts["reports"] == counts["agreeing"] == reports
        and counts["logged"] == counts["replayed"]
        and answer["agreement"] == 1.0
        and answer["first_divergence"] is None
    )


async def test_the_runs_own_policy_agrees_everywhere(live: Service) -> None:
    await train(live, "run", 120)
    answer = await replay(live, "run")
    assert full_agreement(answer, 120)
    assert {"CULL", "FOSSILIZE", "WAIT"} <= set(answer["counts"]["logged"])
    assert answer["changes"] == []
    decisions = (await live.get("/runs/run/decisions?order=asc&limit=1000"))["items"]
    assert [(item["epoch"], item["logged_action"]) for item in answer["items"]] == [
        (decision["epoch"], decision["action"]) for decision in decisions
    ]


async def test_holds_orders_notes_and_late_reports_count_as_they_did(live: Service) -> None:
    training = PretendTraining(seed=1)
    await go_on(live, "run", training, range(10))
    await live.http.put("/runs/run/hold", json={"reason": "look"})
    await go_on(live, "run", training, range(10, 20))
    await live.http.delete("/runs/run/hold")
    await live.http.post("/runs/run/notes", json={"text": "going on"})
    order = {"action": "GERMINATE_DEPTHWISE", "reason": "try it"}
    await live.http.post("/runs/run/override", json=order)
    await live.http.post("/runs/run/epoch?backfill=true", json=report(20))
    await go_on(live, "run", training, range(21, 60))
    answer = await replay(live, "run")
    assert full_agreement(answer, 60)
    assert answer["counts"]["held"] == 10
    assert answer["counts"]["backfilled"] == 1
    assert [item["epoch"] for item in answer["items"] if item["overridden"]] == [21]
    # An order stands above any policy: another one carries it out, too.
    other = await replay(live, "run", heuristic={"plateau_epochs_to_germinate": 9})
    assert other["items"][21]["replayed_action"] == "GERMINATE_DEPTHWISE"


async def test_only_what_counts_after_rewinds_is_replayed(live: Service) -> None:
    await train(live, "run", 50)
    await live.http.post("/runs/run/rewind", json={"to_epoch": 200, "attempt": 1})
    await live.http.post("/runs/run/rewind", json={"to_epoch": 30, "attempt": 2})
    await go_on(live, "run", PretendTraining(seed=4), range(31, 80), attempt=2)
    answer = await replay(live, "run")
    assert full_agreement(answer, 80)
    assert [item["attempt"] for item in answer["items"]] == [0] * 31 + [2] * 49
    before = await replay(live, "run", attempt=1)
    assert full_agreement(before, 50)
    refused = await live.http.post("/runs/run/replay", json={"attempt": 3})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "attempt")


async def test_outcomes_that_a_rewind_discarded_are_not_told(live: Service) -> None:
    await live.http.put("/runs/run", json={})
    germination = await live.germination("run")
    epoch, (command,) = germination["epoch"], germination["commands"]
    path = f"/runs/run/commands/{command['command_id']}/outcome"
    await live.http.post(path, json={"status": "REFUSED", "detail": "no room"})
    await live.http.post("/runs/run/rewind", json={"to_epoch": epoch, "attempt": 1})
    await live.reports("run", epoch + 1, epoch + 2, attempt=1)
    assert full_agreement(await replay(live, "run"), epoch + 3)


async def test_another_setting_parts_ways_and_the_rest_is_open_loop(live: Service) -> None:
    await train(live, "run", 60, heuristic={"plateau_epochs_to_germinate": 3})
    answer = await replay(live, "run", heuristic={"plateau_epochs_to_germinate": 5})
    parted = answer["structural_divergence"]
    assert parted == answer["first_divergence"]
    assert parted["slot"]["logged"]["action"].startswith("GERMINATE")
    assert parted["slot"]["logged"]["outcome"] == "EXECUTED"
    assert parted["slot"]["replayed"]["action"] == "WAIT"
    assert [item["open_loop"] for item in answer["items"]] == [
        item["epoch"] > parted["epoch"] for item in answer["items"]
    ]
    assert answer["counts"]["open_loop"] == 59 - parted["epoch"]
    name = "heuristic.plateau_epochs_to_germinate"
    assert answer["changes"] == [{"name": name, "logged": 3, "replayed": 5}]
    assert answer["config"]["heuristic"]["plateau_epochs_to_germinate"] == 5
    disagreeing = [item for item in answer["items"] if not item["agrees"]]
    assert answer["agreement"] == pytest.approx(1 - len(disagreeing) / 60)


async def test_a_refused_command_is_a_divergence_that_leaves_the_loop_closed(live: Service) -> None:
    await live.http.put("/runs/run", json={})
    germination = await live.germination("run")
    (command,) = germination["commands"]
    refused = {"command_id": command["command_id"], "status": "REFUSED", "detail": "no room"}
    await live.report("run", germination["epoch"] + 1, outcomes=[refused])
    answer = await replay(live, "run", heuristic={"plateau_epochs_to_germinate": 50})
    assert answer["first_divergence"]["epoch"] == germination["epoch"]
    assert answer["first_divergence"]["slot"]["logged"]["outcome"] == "REFUSED"
    assert answer["items"][-1]["open_loop"] is False


async def test_a_preset_takes_its_values_but_for_those_named(live: Service) -> None:
    await train(live, "run", 5, heuristic={"probation_dead_band": 0.7})
    changed = {"preset": "report", "probation_dead_band": 0.9}
    config = (await replay(live, "run", heuristic=changed))["config"]
    assert config["heuristic"]["blueprint_penalty_threshold"] == 3.0
    assert config["heuristic"]["probation_dead_band"] == 0.9
    assert config["tracker"]["plateau_smoothing"] == 0.0
    config = (await replay(live, "run", **REPORT, tracker={"plateau_smoothing": 0.4}))["config"]
    assert config["tracker"]["plateau_smoothing"] == 0.4


async def test_epochs_and_items_are_chosen(live: Service) -> None:
    await train(live, "run", 60)
    whole = await replay(live, "run", **REPORT)
    part = await replay(live, "run", **REPORT, since_epoch=20, until_epoch=39)
    assert part["items"] == whole["items"][20:40]
    assert part["counts"]["reports"] == 20
    differing = [item for item in whole["items"] if not item["agrees"]]
    acting = [i for i in whole["items"] if not i["logged_action"] == i["replayed_action"] == "WAIT"]
    for items, wanted in {"divergences": differing, "acting": acting, "none": []}.items():
        chosen = await replay(live, "run", **REPORT, items=items)
        assert chosen["items"] == wanted
        assert chosen["counts"] == whole["counts"]


async def test_an_explanation_is_that_of_the_decision(live: Service) -> None:
    await train(live, "run", 30)
    answer = await replay(live, "run", explain=True, since_epoch=25, until_epoch=25)
    record = await live.get("/runs/run/decisions/25")
    assert answer["items"][0]["explanation"] == record["slots"]


async def test_a_learned_run_agrees_by_its_stored_words(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        await train(service, "run", 40, **LEARNED, learned={"deterministic": False, "temperature": 2.0})
        answer = await replay(service, "run")
        assert full_agreement(answer, 40)
        assert len(answer["counts"]["logged"]) > 1
        # With other settings of the tracker the network is asked anew.
        other = await replay(service, "run", tracker={"plateau_smoothing": 0.0})
        assert other["counts"]["reports"] == 40
        assert not any(slot["replayed"]["fallback"] for item in other["items"] for slot in item["slots"])


async def test_a_learned_run_needs_no_artifact_to_agree_by_its_stored_words(tmp_path: Path) -> None:
    models = tmp_path / "models"
    place = put_artifact(models)
    pinned = {"policy": {"name": "learned", "version": "mine-1.1.0"}}
    async with serving(sql_store(tmp_path), models=models) as service:
        await train(service, "run", 60, **pinned)
        before = await replay(service, "run", explain=True)
    shutil.rmtree(place)
    async with serving(sql_store(tmp_path), models=models) as service:
        after = await replay(service, "run", explain=True)
        assert full_agreement(after, 60)
        assert after["items"] == before["items"]
        # With other settings it would have to be asked.
        other = await service.http.post("/runs/run/replay", json={"heuristic": {"preset": "report"}})
        assert (other.status_code, other.json()["code"]) == (422, "no_artifact")
        # So it would about what another policy decided.
        await service.http.post("/runs/run/policy", json={"policy": {"name": "heuristic"}, "reason": "try"})
        await go_on(service, "run", PretendTraining(seed=1), range(60, 120))
        back = {"policy": pinned["policy"], "reason": "back"}
        put_artifact(models)
        assert (await service.http.post("/runs/run/policy", json=back)).status_code == 200
    shutil.rmtree(place)
    async with serving(sql_store(tmp_path), models=models) as service:
        answer = (await service.http.post("/runs/run/replay")).json()
        counts = answer["counts"]
        assert f"another policy decided epoch {counts['reports']}; what the network" in answer["failure"]
        assert 60 <= counts["reports"] == counts["agreeing"] < 120


async def test_a_wait_for_several_slots_has_no_confidence_of_one(live: Service) -> None:
    await live.http.post("/runs/run/epoch", json=report(0))
    two = [seed(), seed(seed_id="seed-2", slot_id="slot-2")]
    reply = await live.http.post("/runs/run/epoch", json=report(1, seeds=two))
    (wait,) = reply.json()["commands"]
    one, several = (await replay(live, "run"))["items"]
    assert [slot["logged"]["confidence"] for slot in one["slots"]] == [
        one["slots"][0]["replayed"]["confidence"]
    ]
    assert [slot["logged"]["confidence"] for slot in several["slots"]] == [None] * 3
    assert {slot["logged"]["reason"] for slot in several["slots"]} == {wait["reason"]}


async def test_a_heuristic_run_through_the_network_tells_margins(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        await train(service, "run", 40)
        answer = await replay(service, "run", policy={"name": "learned"})
        again = await replay(service, "run", policy={"name": "learned"})
    assert answer == again
    assert answer["policy"]["sha256"]
    assert answer["config"]["policy"]["version"] == answer["policy"]["version"]
    margins = [slot["replayed"]["margin"] for item in answer["items"] for slot in item["slots"]]
    assert all(0 <= margin <= 1 for margin in margins if margin is not None)
    assert any(margin is not None for margin in margins)


async def test_a_run_that_was_given_another_policy_is_compared_with_what_it_decided(live: Service) -> None:
    training = PretendTraining(seed=1)
    await go_on(live, "run", training, range(20))
    given = {"policy": {"name": "learned"}, "reason": "try the network"}
    assert (await live.http.post("/runs/run/policy", json=given)).status_code == 200
    await go_on(live, "run", training, range(20, 40))
    answer = await replay(live, "run", policy={"name": "heuristic"})
    assert all(item["agrees"] for item in answer["items"][:20])
    assert (await replay(live, "run"))["policy"]["name"] == "learned"


async def test_a_policy_that_is_gone_is_not_needed_for_the_runs_side(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        with policy_installed(tmp_path):
            await train(service, "run", 20, policy={"name": "mine"})
            assert full_agreement(await replay(service, "run"), 20)
    async with serving(sql_store(tmp_path)) as service:
        answer = await replay(service, "run", policy={"name": "heuristic"})
        assert answer["counts"]["logged"] == {"WAIT": 20}
        assert set(answer["counts"]["replayed"]) > {"WAIT"}
        gone = await service.http.post("/runs/run/replay", json={})
        assert (gone.status_code, gone.json()["code"]) == (422, "invalid_config")


async def test_a_replay_stores_nothing(live: Service) -> None:
    await train(live, "run", 30)
    before = await live.get("/runs/run"), await live.get("/runs/run/decisions?limit=1000")
    await replay(live, "run", **REPORT)
    assert (await live.get("/runs/run"), await live.get("/runs/run/decisions?limit=1000")) == before


async def test_a_run_without_reports_has_nothing_to_agree_about(service: Service) -> None:
    await service.http.put("/runs/run", json={})
    answer = await replay(service, "run")
    assert (answer["items"], answer["agreement"], answer["acting_agreement"]) == ([], None, None)
    assert (await service.http.post("/runs/run/replay")).json() == answer


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ({"policy": {"name": "x"}}, "invalid_config", "heuristic"),
        ({"policy": {"name": "learned", "version": "x"}}, "no_artifact", "imitation-cnn-1.0.0"),
        ({"heuristic": {"plateau": 1}}, "invalid_request", "plateau_epochs_to_germinate"),
        ({"tracker": {"plateau": 1}}, "invalid_request", "plateau_threshold"),
        ({"learned": {"heat": 1}}, "invalid_request", "temperature"),
        ({"heuristic": {"preset": "paper"}}, "invalid_request", "report"),
        ({"heuristic": {"blueprint_rotation": ["x"]}}, "unknown_blueprint", "norm"),
        ({"heuristic": {"max_probation_epochs": 0}}, "invalid_config", "min_probation_epochs"),
        ({"items": "some"}, "invalid_request", "divergences"),
    ],
)
async def test_what_cannot_be_replayed_is_refused_with_what_would_be_right(
    service: Service, request_: dict[str, Any], code: str, words: str
) -> None:
    await service.http.put("/runs/run", json={})
    response = await service.http.post("/runs/run/replay", json=request_)
    assert response.status_code == 422
    assert response.json()["code"] == code
    assert words in response.json()["detail"]


async def test_a_run_that_is_not_there_cannot_be_replayed(service: Service) -> None:
    response = await service.http.post("/runs/nobody/replay", json={})
    assert (response.status_code, response.json()["code"]) == (404, "run_not_found")


async def test_a_policy_that_fails_ends_the_replay_with_its_reason(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        await service.reports("run", *range(9))
        with policy_installed(tmp_path, fails_at=5):
            response = await service.http.post("/runs/run/replay", json={"policy": {"name": "mine"}})
    answer = response.json()
    assert "epoch 5" in answer["failure"]
    assert [item["epoch"] for item in answer["items"]] == [0, 1, 2, 3, 4]
    assert answer["counts"]["reports"] == 5


async def test_reports_are_answered_while_a_long_run_is_replayed() -> None:
    async with serving(MemoryStore()) as service:
        for first in range(0, 3_000, 1_000):
            reports = [{"run_id": "long", "report": report(epoch)} for epoch in range(first, first + 1_000)]
            await service.http.post("/epochs", json={"reports": reports})
        replaying = asyncio.create_task(replay(service, "long", **REPORT))
        answered = 0
        while not replaying.done():
            await service.reports("other", answered, seeds=[seed("TRAINING")], available_slots=0)
            answered += 1
        assert (await replaying)["counts"]["reports"] == 3_000
    # A page of reports is a hundred: thirty times others had their turn.
    assert answered >= 30
