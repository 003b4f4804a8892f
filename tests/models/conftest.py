"""What the tests of networks share: a small network that says different things, exported once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tamiyo_models.export import export_network
from tamiyo_models.manifest import Subject
from tamiyo_models.network import ActorCritic

from tests.models.questions import opinionated_network, some_questions, subject_of


@pytest.fixture(scope="session")
def network() -> ActorCritic:
    """The network itself, as it was trained."""
    torch.set_num_threads(1)
    return opinionated_network()


@pytest.fixture(scope="session")
def subject() -> Subject:
    """What its manifest says."""
    return subject_of(some_questions(8))


@pytest.fixture(scope="session")
def artifact(network: ActorCritic, subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its artifact, which no test may change."""
    directory = tmp_path_factory.mktemp("models") / subject.name / subject.version
    export_network(network, subject, directory)
    return directory


@pytest.fixture
def copy_of(artifact: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the artifact that a test may spoil."""

    def copied() -> Path:
        return Path(shutil.copytree(artifact, tmp_path / "artifact"))

    return copied
