"""One engine, one image, one deployment for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker.deployment import IMAGE, ROOT, Deployment, build_image, deployed
from tests.docker.engine import Engine, any_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A container engine."""
    with any_engine(ROOT / ".docker-test") as engine:
        yield engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """The service's image, built from the working tree."""
    build_image(engine)
    yield IMAGE
    engine.run("image", "rm", "--force", IMAGE)


@pytest.fixture(scope="session")
def deployment(engine: Engine, image: str) -> Iterator[Deployment]:
    """The compose file, brought up and healthy."""
    with deployed(engine) as deployment:
        yield deployment
