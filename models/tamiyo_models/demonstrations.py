"""Demonstrations: real trainings of the garden, and what the heuristic would have done at every report.

A training is steered by a heuristic with settings of its own, drawn at random, so that runs get into all
kinds of situations, bad ones too; what is learned from each situation is the answer of the default heuristic
(as in DAgger, Ross et al. 2011, where the states are a learner's and the answers the expert's). The rotation
of blueprints is the run's, which the observation shows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from tamiyo_core import Engine, HeuristicPolicy, Step, mask_of
from tamiyo_core.observation import ObservationSchema
from tamiyo_garden import GardenConfig, GardenTrainer, HostConfig
from tamiyo_leyline import EpochReport, RunConfig, SeedStateReport

BLUEPRINTS: Final = ("norm", "attention", "depthwise", "conv_enhance")
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
    """Validation accuracy at the end of the run less that of the report, points."""


@dataclass(frozen=True, slots=True)
class Thinning:
    """What a trainer leaves out of its reports.

    Attributes:
        validate_every: epochs from one validation to the next.
        telemetry: whether it tells of the seeds' gradients.
        counterfactual: whether it measures the network without each seed.
        host: whether it describes its host.
    """

    validate_every: int
    telemetry: bool
    counterfactual: bool
    host: bool

    def thinned(self, report: EpochReport) -> EpochReport:
        """The report as this trainer would send it."""
        validated = report.epoch % self.validate_every == 0
        changes: dict[str, Any] = {"seeds": tuple(self._seed(seed, validated) for seed in report.seeds)}
        if not validated:
            changes |= {"val_loss": None, "val_accuracy": None}
        return report.model_copy(update=changes)

    def _seed(self, seed: SeedStateReport, validated: bool) -> SeedStateReport:
        changes: dict[str, Any] = {} if self.telemetry else {"telemetry": None}
        if not validated:
            changes["metrics"] = None
        elif not self.counterfactual and seed.metrics is not None:
            less = {"counterfactual_val_accuracy": None, "counterfactual_val_loss": None}
            changes["metrics"] = seed.metrics.model_copy(update=less)
        return seed.model_copy(update=changes) if changes else seed


@dataclass(frozen=True, slots=True)
class Situation:
    """One training: what is trained, how it is steered, what is reported, and the seed of all of it."""

    garden: GardenConfig
    run: dict[str, Any]
    thinning: Thinning
    seed: int


def situations(count: int, seed: int) -> Iterator[Situation]:
    """`count` trainings drawn at random: both data sets by turns, hosts, lengths, settings and trainers."""
    for number in range(count):
        dice = random.Random(f"{seed}/{number}")
        thinning = Thinning(
            validate_every=dice.choice((1, 1, 1, 1, 2, 3)),
            telemetry=dice.random() < 0.75,
            counterfactual=dice.random() < 0.6,
            host=dice.random() < 0.75,
        )
        garden = _garden(dice, ("digits", "mnist1d")[number % 2])
        yield Situation(garden, _run(dice, garden), thinning, seed=dice.randrange(2**31))


def _garden(dice: random.Random, dataset: str) -> GardenConfig:
    layers = dice.choice((2, 2, 3))
    return GardenConfig(
        dataset=dataset,
        host=HostConfig(
            dimensions=2 if dataset == "digits" else 1,
            widths=(dice.randint(4, 8),) * layers,
            strides=(2, 2, 1)[:layers],
            slots=dice.randint(1, layers),
            normalised=dice.random() < 0.3,
        ),
        train_examples=dice.choice((200, 300, 400, 600)),
        validation_examples=dice.choice((300, 500)),
        max_epochs=dice.randint(25, 60),
        batch_size=dice.choice((32, 64)),
        learning_rate=dice.choice((0.005, 0.01, 0.02)),
        seed_learning_rate=dice.choice((0.003, 0.01, 0.1)),
    )


def _run(dice: random.Random, garden: GardenConfig) -> dict[str, Any]:
    """The run's configuration: a rotation, and settings that lead into all kinds of situations."""
    rotation = dice.sample(BLUEPRINTS, dice.randint(2, 4))
    return {
        "max_epochs": garden.max_epochs,
        "tracker": {"plateau_threshold": dice.choice((0.5, 0.5, 1.0, 2.0, 4.0, 8.0))},
        "heuristic": {
            "blueprint_rotation": rotation,
            "plateau_epochs_to_germinate": dice.choice((1, 2, 3, 3, 5)),
            "min_epochs_before_germinate": dice.choice((1, 3, 5, 10)),
            "max_concurrent_seeds": dice.choice((1, 1, 2, 3)),
            "cull_if_accuracy_drops_by": dice.choice((0.5, 2.0, 8.0, 100.0)),
            "cull_after_epochs_without_improvement": dice.choice((3, 5, 9)),
            "cull_after_stalled_epochs": dice.choice((6, 12, 20, None)),
            "unhealthy_epochs_to_cull": dice.choice((2, 6, None)),
            "min_probation_epochs": dice.choice((1, 2, 4)),
            "max_probation_epochs": dice.choice((5, 8)),
            "probation_dead_band": dice.choice((0.0, 0.25, 1.5)),
            "embargo_epochs_after_cull": dice.choice((0, 2, 5)),
            "blueprint_penalty_threshold": dice.choice((1.0, 3.0)),
            "blueprint_exploration": dice.choice((0.0, 0.3, 1.0)),
        },
    }


