"""Learned runs of trainers as they are: how seldom the heuristic has to decide in the network's place."""

from __future__ import annotations

from typing import Any

import pytest
from tamiyo_client import TamiyoClient
from tamiyo_garden import GardenConfig, GardenTrainer, HostConfig
from tamiyo_leyline import PolicyChoice
from tamiyo_service import Settings
from tamiyo_service.testing import running_service

from tests.service.artifacts import LEARNED
from tests.service.conftest import Service

EPOCHS = 120
FAR = "far outside the training range"
PATIENT = 60.0
"""Seconds that a decision may wait for its network: what is tested is not speed."""


def accuracy(epoch: int) -> float:
    """Rises fast, then ever more slowly, with a standstill in the end."""
    return 90.0 - 70.0 * 0.93**epoch


async def fallbacks(service: Service, run_id: str) -> list[str]:
    """Why the heuristic decided, once for each report in which it did."""
    found = []
    page = await service.get(f"/runs/{run_id}/decisions?limit=500")
    for item in page["items"]:
        record = await service.get(f"/runs/{run_id}/decisions/{item['epoch']}")
        found += [event["message"] for event in record["events"] if event["type"] == "POLICY_FALLBACK"]
    assert len(page["items"]) >= EPOCHS
    return found


async def create(service: Service, **config: Any) -> None:
    created = await service.http.put("/runs/run", json=LEARNED | config)
    assert created.status_code == 201, created.text


async def test_a_trainer_that_sends_an_accuracy_and_no_more_is_advised_all_along(service: Service) -> None:
    await create(service)
    for epoch in range(1, EPOCHS + 1):
        sent = {"epoch": epoch, "val_accuracy": accuracy(epoch), "available_slots": 2}
        answer = await service.http.post("/runs/run/epoch", json=sent)
        assert answer.status_code == 200, answer.text
    assert await fallbacks(service, "run") == []


class LateTrainer:
    """Carries every command out after the next report, and tells so in the one after that."""

    def __init__(self) -> None:
        self._seeds: dict[str, dict[str, Any]] = {}
        self._waiting: list[dict[str, Any]] = []
        self._outcomes: list[dict[str, Any]] = []
        self._germinated = 0

    def report(self, epoch: int, **fields: Any) -> dict[str, Any]:
        """What it sends at the end of an epoch."""
        outcomes, self._outcomes = self._outcomes, []
        seeds = [self._grown(seed, epoch) for seed in self._seeds.values()]
        return {
            "epoch": epoch,
            "val_accuracy": accuracy(epoch),
            "val_loss": 2.0 - accuracy(epoch) / 50.0,
            "available_slots": 2 - len(seeds),
            "seeds": seeds,
            "outcomes": outcomes,
        } | fields

    def take(self, commands: list[dict[str, Any]]) -> None:
        """Hear commands, and carry out those of the time before."""
        due, self._waiting = self._waiting, commands
        for command in due:
            if command["command_type"] == "GERMINATE":
                self._germinated += 1
                name = f"seed-{self._germinated}"
                self._seeds[name] = {"blueprint_id": command["blueprint_id"], "age": 0}
            elif command["command_type"] in ("CULL", "ADVANCE_STAGE"):
                self._seeds.pop(command["target_seed_id"], None)
            else:
                continue
            self._outcomes.append({"command_id": command["command_id"], "status": "EXECUTED"})

    def _grown(self, seed: dict[str, Any], epoch: int) -> dict[str, Any]:
        [name] = [name for name, known in self._seeds.items() if known is seed]
        stages = ("GERMINATED", *("TRAINING",) * 6, *("BLENDING",) * 5, *("SHADOWING",) * 3)
        stage = stages[seed["age"]] if seed["age"] < len(stages) else "PROBATIONARY"
        seed["age"] += 1
        # Seeds with odd numbers turn out to be worth something, the others do harm.
        gain = 1.5 if int(name.removeprefix("seed-")) % 2 else -1.5
        return {
            "seed_id": name,
            "slot_id": f"slot-of-{name}",
            "blueprint_id": seed["blueprint_id"],
            "stage": stage,
            "alpha": {"BLENDING": 0.5, "SHADOWING": 1.0, "PROBATIONARY": 1.0}.get(stage, 0.0),
            "metrics": {
                "current_val_accuracy": accuracy(epoch),
                "counterfactual_val_accuracy": accuracy(epoch) - gain,
            },
        }


@pytest.mark.parametrize("validate_every", [1, 3])
async def test_a_trainer_that_answers_late_is_advised_all_along(
    service: Service, validate_every: int
) -> None:
    await create(service, max_epochs=EPOCHS)
    trainer, kinds = LateTrainer(), set()
    for epoch in range(1, EPOCHS + 1):
        unmeasured = {} if epoch % validate_every == 0 else {"val_accuracy": None, "val_loss": None}
        answer = await service.http.post("/runs/run/epoch", json=trainer.report(epoch, **unmeasured))
        assert answer.status_code == 200, answer.text
        commands = answer.json()["commands"]
        kinds |= {command["command_type"] for command in commands}
        trainer.take(commands)
    assert "GERMINATE" in kinds
    assert await fallbacks(service, "run") == []


async def test_an_epoch_without_a_validation_is_no_reason_to_fall_back(service: Service) -> None:
    await create(service, max_epochs=EPOCHS)
    for epoch in range(1, EPOCHS + 1):
        sent = {"epoch": epoch, "train_loss": 1.0 / epoch, "available_slots": 1}
        if epoch % 3 == 0:
            sent |= {"val_accuracy": accuracy(epoch), "val_loss": 1.0 / epoch}
        answer = await service.http.post("/runs/run/epoch", json=sent)
        assert answer.status_code == 200, answer.text
    assert await fallbacks(service, "run") == []


@pytest.mark.parametrize("fields", [{"val_loss": 1e9}, {"train_loss": 1e6}])
async def test_nonsense_is_left_to_the_heuristic(service: Service, fields: dict[str, float]) -> None:
    await create(service)
    answer = await service.http.post("/runs/run/epoch", json=LateTrainer().report(1) | fields)
    assert answer.status_code == 200, answer.text
    record = await service.get("/runs/run/decisions/1")
    [message] = [event["message"] for event in record["events"] if event["type"] == "POLICY_FALLBACK"]
    assert FAR in message


@pytest.mark.parametrize("dataset", ["digits", "mnist1d"])
def test_a_training_of_the_garden_is_advised_from_end_to_end(dataset: str) -> None:
    trainer = GardenTrainer(
        GardenConfig(
            dataset=dataset,
            host=HostConfig(
                dimensions=2 if dataset == "digits" else 1, widths=(6, 6), strides=(2, 2), slots=2
            ),
            train_examples=100,
            validation_examples=100,
            max_epochs=30,
        ),
        seed=3,
    )
    advised = 0
    policy = PolicyChoice(name="learned")
    with (
        running_service(Settings(model_deadline=PATIENT)) as url,
        TamiyoClient(url) as client,
        client.run("garden", policy=policy, max_epochs=30) as run,
    ):
        for _ in range(30):
            for command in run.report(trainer.train_epoch()).commands:
                assert "the heuristic decided" not in command.reason
                advised += "the network gives" in command.reason
                trainer.apply(command)
    assert advised > 20
