"""A real training, a real service, a real client; and the same decisions whatever happens between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tamiyo_client import Decision, Run, TamiyoClient
from tamiyo_core import Engine, build_policy, decision_id
from tamiyo_garden import TASKS, GardenTrainer
from tamiyo_leyline import AdaptationCommand, CommandType, RunConfig

EPOCHS = 16
GARDEN = replace(TASKS["digits"].garden, train_examples=200, max_epochs=EPOCHS)
CONFIG = RunConfig.model_validate(
    {
        "heuristic": {"blueprint_rotation": ["conv_enhance", "norm"], "plateau_epochs_to_germinate": 1},
        "tracker": {"plateau_threshold": 20.0},
        "max_epochs": EPOCHS,
    }
)
RUN = "e2e"

Told = tuple[Any, ...]


def told(command: AdaptationCommand) -> Told:
    """A command without the moment it was issued."""
    return tuple(command.model_dump(exclude={"issued_at"}, mode="json").items())


@pytest.fixture(scope="module")
def expected() -> list[list[Told]]:
    """What the core decides in a training that nothing disturbs."""
    engine = Engine(CONFIG, build_policy(CONFIG))
    trainer, state = GardenTrainer(GARDEN, seed=0), engine.initial()
    answers = []
    for _ in range(EPOCHS):
        report = trainer.train_epoch()
        step = engine.step(
            state, report, decision_id=decision_id(RUN, 0, report.epoch), now=datetime.now(UTC)
        )
        state = step.state
        for command in step.commands:
            trainer.apply(command)
        answers.append([told(command) for command in step.commands])
    return answers


def train(run: Run, trainer: GardenTrainer) -> Iterator[Decision]:
    while trainer.epoch < EPOCHS:
        decision = run.report(trainer.train_epoch())
        for command in decision.commands:
            trainer.apply(command)
        yield decision


def test_the_undisturbed_training_has_something_to_decide(expected: list[list[Told]]) -> None:
    kinds = {dict(command)["command_type"] for answer in expected for command in answer}

    assert {CommandType.REQUEST_STATE, CommandType.GERMINATE} < kinds


def test_service_decides_what_the_core_decides(service: Any, expected: list[list[Told]]) -> None:
    with TamiyoClient(service.base_url, deadline=10.0) as client, client.run(RUN, config=CONFIG) as run:
        answers = list(train(run, GardenTrainer(GARDEN, seed=0)))

    assert [answer.source for answer in answers] == ["service"] * EPOCHS
    assert [[told(command) for command in answer.commands] for answer in answers] == expected


def test_kill_in_the_middle_of_a_training_changes_no_decision(
    service: Any, expected: list[list[Told]]
) -> None:
    answers: list[Decision] = []
    with TamiyoClient(service.base_url, deadline=20.0) as client, client.run(RUN, config=CONFIG) as run:
        for decision in train(run, GardenTrainer(GARDEN, seed=0)):
            answers.append(decision)
            if decision.epoch in {5, 9}:
                service.kill()
                threading.Timer(0.3, service.start).start()
        view = client.get_run(RUN)

    assert [answer.source for answer in answers] == ["service"] * EPOCHS
    assert [[told(command) for command in answer.commands] for answer in answers] == expected
    assert sum(view.counts.values()) == EPOCHS


def test_training_goes_on_without_its_service_and_is_caught_up(service: Any) -> None:
    trainer = GardenTrainer(GARDEN, seed=0)
    with TamiyoClient(service.base_url, deadline=1.0) as client, client.run(RUN, config=CONFIG) as run:
        training = train(run, trainer)
        before = [next(training) for _ in range(3)]
        service.kill()
        alone = [next(training) for _ in range(2)]
        service.start()
        service.await_ready()
        after = list(training)
        seen = sorted(item.epoch for item in client.decisions(RUN))

    assert [decision.source for decision in before] == ["service"] * 3
    assert [decision.source for decision in alone] == ["client"] * 2
    assert all(command.command_type is CommandType.REQUEST_STATE for d in alone for command in d.commands)
    assert after[-1].source == "service"
    assert seen == list(range(1, EPOCHS + 1))


def train_until_interrupted(base_url: str, checkpoints: dict[int, dict[str, Any]]) -> None:
    trainer = GardenTrainer(GARDEN, seed=0)
    with TamiyoClient(base_url, deadline=10.0) as client, client.run(RUN, config=CONFIG) as run:
        for decision in train(run, trainer):
            checkpoints[decision.epoch] = trainer.state_dict()
            if decision.epoch == 9:
                raise KeyboardInterrupt


def test_trainer_that_resumes_from_a_checkpoint_gets_the_same_decisions(
    service: Any, expected: list[list[Told]]
) -> None:
    checkpoints: dict[int, dict[str, Any]] = {}
    with pytest.raises(KeyboardInterrupt):
        train_until_interrupted(service.base_url, checkpoints)

    resumed = GardenTrainer(GARDEN, seed=0)
    resumed.load_state_dict(checkpoints[6])
    with TamiyoClient(service.base_url, deadline=10.0) as client:
        with client.run(RUN, config=CONFIG, resume=6) as run:
            decision = run.report(resumed.train_epoch())
        attempts = {(item.attempt, item.epoch): item.superseded for item in client.decisions(RUN)}

    reasons = [dict(command)["reason"] for command in expected[6]]
    assert (decision.attempt, decision.epoch) == (1, 7)
    assert [command.reason for command in decision.commands] == reasons
    assert [attempts[0, epoch] for epoch in range(1, 10)] == [False] * 6 + [True] * 3
