"""Demonstrations: real trainings of the garden, and what the heuristic would have done at every report.

A training is steered by a heuristic with settings of its own, drawn at random, so that runs get into all
kinds of situations, bad ones too; what is learned from each situation is the answer of the default heuristic
(as in DAgger, Ross et al. 2011, where the states are a learner's and the answers the expert's). The rotation
of blueprints is the run's, which the observation shows.

::

    trainer, its habits ──▶ report ─┬─ as it is ────────▶ witness ──▶ questions, the expert's answers
            ▲                       ├─ told otherwise ──▶ witness ──▶ …
            │                       └─ …
         commands ◀── the heuristic that steers, on one of them

Every training is told in several ways at the same time: as it is, and as trainers would tell it that measure
less, or otherwise. Each witness has signals of its own; the commands and what became of them are the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tamiyo_core import Engine, HeuristicPolicy, mask_of
from tamiyo_core.engine import Observation
from tamiyo_core.ledger import CommandLedger
from tamiyo_core.observation import ObservationSchema
from tamiyo_core.state import RunState
from tamiyo_garden import GardenTrainer
from tamiyo_leyline import AdaptationCommand, EpochReport, RunConfig

from tamiyo_models.situations import Situation
from tamiyo_models.trainers import DESCRIPTIONS, Hands, Reporting

_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When every decision is made: nothing depends on it."""
_VALUE_EPOCHS: Final = 3
"""Epochs at the end of a run whose mean validation accuracy says how it ended."""


class Demonstration(NamedTuple):
    """One question of one run, and the expert's answer."""

    run: int
    features: tuple[float, ...]
    mask: tuple[bool, ...]
    action: int
    value: float
    """Validation accuracy at the end of the run less that of the report, points: positive where it rose."""
    altered: bool = False
    """Whether the trainer measures, tells or obeys otherwise than the garden's own."""


class Witness:
    """Sees a training as one trainer tells it, and notes what the expert would do.

    Args:
        number: of the run.
        config: of the run, as this trainer describes it.
        reporting: how it is told.
        altered: whether that, or what is told, is not the garden's own way.
        observation: how a question is written down.
    """

    def __init__(
        self,
        number: int,
        config: RunConfig,
        reporting: Reporting,
        *,
        altered: bool,
        observation: ObservationSchema,
    ) -> None:
        self._number, self._config, self._reporting = number, config, reporting
        self._altered, self._observation = altered, observation
        self._engine = Engine(config, HeuristicPolicy(config))
        self._ledger = CommandLedger(config)
        self._expert = HeuristicPolicy(_default_of(config))
        self._state, self._opinion = self._engine.initial(), self._expert.initial()
        self._asked: list[tuple[int, Demonstration]] = []

    def see(self, report: EpochReport) -> Observation:
        """Take a report in, and note the questions with the expert's answers."""
        seen = self._engine.observe(self._state, self._reporting.told(report))
        self._opinion, answers = self._expert.decide(self._opinion, seen.signals, seen.context)
        rows = self._observation.rows(
            seen.signals, [answer.seed for answer in answers], seen.context, self._config
        )
        for answer, row in zip(answers, rows, strict=True):
            mask = mask_of(answer, seen.signals, seen.context, self._config)
            if sum(mask) > 1 and mask[answer.action.number]:
                example = Demonstration(self._number, row, mask, answer.action.number, 0.0, self._altered)
                self._asked.append((report.epoch, example))
        return seen

    def answered(self, seen: Observation, commands: Sequence[AdaptationCommand]) -> None:
        """Whoever steers replied to the report with these commands."""
        ledger = self._ledger.issue(seen.ledger.state, commands, seen.signals.seeds)
        self._state = RunState(seen.tracker, ledger)

    def demonstrations(self, accuracies: Sequence[float]) -> Iterator[Demonstration]:
        """Everything noted, with what there was still to gain.

        Args:
            accuracies: validation accuracy after each epoch, percent.
        """
        end = sum(accuracies[-_VALUE_EPOCHS:]) / _VALUE_EPOCHS
        for epoch, example in self._asked:
            yield example._replace(value=end - accuracies[epoch - 1])


def demonstrate(number: int, situation: Situation, observation: ObservationSchema) -> list[Demonstration]:
    """Train, and note every question of every witness with the expert's answer.

    Args:
        number: of the run.
        situation: what to train.
        observation: how a question is written down.
    """
    trainer = GardenTrainer(situation.garden, seed=situation.seed)
    dice = random.Random(situation.seed)
    hands = Hands(trainer, situation.acting, dice)
    witnesses = [
        Witness(
            number,
            described(situation, reporting, trainer.host_parameters),
            reporting,
            altered=(reporting, situation.acting) != (Reporting(), type(situation.acting)()),
            observation=observation,
        )
        for reporting in situation.told
    ]
    steering = _Steering(number, described(situation, situation.told[0], trainer.host_parameters))
    accuracies: list[float] = []
    for _ in range(situation.garden.max_epochs):
        report = hands.train_epoch()
        accuracies.append(report.val_accuracy or 0.0)
        seen = [witness.see(report) for witness in witnesses]
        commands = steering.commands(situation.told[0].told(report), draw=dice.random())
        for witness, one in zip(witnesses, seen, strict=True):
            witness.answered(one, commands)
        hands.take(commands)
    return [example for witness in witnesses for example in witness.demonstrations(accuracies)]


class _Steering:
    """The heuristic with the run's own settings."""

    def __init__(self, number: int, config: RunConfig) -> None:
        self._number = number
        self._engine = Engine(config, HeuristicPolicy(config))
        self._state = self._engine.initial()

    def commands(self, report: EpochReport, *, draw: float) -> tuple[AdaptationCommand, ...]:
        step = self._engine.step(
            self._state, report, decision_id=f"{self._number}/{report.epoch}", now=_MOMENT, draw=draw
        )
        self._state = step.state
        return step.commands


def described(situation: Situation, reporting: Reporting, host_parameters: int) -> RunConfig:
    """The run's configuration as a trainer of these habits would send it."""
    garden = situation.garden
    known: dict[str, Any] = {
        "max_epochs": garden.max_epochs,
        "host": {
            "parameters": host_parameters,
            "train_examples": garden.train_examples,
            "normalised": garden.host.normalised,
        },
    }
    for name in reporting.omitted.intersection(DESCRIPTIONS):
        del known[name]
    if reporting.by_loss:
        known["objective"] = "val_loss"
    return RunConfig.model_validate(situation.run | known)


def _default_of(config: RunConfig) -> RunConfig:
    """The run as the default heuristic would decide it, in the run's own rotation."""
    return RunConfig.model_validate(
        {
            "topology": config.topology,
            "heuristic": {"blueprint_rotation": config.rotation},
            "max_epochs": config.max_epochs,
            "objective": config.objective,
        }
    )
