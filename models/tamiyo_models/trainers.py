"""Trainers as they are: what they leave out of their reports, and what they make of commands.

The garden's trainer measures everything and obeys at once. Others validate now and then, send nothing but an
accuracy, answer a command one report late or never: `Reporting` and `Acting` make such trainers of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tamiyo_garden import GardenTrainer
from tamiyo_leyline import (
    AdaptationCommand,
    CommandOutcome,
    CommandStatus,
    CommandType,
    EpochReport,
    SeedMetrics,
    SeedStateReport,
    SeedTelemetry,
)

OMITTABLE: Final = ("train_loss", "train_accuracy", "grad_norm_host", "global_step")
"""Of a report, whatever the objective."""
DESCRIPTIONS: Final = ("host", "max_epochs")
"""Of a run's configuration."""
_LOSS_PER_POINT: Final = 0.02
"""A measuring error of one percentage point comes with one of this share of the loss."""


@dataclass(frozen=True, slots=True)
class Reporting:
    """What a trainer tells of a training.

    Attributes:
        validate_every: epochs from one validation to the next.
        omitted: what it never tells: names of `OMITTABLE` and `DESCRIPTIONS`, ``val_loss`` or
            ``val_accuracy``, and of its seeds ``metrics``, ``telemetry``, ``counterfactual``.
        by_loss: whether the run improves its validation loss rather than its accuracy.
        error: standard deviation of where its seeds' improvements begin, percentage points; every seed has
            errors of its own in each stage.
        diverged: epochs whose validation loss is no number.
        unhealthy: epochs in which the gradients of its seeds explode or vanish.
        seed: of its errors.
    """

    validate_every: int = 1
    omitted: frozenset[str] = frozenset()
    by_loss: bool = False
    error: float = 0.0
    diverged: frozenset[int] = frozenset()
    unhealthy: frozenset[int] = frozenset()
    seed: int = 0

    def told(self, report: EpochReport) -> EpochReport:
        """The report as this trainer would send it."""
        changes: dict[str, Any] = dict.fromkeys(self.omitted.intersection(_OF_REPORTS))
        if "global_step" in changes:
            changes["global_step"] = 0
        validated = report.epoch % self.validate_every == 0
        if report.epoch in self.diverged:
            changes["val_loss"] = math.nan
        elif not validated:
            changes |= {"val_loss": None, "val_accuracy": None}
        changes["seeds"] = tuple(self._seed(seed, report.epoch, validated) for seed in report.seeds)
        return report.model_copy(update=changes)

    def _seed(self, seed: SeedStateReport, epoch: int, validated: bool) -> SeedStateReport:
        changes: dict[str, Any] = {}
        if "telemetry" in self.omitted:
            changes["telemetry"] = None
        elif epoch in self.unhealthy:
            changes["telemetry"] = _UNHEALTHY[epoch % len(_UNHEALTHY)]
        if not validated or "metrics" in self.omitted:
            changes["metrics"] = None
        elif seed.metrics is not None:
            changes["metrics"] = self._measured(seed, seed.metrics)
        return seed.model_copy(update=changes)

    def _measured(self, seed: SeedStateReport, metrics: SeedMetrics) -> SeedMetrics:
        values = metrics.model_dump()
        if self.error > 0.0:
            values = _begun_elsewhere(values, self._errors(seed))
        if "counterfactual" in self.omitted:
            values |= {"counterfactual_val_accuracy": None, "counterfactual_val_loss": None}
        return SeedMetrics.model_validate(values)

    def _errors(self, seed: SeedStateReport) -> Mapping[str, float]:
        """Of each reference that an improvement is measured from, points."""
        of_stage = random.Random(f"{self.seed}/{seed.seed_id}/{seed.stage.name}")
        of_life = random.Random(f"{self.seed}/{seed.seed_id}")
        return {
            "stage": of_stage.gauss(0.0, self.error),
            "counterfactual": of_stage.gauss(0.0, self.error),
            "initial": of_life.gauss(0.0, self.error),
        }


