"""The compose file brought up under a name and on a port of its own, beside whatever else runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.docker.engine import Engine, EngineError, run

ROOT: Final = Path(__file__).parents[2]
HEALTHY_SECONDS: Final = 120


@dataclass(frozen=True)
class Deployment:
    """The service as the compose file starts it.

    Attributes:
        engine: the engine it runs on.
        project: Compose's name for it, unlike any other's.
        port: the loopback port of this machine where it answers.
        profiles: of the compose file; none: as without any.
        variables: what the compose file is told.
    """

    engine: Engine
    project: str
    port: int
    profiles: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def base_url(self) -> str:
        """Where a client finds it."""
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, **variables: str) -> str:
        """Run a Compose command on it and return what it printed.

        Raises:
            EngineError: with what it said, if it failed.
        """
        chosen = {**self.variables, "TAMIYO_PORT": str(self.port), **variables}
        command = [*compose_file(*self.profiles), "--project-name", self.project]
        return run([*command, *arguments], {**self.engine.environment, **chosen})

    def up(self, *services: str, **variables: str) -> None:
        """Start it, or some services, and wait until they are healthy."""
        wait = ("--wait", "--wait-timeout", str(HEALTHY_SECONDS))
        self.compose("up", "--detach", "--no-build", *wait, *services, **variables)

    def inside(self, service: str, *command: str) -> str:
        """Run a command in a service's container and return what it printed."""
        return self.compose("exec", "--no-TTY", service, *command)

    def container(self, service: str) -> str:
        """The id of a service's container."""
        [container] = self.compose("ps", "--all", "--quiet", service).split()
        return container

    def state(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's container."""
        [inspected] = json.loads(self.engine.run("inspect", self.container(service)))
        return dict(inspected)


def compose_file(*profiles: str) -> list[str]:
    """The command that speaks to Compose of the repository's file.

    Raises:
        EngineError: if Compose is nowhere.
    """
    options = [word for profile in profiles for word in ("--profile", profile)]
    return [*compose_command(), "--file", str(ROOT / "docker-compose.yml"), *options]


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
def torn_down(deployment: Deployment) -> Iterator[Deployment]:
    """The deployment, of which nothing stays after the end of the context, its volumes neither."""
    try:
        yield deployment
    finally:
        deployment.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
