"""Runs of the learned policy: decided by their network, stored with its words, replayed to the same end."""

from __future__ import annotations

import asyncio
import math
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from tamiyo_core import Question, RowAdvice
from tamiyo_core.learned import LearnedPolicy
from tamiyo_leyline import EpochReport, RunConfig
from tamiyo_models.artifact import SHIPPED, Network, load_network
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.seat import TOGETHER
from tamiyo_service.runs.snapshots import restored
from tamiyo_service.store import MemoryStore, Store

from tests.service.artifacts import LEARNED, NAME, SHIPPED_VERSION, put_artifact
from tests.service.conftest import Service, serving, sql_store
from tests.service.samples import report, seed

CLOSE_PROBABILITY = 1e-5
CLEAR_MARGIN = 1e-4
EPOCHS = 16


def lively(run: int, epoch: int) -> dict[str, Any]:
    """A report within the training range of the shipped network, different for every run and epoch."""
    chance = random.Random(1000 * run + epoch)
    stages = [(), ("TRAINING",), ("BLENDING",), ("PROBATIONARY",)]
    there = stages[(run + epoch // 4) % 4]
    seeds = [
        seed(
            stage,
            alpha={"TRAINING": 0.0, "BLENDING": 0.5, "PROBATIONARY": 1.0}[stage],
            metrics={
                "epochs_in_current_stage": epoch % 4,
                "current_val_accuracy": 60.0 + chance.uniform(-1, 1),
                "accuracy_at_stage_start": 60.0,
                "counterfactual_val_accuracy": 60.0 + chance.uniform(-1, 1),
            },
        )
        for stage in there
    ]
    return report(
        epoch,
        seeds=seeds,
        available_slots=1,
        val_accuracy=60.0 + chance.uniform(-0.5, 0.5),
        val_loss=1.0 + chance.uniform(-0.1, 0.1),
        train_loss=0.9 + chance.uniform(-0.1, 0.1),
        train_accuracy=64.0 + chance.uniform(-1, 1),
    )


async def play(service: Service, runs: int, config: dict[str, Any] | None = None) -> None:
    """Runs that report at the same time, epoch by epoch."""
    for run in range(runs):
        created = await service.http.put(f"/runs/run-{run}", json=LEARNED | (config or {}))
        assert created.status_code == 201, created.text
    for epoch in range(EPOCHS):
        answers = await asyncio.gather(
            *(service.http.post(f"/runs/run-{run}/epoch", json=lively(run, epoch)) for run in range(runs))
        )
        assert {answer.status_code for answer in answers} == {200}


async def journal(store: Store, run_id: str) -> list[Any]:
    """The entries of a run, the oldest first."""
    run = await store.run(run_id)
    assert run is not None
    entries, seq = [], EPOCHS + 1
    while (entry := await store.entry_before(run.run_pk, seq)) is not None:
        entries.append(entry)
        seq = entry.seq
    return [run, *reversed(entries)]


async def test_a_replay_agrees_whatever_the_batch_and_the_format() -> None:
    alone = [
        load_network(SHIPPED / NAME / SHIPPED_VERSION, file_format=one) for one in ("onnx", "torchscript")
    ]
    store, runs = MemoryStore(), TOGETHER + 8
    tally: Counter[str] = Counter()
    async with serving(store) as service:
        await play(service, runs)
        engines = Engines(service.app.state.services.registry)
        for number in range(runs):
            run, *entries = await journal(store, f"run-{number}")
            engine = engines.stored(run.config)
            state = engine.initial()
            for entry in entries:
                observation = engine.observe(state, EpochReport.model_validate_json(entry.payload))
                for network in alone:
                    _replay(network, observation.questions, orjson.loads(entry.advice or "[]"), tally)
                state = restored(engine, entry.state)
    assert tally["asked"] > runs * EPOCHS
    assert tally["clear"] > tally["asked"] / 2, "most decisions are clear"


def _replay(network: Network, questions: Sequence[Question], stored: Any, tally: Counter[str]) -> None:
    answers = [network.advise([question])[0] for question in questions]
    if isinstance(stored, str):
        assert stored in answers, "the same row is refused"
        return
    for given, answer in zip(stored, answers, strict=True):
        assert isinstance(answer, RowAdvice)
        tally["asked"] += 1
        tally["clear"] += _agree(given[0], answer.log_probs)


def _agree(stored: list[float | None], again: tuple[float, ...]) -> bool:
    """Check that two answers of a network agree; whether their first action is clear."""
    one = [0.0 if value is None else math.exp(value) for value in stored]
    other = [math.exp(value) for value in again]
    assert max(abs(a - b) for a, b in zip(one, other, strict=True)) <= CLOSE_PROBABILITY
    first, second = sorted(one, reverse=True)[:2]
    clear = first - second > CLEAR_MARGIN
    if clear:
        assert one.index(first) == other.index(max(other))
    return clear


async def test_every_record_is_recomputed_from_the_stored_advice(tmp_path: Path) -> None:
    async with serving(sql_store(tmp_path)) as service:
        await play(service, 3, {"learned": {"deterministic": False, "temperature": 1.5}})
        actions = set()
        for run in range(3):
            for epoch in range(EPOCHS):
                record = await service.get(f"/runs/run-{run}/decisions/{epoch}")
                for slot in record["slots"]:
                    actions.add(slot["action"])
                    if slot["probabilities"] is None:
                        assert sum(slot["mask"].values()) == 1 or slot["reason"] == "a cull is pending"
                        continue
                    assert math.fsum(slot["probabilities"].values()) == pytest.approx(1.0)
                    assert slot["confidence"] == slot["probabilities"][slot["action"]]
                    assert not any(
                        chance for name, chance in slot["probabilities"].items() if not slot["mask"][name]
                    )
                    assert slot["uncertainty"] >= 0.0
                    assert slot["entropy"] >= 0.0
                assert len(record["policy"]["sha256"]) == 64
        assert len(actions) > 1


async def test_a_restart_changes_no_later_decision(tmp_path: Path) -> None:
    replies: list[list[Any]] = []
    for restarts in (False, True):
        folder = tmp_path / str(restarts)
        folder.mkdir()
        told: list[Any] = []
        store = sql_store(folder)
        async with serving(store) as service:
            assert (await service.http.put("/runs/run", json=LEARNED)).status_code == 201
            for epoch in range(EPOCHS // 2 if restarts else EPOCHS):
                told.append(await service.http.post("/runs/run/epoch", json=lively(1, epoch)))
        if restarts:
            async with serving(sql_store(folder)) as service:
                for epoch in range(EPOCHS // 2, EPOCHS):
                    told.append(await service.http.post("/runs/run/epoch", json=lively(1, epoch)))
        replies.append([[command["reason"] for command in one.json()["commands"]] for one in told])
    assert replies[0] == replies[1]


async def test_a_batch_decides_as_single_reports_do(service: Service) -> None:
    for run_id in [*(f"batched-{run}" for run in range(5)), *(f"single-{run}" for run in range(5))]:
        assert (await service.http.put(f"/runs/{run_id}", json=LEARNED)).status_code == 201
    for epoch in range(EPOCHS):
        items = [{"run_id": f"batched-{run}", "report": lively(run, epoch)} for run in range(5)]
        batched = (await service.http.post("/epochs", json={"reports": items})).json()["results"]
        for run in range(5):
            single = await service.http.post(f"/runs/single-{run}/epoch", json=lively(run, epoch))
            told = [command["reason"] for command in batched[run]["reply"]["commands"]]
            assert told == [command["reason"] for command in single.json()["commands"]]


async def test_an_observation_far_outside_the_training_range_is_the_heuristics(service: Service) -> None:
    await service.http.put("/runs/run", json=LEARNED)
    answer = await service.http.post("/runs/run/epoch", json=lively(0, 1) | {"val_loss": 1e9})
    assert answer.status_code == 200
    assert "the heuristic decided" in answer.json()["commands"][0]["reason"]
    record = await service.get("/runs/run/decisions/1")
    events = {event["type"]: event["message"] for event in record["events"]}
    assert "far outside the training range" in events["POLICY_FALLBACK"]
    assert record["policy"]["name"] == "learned"


async def test_a_run_whose_artifact_is_gone_goes_on_with_the_heuristic(tmp_path: Path) -> None:
    models = tmp_path / "models"
    place = put_artifact(models)
    pinned = {"policy": {"name": "learned", "version": f"mine-{place.name}"}}
    async with serving(sql_store(tmp_path), models=models) as service:
        assert (await service.http.put("/runs/run", json=pinned)).status_code == 201
        for epoch in range(3):
            assert (await service.http.post("/runs/run/epoch", json=lively(0, epoch))).status_code == 200
    shutil.rmtree(place)
    async with serving(sql_store(tmp_path), models=models) as service:
        answer = await service.http.post("/runs/run/epoch", json=lively(0, 3))
        assert answer.status_code == 200
        assert "the heuristic decided" in answer.json()["commands"][0]["reason"]
        before, after = [await service.get(f"/runs/run/decisions/{epoch}") for epoch in (2, 3)]
        assert before["slots"][-1]["probabilities"] is not None, "what was decided is still explained"
        assert any(event["type"] == "POLICY_FALLBACK" for event in after["events"])


async def test_a_fallback_is_an_input_and_is_replayed(tmp_path: Path) -> None:
    """A deadline that passed is no fact of the report: only the journal knows it."""
    async with serving(sql_store(tmp_path), model_deadline=1e-9) as service:
        await service.http.put("/runs/run", json=LEARNED)
        # Not in memory any more: the network is still there, and has no time to answer.
        service.app.state.services.registry._serving._loaded.clear()
        answer = await service.http.post("/runs/run/epoch", json=lively(0, 1))
        assert "was not loaded within" in answer.json()["commands"][0]["reason"]
    async with serving(sql_store(tmp_path)) as service:
        record = await service.get("/runs/run/decisions/1")
        assert "was not loaded within" in record["slots"][-1]["reason"]
        assert record["commands"] == answer.json()["commands"]


def test_the_policy_of_a_run_is_the_learned_one() -> None:
    config = RunConfig.model_validate(LEARNED)
    assert config.policy.name == LearnedPolicy.name
