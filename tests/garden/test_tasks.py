from __future__ import annotations

import pytest
from tamiyo_garden import TASKS, GardenTrainer, dataset_names


def test_there_is_a_task_for_every_dataset() -> None:
    assert tuple(TASKS) == dataset_names()
    assert [task.garden.dataset for task in TASKS.values()] == list(TASKS)


@pytest.mark.parametrize("name", TASKS)
def test_a_tasks_run_describes_its_host(name: str) -> None:
    task = TASKS[name]
    trainer = GardenTrainer(task.garden, seed=0)
    run = task.run_config(trainer.host_parameters)
    assert run.topology.name == "cnn"
    assert run.max_epochs == task.garden.max_epochs
    assert run.rotation == task.heuristic.blueprint_rotation
    assert run.host.parameters == trainer.host_parameters
    assert run.host.train_examples == len(trainer.data.train)
    assert run.host.normalised is False


@pytest.mark.parametrize("name", TASKS)
def test_a_task_can_be_tested_on_as_much_as_its_data_allows(name: str) -> None:
    data = GardenTrainer(TASKS[name].garden, seed=0).data
    pool = {"digits": 1_797, "mnist1d": 8_000}[name]
    assert len(data.train) + len(data.validation) + len(data.test) == pool
    assert len(data.test) > len(data.train)
