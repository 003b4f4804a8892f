"""Imitation: the artifact that ships, made from nothing but this package and a seed.

::

    situations ── real trainings of the garden, steered by heuristics of all kinds
        │
    demonstrations ── what the default heuristic answers to each question
        │
    clone ── an ensemble of actors learns it; other runs say how well
        │
    export ── TorchScript and ONNX, manifest, self-test

``python -m tamiyo_models.imitation --out DIRECTORY`` does all of it; the same seed gives the same network on
the same versions of torch and numpy.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import torch
from pydantic import JsonValue, TypeAdapter
from tamiyo_core.observation import GARDEN
from tamiyo_core.policy import Question
from tamiyo_core.rules import RULES_VERSION
from tamiyo_leyline import TOPOLOGIES

from tamiyo_models.cloning import (
    CloningConfig,
    Rows,
    agreement,
    clone,
    normalise_by,
    ranges_of,
    split_by_run,
)
from tamiyo_models.demonstrations import Demonstration, demonstrate, situations
from tamiyo_models.export import Subject, export_network
from tamiyo_models.manifest import Manifest, Normaliser, Training
from tamiyo_models.network import ActorCritic, NetworkShape

NAME: Final = "imitation-cnn"
UNREAD: Final = ("epoch", "global_step")
"""Features that are kept from the network: they only count how large a training is, and other features tell
the share of it that is left. So a training longer than the garden's is not out of range for its length."""
SELF_TEST_ROWS: Final = 24
_DESCRIPTION: Final = "Imitates the default heuristic, in the run's own rotation of blueprints."
_VALUE: Final = (
    "validation accuracy at the end of the run less that of now, points (mean of the last three epochs)"
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
        cloning: settings of the learning.
    """

    runs: int = 200
    seed: int = 0
    actors: int = 3
    cloning: CloningConfig = field(default_factory=CloningConfig)


def imitate(
    config: ImitationConfig, directory: Path, *, artifact_version: str, progress: Progress | None = None
) -> Manifest:
    """Train, collect, learn, measure and export.

    Args:
        config: settings.
        directory: where the artifact goes.
        artifact_version: what it is called.
        progress: told how far the trainings are.

    Raises:
        ArtifactError: if what was exported does not answer as the network does.
    """
    demonstrations = collect(config.runs, config.seed, progress)
    return learn(demonstrations, config, directory, artifact_version=artifact_version)


def collect(runs: int, seed: int, progress: Progress | None = None) -> list[Demonstration]:
    """The demonstrations of `runs` trainings."""
    collected: list[Demonstration] = []
    for number, situation in enumerate(situations(runs, seed)):
        collected += demonstrate(number, situation, GARDEN)
        if progress is not None:
            progress(number + 1, runs)
    return collected


def learn(
    demonstrations: Sequence[Demonstration],
    config: ImitationConfig,
    directory: Path,
    *,
    artifact_version: str,
) -> Manifest:
    """Learn from demonstrations, measure on runs held out, and export."""
    generator = torch.Generator().manual_seed(config.seed)
    rows = Rows.of(demonstrations)
    known, held_out = split_by_run(rows, config.cloning.validation_share, generator)
    unread = [GARDEN.feature_names.index(name) for name in UNREAD]
    actions = _TOPOLOGY.layout.names
    shape = NetworkShape(len(GARDEN.feature_names), len(actions), actors=config.actors)
    network = ActorCritic(shape, generator)
    normalise_by(network, known, unread)
    course = clone(network, known, held_out, config.cloning, generator)
    measured = {"training": course, "held_out": agreement(network, held_out, actions)}
    subject = Subject(
        name=NAME,
        version=artifact_version,
        description=_DESCRIPTION,
        topology=_TOPOLOGY,
        observation=GARDEN,
        value_meaning=_VALUE,
        normaliser=Normaliser(count=len(known), ranges=ranges_of(known, unread)),
        training=_training(config, rows),
        questions=_varied(held_out, len(actions)),
        metrics=_JSON.validate_python(measured),
    )
    return export_network(network, subject, directory)


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


def _varied(rows: Rows, actions: int) -> list[Question]:
    """Questions of every kind: the first rows of each action by turns."""
    of_action = [torch.nonzero(rows.action == action).flatten().tolist() for action in range(actions)]
    chosen: list[int] = []
    while len(chosen) < min(SELF_TEST_ROWS, len(rows)):
        chosen += [places.pop(0) for places in of_action if places]
    return [
        Question(tuple(rows.features[place].tolist()), tuple(rows.mask[place].tolist()))
        for place in chosen[:SELF_TEST_ROWS]
    ]
