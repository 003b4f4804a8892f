"""The compose file brought up under a name and on a port of its own, beside whatever else runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.docker.engine import Engine, EngineError, run

ROOT: Final = Path(__file__).parents[2]
IMAGE: Final = "tamiyo-test"
HEALTHY_SECONDS: Final = 120


@dataclass(frozen=True)
class Deployment:
    """The service as the compose file starts it.

    Attributes:
        engine: the engine it runs on.
        project: Compose's name for it, unlike any other's.
        port: the loopback port of this machine where it answers.
    """

    engine: Engine
    project: str
    port: int

    @property
    def base_url(self) -> str:
        """Where a client finds it."""
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str) -> str:
        """Run a Compose command on it and return what it printed.

        Raises:
            EngineError: with what it said, if it failed.
        """
        chosen = {"TAMIYO_IMAGE": IMAGE, "TAMIYO_PORT": str(self.port)}
        command = [
            *compose_command(),
            "--project-name",
            self.project,
            "--file",
            str(ROOT / "docker-compose.yml"),
        ]
        return run([*command, *arguments], {**self.engine.environment, **chosen})

    def build(self) -> None:
        """Build the image, as users do."""
        self.compose("build", "--quiet")

    def up(self) -> None:
        """Start it and wait until it is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", str(HEALTHY_SECONDS))

    def inside(self, *command: str) -> str:
        """Run a command in the container and return what it printed."""
        return self.compose("exec", "--no-TTY", "tamiyo", *command)

    def state(self) -> dict[str, Any]:
        """What the engine knows of the container."""
        [container] = self.compose("ps", "--all", "--quiet").split()
        [inspected] = json.loads(self.engine.run("inspect", container))
        return dict(inspected)


def compose_command() -> list[str]:
    """Compose as it is installed: beside the interpreter, or anywhere on the PATH.

    Raises:
        EngineError: if it is nowhere.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    found = shutil.which("docker-compose", path=path)
    if found:
        return [found]
    plugin = ["docker", "compose"]
    if shutil.which("docker"):
        run([*plugin, "version"], {})
        return plugin
    raise EngineError("Compose is missing; `make test-docker` installs it")


@contextmanager
def deployed(deployment: Deployment) -> Iterator[Deployment]:
    """The service, healthy, until the end of the context; nothing of it stays, its volume neither."""
    try:
        deployment.up()
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--remove-orphans")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
