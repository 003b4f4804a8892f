"""From the version before to this one: the same volume, trainers that go on, and the same bytes for them."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from tamiyo_service.store.migrate import REVISION

from tests.docker.deployment import ROOT, Deployment, free_port, torn_down
from tests.docker.engine import Engine
from tests.faults.trainers import Trainers, require_exact

pytestmark = pytest.mark.docker

RELEASE: Final = ROOT / "tests" / "fixtures" / "esper_tamiyo-0.1.0-py3-none-any.whl"
DOCKERFILE: Final = """\
FROM {image}
COPY release /opt/release
ENV PYTHONPATH=/opt/release
"""


@pytest.fixture
def previous_image(engine: Engine, image: str, tmp_path: Path) -> Iterator[str]:
    """The image with the code of the version before, as it was released."""
    with zipfile.ZipFile(RELEASE) as release:
        release.extractall(tmp_path / "release")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.format(image=image), encoding="utf-8")
    engine.build(tmp_path, "tamiyo-test:previous")
    yield "tamiyo-test:previous"
    engine.run("image", "rm", "--force", "tamiyo-test:previous")


@pytest.fixture
def previous(engine: Engine, image: str, previous_image: str) -> Iterator[Deployment]:
    """The version before, brought up with a database of its own."""
    variables = {"TAMIYO_IMAGE": image}
    deployment = Deployment(engine, f"tamiyo-upgrade-{free_port()}", free_port(), variables=variables)
    with torn_down(deployment):
        deployment.up(TAMIYO_IMAGE=previous_image)
        yield deployment


async def test_trainers_go_on_over_an_upgrade_that_begins_under_the_version_before(
    previous: Deployment,
) -> None:
    trainers = Trainers(previous.base_url, run_ids=[f"run-{n}" for n in range(8)], pause=0.05)
    trainers.start()
    await trainers.progress(200)
    assert "override" not in operations(previous)
    migration = await asyncio.to_thread(
        previous.compose, "run", "--rm", "--no-TTY", "tamiyo", "migrate", "--json"
    )
    told = json.loads(migration)
    assert (told["before"], told["after"]) == ("0001", REVISION)
    # The version before goes on with the schema of this one.
    await trainers.progress(100)
    await asyncio.to_thread(previous.up)
    assert "override" in operations(previous)
    await trainers.progress(100)
    await trainers.finish()
    require_exact(previous.base_url, trainers.told)


def operations(deployment: Deployment) -> str:
    """What the service that answers can do."""
    document = httpx.get(f"{deployment.base_url}/openapi.json", timeout=30).json()
    return " ".join(document["paths"])
