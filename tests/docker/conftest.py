"""One engine, its images and one deployment for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import pytest
from tamiyo_leyline import __version__

from tests.docker.deployment import ROOT, Deployment, free_port, torn_down
from tests.docker.engine import Engine, any_engine
from tests.docker.registry import furnished

STATE: Final = ROOT / ".docker-test"
LABELS: Final = {
    "VERSION": __version__,
    "REVISION": "0123456789abcdef",
    "SOURCE": "https://tamiyo.example/source",
}


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A container engine; one of our own has stand-ins for what registries hold."""
    with any_engine(STATE) as engine:
        yield furnished(engine) if engine.own else engine


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """The image without networks, built from the working tree."""
    yield from _built(engine, "core")


@pytest.fixture(scope="session")
def learned_image(engine: Engine) -> Iterator[str]:
    """The image with networks."""
    yield from _built(engine, "learned")


@pytest.fixture(scope="session")
def trainer_image(engine: Engine, learned_image: str) -> Iterator[str]:
    """The image with a trainer: a layer more than that with networks."""
    assert learned_image
    yield from _built(engine, "trainer")


@pytest.fixture(scope="session")
def deployment(engine: Engine, image: str) -> Iterator[Deployment]:
    """The compose file without a profile, brought up and healthy."""
    project = f"tamiyo-test-{os.getpid()}"
    deployment = Deployment(engine, project, free_port(), variables={"TAMIYO_IMAGE": image})
    with torn_down(deployment):
        deployment.up()
        yield deployment


def _built(engine: Engine, target: str) -> Iterator[str]:
    """An image of the Dockerfile; its layers stay, its name goes."""
    tag = f"tamiyo-test:{target}"
    labels = [word for item in LABELS.items() for word in ("--build-arg", "=".join(item))]
    file = str(ROOT / "docker" / "Dockerfile")
    engine.build(ROOT, tag, "--file", file, "--target", target, *labels)
    yield tag
    engine.run("image", "rm", "--force", tag)
