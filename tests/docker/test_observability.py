"""The compose file with Prometheus and Grafana is one that compose takes."""

from __future__ import annotations

import subprocess

import pytest

from tests.docker.deployment import ROOT, compose_command

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("profiles", [(), ("observability",), ("observability", "postgres")])
def test_the_compose_file_is_sound_with_every_profile(profiles: tuple[str, ...]) -> None:
    options = [word for profile in profiles for word in ("--profile", profile)]
    command = [*compose_command(), "--file", str(ROOT / "docker-compose.yml"), *options, "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
