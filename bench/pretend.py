"""A training that is only pretended: it obeys the service's commands, its accuracy comes from a formula.

Quick enough to make thousands of real decisions of every kind a second.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Final

from tamiyo_leyline import AdaptationCommand, CommandType

_STAGES: Final = (
    ("GERMINATED", 1),
    ("TRAINING", 4),
    ("BLENDING", 4),
    ("SHADOWING", 1),
    ("PROBATIONARY", 40),
)
"""A seed's stages, and the epochs it spends in each unless a command ends it."""


@dataclass
class _Seed:
    name: str
    blueprint: str
    gift: float
    """Points it is worth once blended in."""
    before: float
    age: int = 0
    ended: str | None = None

    @property
    def stage(self) -> str:
        return self.ended or self._stage_and_first()[0]

    @property
    def alpha(self) -> float:
        first = 1 + _STAGES[0][1] + _STAGES[1][1]
        return min(max((self.age - first + 1) / _STAGES[2][1], 0.0), 1.0)

    @property
    def epochs_in_stage(self) -> int:
        return self.age - self._stage_and_first()[1]

    def _stage_and_first(self) -> tuple[str, int]:
        first = 1
        for stage, epochs in _STAGES:
            if self.age < first + epochs:
                return stage, first
            first += epochs
        return _STAGES[-1][0], first - _STAGES[-1][1]


class PretendTraining:
    """One network in training.

    Args:
        seed: of its random numbers; the same seed trains the same way.
        diverges_at: epoch whose loss is not finite; None: it stays finite.
    """

    def __init__(self, seed: int, diverges_at: int | None = None) -> None:
        self._random = random.Random(seed)
        self._diverges_at = diverges_at
        self._host = self._random.uniform(50.0, 75.0)
        self._kept = 0.0
        self._seed: _Seed | None = None
        self._seeds = 0
        self._outcomes: list[dict[str, Any]] = []

    def report(self, epoch: int) -> dict[str, Any]:
        """The report of an epoch, as the service takes it."""
        seed = self._seed
        if seed is not None:
            seed.age += 1
        loss = math.nan if epoch == self._diverges_at else 2.0 * math.exp(-epoch / 20) + 0.3
        accuracy = self._accuracy(epoch)
        report = {
            "epoch": epoch,
            "global_step": 100 * epoch,
            "train_loss": loss,
            "val_loss": loss,
            "train_accuracy": min(accuracy + 4.0, 100.0),
            "val_accuracy": accuracy,
            "seeds": [] if seed is None else [self._reported(seed, accuracy)],
            "available_slots": 1 if seed is None else 0,
            "outcomes": self._outcomes,
            "epoch_duration_ms": round(self._random.uniform(900.0, 1500.0), 1),
        }
        self._outcomes = []
        if seed is not None and seed.ended is not None:
            self._seed = None
        return report

    def obey(self, command: AdaptationCommand) -> None:
        """Do what the service commands."""
        if command.command_type is CommandType.REQUEST_STATE:
            return
        if command.command_type is CommandType.GERMINATE:
            self._germinate(command.blueprint_id or "")
        elif self._seed is not None:
            fossilized = command.command_type is CommandType.ADVANCE_STAGE
            self._seed.ended = "FOSSILIZED" if fossilized else "CULLED"
            self._kept += self._seed.gift if fossilized else 0.0
        self._outcomes.append({"command_id": command.command_id, "status": "EXECUTED"})

    def _germinate(self, blueprint: str) -> None:
        self._seeds += 1
        gift = self._random.choice([4.0, 2.5, -3.0])
        self._seed = _Seed(f"seed-{self._seeds}", blueprint, gift, before=self._host)

    def _accuracy(self, epoch: int) -> float:
        host = self._host - 30.0 * math.exp(-epoch / 4)
        seed = self._seed
        gift = 0.0 if seed is None or seed.ended is not None else seed.gift * seed.alpha
        noisy = host + min(self._kept, 15.0) + gift + self._random.gauss(0.0, 0.15)
        return round(min(max(noisy, 0.0), 100.0), 3)

    def _reported(self, seed: _Seed, accuracy: float) -> dict[str, Any]:
        if seed.age == 1:
            seed.before = accuracy
        return {
            "seed_id": seed.name,
            "slot_id": "slot-1",
            "blueprint_id": seed.blueprint,
            "stage": seed.stage,
            "alpha": seed.alpha,
            "metrics": {
                "epochs_in_current_stage": seed.epochs_in_stage,
                "initial_val_accuracy": seed.before,
                "current_val_accuracy": accuracy,
                "accuracy_at_stage_start": seed.before,
                "counterfactual_val_accuracy": round(accuracy - seed.gift * seed.alpha, 3),
            },
            "telemetry": {
                "gradient_norm": round(self._random.uniform(0.5, 2.0), 3),
                "gradient_health": 0.9,
                "has_vanishing": False,
                "has_exploding": False,
            },
        }
