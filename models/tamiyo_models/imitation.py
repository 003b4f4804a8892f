"""Imitation: the artifact that ships, made from nothing but this package and a seed.

::

    situations ── real trainings of the garden, steered and told in all kinds of ways
        │
    demonstrations ── what the default heuristic answers to each question
        │
    clone ── an ensemble of actors learns it; other runs say how well
        │
    export_network ── TorchScript and ONNX, manifest, self-test

``tamiyo models imitate --out DIRECTORY --version VERSION`` does all of it; the same seed gives the same
network on the same versions of torch and numpy.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Final

import torch
from pydantic import JsonValue, TypeAdapter
from tamiyo_core.observation import GARDEN
from tamiyo_core.rules import RULES_VERSION
from tamiyo_leyline import TOPOLOGIES

from tamiyo_models.cloning import (
    CloningConfig,
    Rows,
    agreement,
    clone,
    normalise_by,
    ranges_of,
    refused,
    split_by_run,
)
from tamiyo_models.demonstrations import Demonstration, demonstrate
from tamiyo_models.manifest import ArtifactTopology, Normaliser, SelfTestQuestion, Subject, Training
from tamiyo_models.network import ActorCritic, NetworkShape
from tamiyo_models.situations import Variety, situations

NAME: Final = "imitation-cnn"
UNREAD: Final = ("epoch", "global_step")
"""Features that are kept from the network: they only count how large a training is, and other features tell
the share of it that is left."""
SELF_TEST_ROWS: Final = 24
_DESCRIPTION: Final = "Imitates the default heuristic, in the run's own rotation of blueprints."
_VALUE: Final = (
    "percentage points of validation accuracy still to be gained: its mean over the last three epochs of the"
    " run less its value now, under policies like those it was trained on; positive: it will rise"
)
_TOPOLOGY: Final = TOPOLOGIES["cnn"]

Progress = Callable[[int, int], None]
"""Told after each training: how many are done, of how many."""


@dataclass(frozen=True, slots=True)
class ImitationConfig:
    """Every setting of an imitation.

    Attributes:
        runs: trainings to learn from and to be measured on.
        seed: of every random choice.
        actors: size of the ensemble.
        variety: of trainings and trainers.
        cloning: settings of the learning.
    """

    runs: int = 240
    seed: int = 0
    actors: int = 3
    variety: Variety = field(default_factory=Variety)
    cloning: CloningConfig = field(default_factory=CloningConfig)


def collect(config: ImitationConfig, progress: Progress | None = None) -> list[Demonstration]:
    """The demonstrations of all trainings."""
    collected: list[Demonstration] = []
    for number, situation in enumerate(situations(config.runs, config.seed, config.variety)):
        collected += demonstrate(number, situation, GARDEN)
        if progress is not None:
            progress(number + 1, config.runs)
    return collected


def learn(
    demonstrations: Sequence[Demonstration],
    config: ImitationConfig,
    *,
    artifact_version: str,
) -> tuple[ActorCritic, Subject]:
    """Learn from demonstrations and measure on runs held out: what there is to export.

    Args:
        demonstrations: of at least five runs.
        config: settings; `runs` is how many there were.
        artifact_version: what the artifact is to be called.
    """
    generator = torch.Generator().manual_seed(config.seed)
    rows = Rows.of(demonstrations)
    shares = (config.cloning.validation_share, config.cloning.test_share)
    known, validation, test = split_by_run(rows, shares, generator)
    unread = [GARDEN.feature_names.index(name) for name in UNREAD]
    actions = _TOPOLOGY.layout.names
    shape = NetworkShape(len(GARDEN.feature_names), len(actions), actors=config.actors)
    network = ActorCritic(shape, generator)
    normalise_by(network, known, unread)
    course = clone(network, known, validation, config.cloning, generator)
    ranges = ranges_of(known, GARDEN.scales, unread)
    measured = {"training": course} | {
        name: agreement(network, part, actions) | {"refused": refused(part, ranges)}
        for name, part in _parts(test).items()
    }
    subject = Subject(
        name=NAME,
        version=artifact_version,
        description=_DESCRIPTION,
        topology=ArtifactTopology(name=_TOPOLOGY.name, blueprints=_TOPOLOGY.names),
        observation=GARDEN.key,
        value_meaning=_VALUE,
        normaliser=Normaliser(count=len(known), ranges=ranges),
        training=_training(config, rows),
        questions=_varied(test, len(actions)),
        metrics=_JSON.validate_python(measured),
    )
    return network, subject


def _parts(test: Rows) -> dict[str, Rows]:
    """The questions of the test runs, also by who asks them; a part that is empty is left out."""
    parts = {
        "test": test,
        "test_as_the_garden_tells": test.chosen(~test.altered),
        "test_altered": test.chosen(test.altered),
    }
    return {name: part for name, part in parts.items() if len(part)}


_JSON: Final = TypeAdapter(dict[str, JsonValue])


def _training(config: ImitationConfig, rows: Rows) -> Training:
    return Training(
        algorithm="behaviour cloning of the default heuristic, bootstrapped actors on one trunk",
        config=_JSON.validate_python(asdict(config)),
        seeds=(config.seed,),
        data={
            "source": "trainings of tamiyo_garden: digits (scikit-learn) and MNIST-1D (mnist1d), by turns",
            "runs": config.runs,
            "rows": len(rows),
            "heuristic_rules": RULES_VERSION,
        },
        libraries={"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "numpy", "scikit-learn", "mnist1d", "esper-tamiyo")},
    )


def _varied(rows: Rows, actions: int) -> tuple[SelfTestQuestion, ...]:
    """Questions of every kind: the first rows of each action by turns."""
    of_action = [torch.nonzero(rows.action == action).flatten().tolist() for action in range(actions)]
    chosen: list[int] = []
    while len(chosen) < min(SELF_TEST_ROWS, len(rows)):
        chosen += [places.pop(0) for places in of_action if places]
    return tuple(
        SelfTestQuestion(features=tuple(rows.features[place].tolist()), mask=tuple(rows.mask[place].tolist()))
        for place in chosen[:SELF_TEST_ROWS]
    )