def demonstrate(number: int, situation: Situation, observation: ObservationSchema) -> list[Demonstration]:
    """Train, and note every question with the expert's answer.

    Args:
        number: of the run.
        situation: what to train.
        observation: how a question is written down.
    """
    trainer = GardenTrainer(situation.garden, seed=situation.seed)
    config = _described(situation, trainer.host_parameters)
    engine, expert = Engine(config, HeuristicPolicy(config)), HeuristicPolicy(_default_of(config))
    state, opinion = engine.initial(), expert.initial()
    dice = random.Random(situation.seed)
    asked: list[tuple[int, Demonstration]] = []
    accuracies: list[float] = []
    for epoch in range(1, config.max_epochs + 1):
        report = trainer.train_epoch()
        accuracies.append(report.val_accuracy or 0.0)
        step = engine.step(
            state,
            situation.thinning.thinned(report),
            decision_id=f"{number}/{epoch}",
            now=_MOMENT,
            draw=dice.random(),
        )
        state = step.state
        opinion, answers = expert.decide(opinion, step.signals, step.context)
        questions = _questions(step, config, [answer.action.number for answer in answers], observation)
        asked += [(epoch, Demonstration(number, *question, 0.0)) for question in questions]
        for command in step.commands:
            trainer.apply(command)
    end = sum(accuracies[-_VALUE_EPOCHS:]) / _VALUE_EPOCHS
    return [question._replace(value=end - accuracies[epoch - 1]) for epoch, question in asked]


def _questions(
    step: Step, config: RunConfig, answers: Sequence[int], observation: ObservationSchema
) -> Iterator[tuple[tuple[float, ...], tuple[bool, ...], int]]:
    """Features, mask and answer for every slot that leaves a choice."""
    seeds = [decision.seed for decision in step.decisions]
    rows = observation.rows(step.signals, seeds, step.context, config)
    for decision, row, answer in zip(step.decisions, rows, answers, strict=True):
        mask = mask_of(decision, step.signals, step.context, config)
        if sum(mask) > 1 and mask[answer]:
            yield row, mask, answer


def _described(situation: Situation, host_parameters: int) -> RunConfig:
    garden = situation.garden
    host = {
        "parameters": host_parameters,
        "train_examples": garden.train_examples,
        "normalised": garden.host.normalised,
    }
    return RunConfig.model_validate(situation.run | ({"host": host} if situation.thinning.host else {}))


def _default_of(config: RunConfig) -> RunConfig:
    """The run as the default heuristic would decide it, in the run's own rotation."""
    heuristic = {"blueprint_rotation": config.rotation}
    return RunConfig.model_validate(
        {"topology": config.topology, "heuristic": heuristic, "max_epochs": config.max_epochs}
    )
