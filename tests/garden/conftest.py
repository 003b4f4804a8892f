"""A training small enough for a test, and the commands that a service would send it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from tamiyo_garden import GardenConfig, GardenTrainer, Gates, HostConfig
from tamiyo_leyline import AdaptationCommand, CommandType, EpochReport, RiskLevel, SeedStage, SeedStateReport

Command = Callable[..., AdaptationCommand]
Until = Callable[[GardenTrainer, SeedStage], SeedStateReport]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks this small only lose time on more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config() -> GardenConfig:
    """Two optimizer steps an epoch on digits; the gate to BLENDING opens whatever the seed has gained."""
    return GardenConfig(
        dataset="digits",
        host=HostConfig(dimensions=2, widths=(3, 3), strides=(2, 2), slots=2),
        train_examples=64,
        validation_examples=80,
        max_epochs=10,
        gates=Gates(min_training_improvement=-100.0),
    )


@pytest.fixture
def trainer(config: GardenConfig) -> GardenTrainer:
    return GardenTrainer(config, seed=1)


@pytest.fixture
def command() -> Command:
    """Builds commands of one type; each gets an id of its own."""
    issued = 0

    def build(command_type: CommandType, **fields: Any) -> AdaptationCommand:
        nonlocal issued
        issued += 1
        usual: dict[str, Any] = {
            "command_id": f"command-{issued}",
            "issued_at": datetime(2026, 1, 1, tzinfo=UTC),
            "reason": "the test asks for it",
            "confidence": 1.0,
            "risk_level": RiskLevel.GREEN,
            "expires_after_epoch": 1_000,
        }
        return AdaptationCommand(command_type=command_type, **{**usual, **fields})

    return build


@pytest.fixture
def germinate(command: Command) -> Command:
    """Builds a GERMINATE for a blueprint."""
    return lambda blueprint_id: command(CommandType.GERMINATE, blueprint_id=blueprint_id)


@pytest.fixture
def until() -> Until:
    """Trains until the first seed is reported in a stage."""

    def train(trainer: GardenTrainer, stage: SeedStage) -> SeedStateReport:
        for _ in range(30):
            report = trainer.train_epoch()
            if report.seeds and report.seeds[0].stage is stage:
                return report.seeds[0]
        raise AssertionError(f"no seed reached {stage.name}")

    return train


def without_timing(report: EpochReport) -> dict[str, Any]:
    """A report as it can be compared with another run's; NaN equals NaN in its text."""
    return {name: repr(value) for name, value in report if name != "epoch_duration_ms"}


@pytest.fixture
def comparable() -> Callable[[EpochReport], dict[str, Any]]:
    return without_timing