_OF_REPORTS: Final = frozenset({*OMITTABLE, "val_loss", "val_accuracy"})
_UNHEALTHY: Final = (
    SeedTelemetry(gradient_norm=0.01, gradient_health=0.1),
    SeedTelemetry(gradient_norm=1e-6, gradient_health=0.05, has_vanishing=True),
    SeedTelemetry(gradient_norm=500.0, gradient_health=0.6, has_exploding=True),
)
"""Every kind of unhealthy gradients by turns."""
_REFERENCES: Final = {
    "stage": ("accuracy_at_stage_start", "loss_at_stage_start"),
    "counterfactual": ("counterfactual_val_accuracy", "counterfactual_val_loss"),
    "initial": ("initial_val_accuracy", "initial_val_loss"),
}


def _begun_elsewhere(values: dict[str, Any], errors: Mapping[str, float]) -> dict[str, Any]:
    """A seed's metrics as if its improvements had begun at other values; they are derived anew."""
    changed = values | {"total_improvement": None, "improvement_since_stage_start": None}
    for reference, (accuracy, loss) in _REFERENCES.items():
        error = errors[reference]
        if values[accuracy] is not None:
            changed[accuracy] = max(0.0, min(100.0, values[accuracy] + error))
        if values[loss] is not None:
            changed[loss] = values[loss] * math.exp(-_LOSS_PER_POINT * error)
    return changed


@dataclass(frozen=True, slots=True)
class Acting:
    """What a trainer makes of commands.

    Attributes:
        late: whether it carries out, and answers, one report late: at the end of the epoch that a command
            is good for, when that epoch has been reported.
        told_late: whether it carries out at once, but answers one report late.
        silent: whether it never answers.
        deaf: whether it does nothing at all, and says nothing.
        refused: share of the commands that it refuses.
        failed: share of those that it cannot carry out.
    """

    late: bool = False
    told_late: bool = False
    silent: bool = False
    deaf: bool = False
    refused: float = 0.0
    failed: float = 0.0


class Hands:
    """Carries commands out as a trainer of these habits does, and has it report.

    Args:
        trainer: the garden's.
        acting: the habits.
        dice: of what is refused and what fails.
    """

    def __init__(self, trainer: GardenTrainer, acting: Acting, dice: random.Random) -> None:
        self._trainer = trainer
        self._acting = acting
        self._dice = dice
        self._waiting: tuple[AdaptationCommand, ...] = ()
        self._answers: list[CommandOutcome] = []
        self._untold: tuple[CommandOutcome, ...] = ()

    def take(self, commands: Sequence[AdaptationCommand]) -> None:
        """What the service replied to the last report."""
        due, self._waiting = (self._waiting, tuple(commands)) if self._acting.late else (tuple(commands), ())
        for command in due:
            self._carry_out(command)

    def train_epoch(self) -> EpochReport:
        """Train an epoch, and report with the answers that are told by now."""
        report = self._trainer.train_epoch()
        answers, self._answers = (*report.outcomes, *self._answers), []
        if self._acting.told_late:
            answers, self._untold = self._untold, answers
        return report.model_copy(update={"outcomes": () if self._acting.silent else answers})

    def _carry_out(self, command: AdaptationCommand) -> None:
        if self._acting.deaf:
            return
        chance = 1.0 if command.command_type is CommandType.REQUEST_STATE else self._dice.random()
        if chance < self._acting.refused:
            self._answer(command, CommandStatus.REFUSED)
        elif chance < self._acting.refused + self._acting.failed:
            self._answer(command, CommandStatus.FAILED)
        else:
            # Where it is late, the garden sees it in the epoch after.
            late = {"expires_after_epoch": command.expires_after_epoch + self._acting.late}
            self._trainer.apply(command.model_copy(update=late))

    def _answer(self, command: AdaptationCommand, status: CommandStatus) -> None:
        self._answers.append(CommandOutcome(command_id=command.command_id, status=status, detail="by chance"))
