"""The image by itself: small, unprivileged, and careful about whom it answers."""

from __future__ import annotations

import json

import pytest

from tests.docker.engine import Engine, EngineError

pytestmark = pytest.mark.docker


def test_image_runs_as_an_ordinary_user_with_a_volume_for_its_data(engine: Engine, image: str) -> None:
    [config] = [entry["Config"] for entry in json.loads(engine.run("image", "inspect", image))]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["tamiyo", "serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["Volumes"]) == ["/data"]


@pytest.mark.parametrize("module", ["torch", "numpy", "sklearn", "pip"])
def test_image_carries_only_what_serving_needs(module: str, engine: Engine, image: str) -> None:
    look = f"import importlib.util; print(importlib.util.find_spec('{module}'))"
    assert engine.run("run", "--rm", "--entrypoint", "python", image, "-c", look).strip() == "None"


def test_service_refuses_to_listen_beyond_loopback_unless_told_by_name(engine: Engine, image: str) -> None:
    with pytest.raises(EngineError, match="TAMIYO_AUTH"):
        engine.run("run", "--rm", image)
