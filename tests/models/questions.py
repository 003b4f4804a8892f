"""A small network that says different things, and questions to ask it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from tamiyo_core.observation import GARDEN
from tamiyo_core.policy import Question
from tamiyo_leyline import TOPOLOGIES
from tamiyo_models.manifest import (
    ArtifactTopology,
    FeatureRange,
    Normaliser,
    SelfTestQuestion,
    Subject,
    Training,
)
from tamiyo_models.network import ActorCritic, NetworkShape

FEATURES = len(GARDEN.feature_names)
CNN = TOPOLOGIES["cnn"]
ACTIONS = len(CNN.layout.actions)


def opinionated_network(seed: int = 0) -> ActorCritic:
    """A network whose actors have opinions, and differ in them; untrained ones say next to nothing."""
    generator = torch.Generator().manual_seed(seed)
    network = ActorCritic(NetworkShape(FEATURES, ACTIONS, hidden=32, head=16), generator)
    for actor in network.actors:
        torch.nn.init.normal_(actor[2].weight, std=0.5, generator=generator)  # type: ignore[index]  # a Sequential
    network.feature_mean.fill_(0.25)
    network.feature_scale.fill_(0.5)
    network.value_mean.fill_(3.0)
    network.value_scale.fill_(2.0)
    return network.eval()


def some_questions(count: int, seed: int = 1) -> list[Question]:
    """Questions within the training range, WAIT and at least one more action legal."""
    dice = random.Random(seed)
    questions = []
    for _ in range(count):
        others = [dice.random() < 0.5 for _ in range(ACTIONS - 2)]
        features = tuple(dice.uniform(-3.0, 3.0) for _ in range(FEATURES))
        questions.append(Question(features, (True, *others, True)))
    return questions


def subject_of(questions: Sequence[Question]) -> Subject:
    """What is to be known of the network."""
    return Subject(
        name="opinionated",
        version="1.2.3",
        description="Says different things.",
        topology=ArtifactTopology(name=CNN.name, blueprints=CNN.names),
        observation=GARDEN.key,
        value_meaning="nothing",
        normaliser=Normaliser(
            count=10,
            ranges=tuple(
                FeatureRange(lowest=-3.0, highest=3.0, scale=1.0, used=name != "global_step")
                for name in GARDEN.feature_names
            ),
        ),
        training=Training(
            algorithm="none",
            config={"rate": 0.1},
            seeds=(0,),
            data={"source": "none"},
            libraries={"torch": torch.__version__},
        ),
        metrics={"agreement": 0.5},
        questions=tuple(SelfTestQuestion(features=q.features, mask=q.mask) for q in questions),
    )
