"""One engine, one image, one deployment for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.docker.deployment import IMAGE, ROOT, Deployment, deployed, free_port
from tests.docker.engine import Engine, any_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A container engine."""
    with any_engine(ROOT / ".docker-test") as engine:
        yield engine


@pytest.fixture(scope="session")
def composed(engine: Engine) -> Iterator[Deployment]:
    """The compose file with its image built from the working tree, not yet started."""
    deployment = Deployment(engine, f"tamiyo-test-{os.getpid()}", free_port())
    deployment.build()
    yield deployment
    engine.run("image", "rm", "--force", IMAGE)


@pytest.fixture(scope="session")
def image(composed: Deployment) -> str:
    """The service's image."""
    return IMAGE


@pytest.fixture(scope="session")
def deployment(composed: Deployment) -> Iterator[Deployment]:
    """The compose file, brought up and healthy."""
    with deployed(composed) as deployment:
        yield deployment
