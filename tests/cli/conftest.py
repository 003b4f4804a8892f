"""A service for the commands that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tamiyo_cli.local_service import local_service
from tamiyo_client import TamiyoClient

SEED = {"seed_id": "s1", "slot_id": "slot", "blueprint_id": "norm"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service with a run `grown` whose seed was fossilised, and which goes on."""
    with local_service(tmp_path_factory.mktemp("cli") / "tamiyo.db") as base_url:
        stages = ("GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY", "FOSSILIZED")
        with TamiyoClient(base_url, deadline=10.0, strict=True) as client:
            run = client.run("grown", topology="cnn", labels={"team": "vision"})
            run.start()
            for epoch, stage in enumerate(stages):
                seed = SEED | {"stage": stage}
                run.epoch(epoch=epoch, val_accuracy=50.0 + epoch, available_slots=0, seeds=[seed])
        yield base_url
