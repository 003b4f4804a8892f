"""Situations: trainings drawn at random, with everything that decides how they go and how they are told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tamiyo_garden import GardenConfig, HostConfig
from tamiyo_leyline import TOPOLOGIES

from tamiyo_models.trainers import DESCRIPTIONS, OMITTABLE, Acting, Reporting

BLUEPRINTS: Final = TOPOLOGIES["cnn"].names
_OF_SEEDS: Final = ("telemetry", "counterfactual", "metrics")


@dataclass(frozen=True, slots=True)
class Variety:
    """How often trainings, and trainers, are out of the ordinary. Shares and chances are 0–1.

    Attributes:
        told_otherwise: ways in which each training is told besides as it is.
        long: share of the trainings with 100 to 300 epochs; others have 25 to 60.
        patient: share of the trainings steered so that they stand still for long.
        own_rotation: share of the trainings that try only some blueprints, or in another order.
        other_acting: share of the trainings whose trainer is late, silent, deaf, or does not obey always.
        bare: share of the ways that tell nothing but an epoch's objective and the free slots.
        omitted: chance of each optional part to be left out of the others.
        sparse: chance that only every second to fifth epoch is validated.
        by_loss: chance that the validation loss is what counts.
        in_error: chance that seeds are measured from elsewhere, which makes better and worse ones of them.
        diverged: chance that some losses are no numbers.
        unhealthy: chance that gradients are unhealthy for some epochs.
    """

    told_otherwise: int = 3
    long: float = 0.12
    patient: float = 0.15
    own_rotation: float = 0.5
    other_acting: float = 0.4
    bare: float = 0.12
    omitted: float = 0.25
    sparse: float = 0.3
    by_loss: float = 0.2
    in_error: float = 0.6
    diverged: float = 0.2
    unhealthy: float = 0.15


@dataclass(frozen=True, slots=True)
class Situation:
    """One training.

    Attributes:
        garden: what is trained.
        run: the run's configuration: how it is steered.
        told: the ways in which it is told; who steers sees the first.
        acting: what its trainer makes of commands.
        seed: of all of it.
    """

    garden: GardenConfig
    run: dict[str, Any]
    told: tuple[Reporting, ...]
    acting: Acting
    seed: int


def situations(count: int, seed: int, variety: Variety) -> Iterator[Situation]:
    """`count` trainings drawn at random: both data sets by turns, hosts, lengths, settings and trainers."""
    for number in range(count):
        dice = random.Random(f"situation {number} of {seed}")
        garden = _garden(dice, ("digits", "mnist1d")[number % 2], long=dice.random() < variety.long)
        told = [
            Reporting(),
            *(_reporting(dice, variety, garden.max_epochs) for _ in range(variety.told_otherwise)),
        ]
        dice.shuffle(told)
        acting = _acting(dice) if dice.random() < variety.other_acting else Acting()
        run = _run(dice, variety)
        yield Situation(garden, run, tuple(told), acting, seed=dice.randrange(2**31))


def _garden(dice: random.Random, dataset: str, *, long: bool) -> GardenConfig:
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
        train_examples=dice.choice((100, 200)) if long else dice.choice((200, 300, 400, 500)),
        validation_examples=200 if long else dice.choice((300, 500)),
        max_epochs=dice.randint(100, 300) if long else dice.randint(25, 60),
        batch_size=64 if long else dice.choice((32, 64)),
        learning_rate=dice.choice((0.005, 0.01, 0.02)),
        seed_learning_rate=dice.choice((0.003, 0.01, 0.1)),
    )


def _run(dice: random.Random, variety: Variety) -> dict[str, Any]:
    """The run's configuration: a rotation, and settings that lead into all kinds of situations."""
    patient, own_rotation = dice.random() < variety.patient, dice.random() < variety.own_rotation
    rotation = dice.sample(BLUEPRINTS, dice.randint(2, 4)) if own_rotation else BLUEPRINTS
    return {
        "tracker": {"plateau_threshold": dice.choice((0.5, 0.5, 1.0, 2.0, 4.0, 8.0))},
        "heuristic": {
            "blueprint_rotation": rotation,
            "plateau_epochs_to_germinate": dice.choice((20, 60, 200) if patient else (1, 2, 3, 3, 5)),
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


def _acting(dice: random.Random) -> Acting:
    return dice.choice(
        (
            Acting(late=True),
            Acting(late=True, silent=True),
            Acting(told_late=True),
            Acting(silent=True),
            Acting(deaf=True),
            Acting(refused=0.3, failed=0.2),
            Acting(late=True, refused=0.2, failed=0.2),
        )
    )


def _reporting(dice: random.Random, variety: Variety, epochs: int) -> Reporting:
    """A way to tell a training that is not the garden's."""
    bare, by_loss = dice.random() < variety.bare, dice.random() < variety.by_loss
    other = "val_accuracy" if by_loss else "val_loss"
    optional = (*OMITTABLE, *DESCRIPTIONS, *_OF_SEEDS, other)
    return Reporting(
        validate_every=dice.randint(2, 5) if dice.random() < variety.sparse else 1,
        omitted=frozenset(name for name in optional if bare or dice.random() < variety.omitted),
        by_loss=by_loss,
        error=dice.choice((0.5, 2.0, 5.0)) if dice.random() < variety.in_error else 0.0,
        diverged=_spells(dice, epochs) if dice.random() < variety.diverged else frozenset(),
        unhealthy=_spells(dice, epochs) if dice.random() < variety.unhealthy else frozenset(),
        seed=dice.randrange(2**31),
    )


def _spells(dice: random.Random, epochs: int) -> frozenset[int]:
    """Epochs in one to three stretches of one to four."""
    begun = [(dice.randint(1, epochs), dice.randint(1, 4)) for _ in range(dice.randint(1, 3))]
    return frozenset(epoch for first, length in begun for epoch in range(first, first + length))
