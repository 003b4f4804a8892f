"""A container engine for the tests: the one that answers already, or one of their own.

An engine of their own starts empty and asks no image registry: what would come from one is made from Debian's
packages (`tests/docker/standins`), and trusts whom this machine trusts. That takes root and Debian's packages
docker.io, iptables and mmdebstrap.
What it built is kept under `.docker-test/`, so that the next run is quick.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

# Of Debian's package: another client on the PATH may be of another age than the engine.
DEBIAN_DOCKER: Final = "/usr/bin/docker"
DEBIAN_DOCKERD: Final = "/usr/sbin/dockerd"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 60.0


class EngineError(Exception):
    """No engine answers and none can be started, or a command of one failed; the message says why."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers.

    Attributes:
        docker: the command that talks to it.
        environment: what that command and Compose need in their environment to find it.
        build_arguments: what images are built with here, by name.
        own: whether the tests started it, so that it has only what they make.
    """

    docker: str
    environment: Mapping[str, str] = field(default_factory=dict)
    build_arguments: Mapping[str, str] = field(default_factory=dict)
    own: bool = False

    def run(self, *arguments: str) -> str:
        """Run a docker command and return what it printed.

        Raises:
            EngineError: with what it said, if it failed.
        """
        return run([self.docker, *arguments], self.environment)

    def build(self, context: Path, tag: str, *options: str) -> None:
        """Build an image of a Dockerfile with BuildKit.

        Raises:
            EngineError: with what it said, if it failed.
        """
        given = [word for item in self.build_arguments.items() for word in ("--build-arg", "=".join(item))]
        command = [self.docker, "build", "--quiet", "--tag", tag, *given, *options, str(context)]
        run(command, {**self.environment, "DOCKER_BUILDKIT": "1"})

    def has(self, image: str) -> bool:
        """Whether an image is there."""
        return bool(self.run("images", "--quiet", image).strip())


def run(command: list[str], environment: Mapping[str, str]) -> str:
    """Run a command with more in its environment and return what it printed.

    Raises:
        EngineError: with what it said, if it failed.
    """
    result = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        said = f"{result.stdout}{result.stderr}".strip()
        raise EngineError(f"{' '.join(command)} ended with {result.returncode}:\n{said}")
    return result.stdout


def answers(engine: Engine) -> bool:
    """Whether an engine is there, rather than only its client."""
    try:
        engine.run("version", "--format", "{{.Server.Version}}")
    except EngineError:
        return False
    return True


@contextmanager
def any_engine(state: Path) -> Iterator[Engine]:
    """The engine that answers already or, until the end of the context, one of our own.

    Args:
        state: where an engine of our own keeps what it built.

    Raises:
        EngineError: if none answers and none can be started.
    """
    docker = shutil.which("docker")
    found = Engine(docker) if docker else None
    if found and answers(found):
        yield found
        return
    with own_engine(state) as engine:
        yield engine


@contextmanager
def own_engine(state: Path) -> Iterator[Engine]:
    """An engine that ends with the context.

    Raises:
        EngineError: if something it needs is missing, or it does not start.
    """
    check_requirements()
    # The socket's name has to be short, wherever the repository is.
    with TemporaryDirectory(prefix="tamiyo-docker-") as runtime:
        socket = f"unix://{runtime}/docker.sock"
        engine = Engine(DEBIAN_DOCKER, {"DOCKER_HOST": socket}, own=True)
        log = Path(runtime, "log")
        folders = ["--data-root", str(state / "data"), "--exec-root", f"{runtime}/exec"]
        command = [DEBIAN_DOCKERD, "--host", socket, *folders, "--pidfile", f"{runtime}/pid"]
        with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
            try:
                wait_until_answering(engine, process, log)
                remove_leftovers(engine)
                yield engine
            finally:
                process.terminate()
                process.wait(STOP_SECONDS)


def check_requirements() -> None:
    """Say what is missing for an engine of our own.

    Raises:
        EngineError: naming everything that is missing.
    """
    missing = [] if os.geteuid() == 0 else ["root"]
    packages = {DEBIAN_DOCKERD: "docker.io", DEBIAN_DOCKER: "docker.io"}
    missing += [package for file, package in packages.items() if not Path(file).exists()]
    missing += [name for name in ("iptables", "mmdebstrap") if shutil.which(name) is None]
    if missing:
        needed = ", ".join(dict.fromkeys(missing))
        raise EngineError(f"no container engine answers, and starting one needs {needed}")


def wait_until_answering(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for a starting engine's first answer.

    Raises:
        EngineError: with the end of its log, if it ended or did not answer in time.
    """
    attempts = int(START_SECONDS / 0.25)
    for _ in range(attempts):
        if answers(engine):
            return
        try:
            process.wait(0.25)
        except subprocess.TimeoutExpired:
            continue
        break
    raise EngineError(f"the engine did not start:\n{log.read_text(errors='replace')[-4000:]}")


def remove_leftovers(engine: Engine) -> None:
    """Remove the containers and volumes of a run that was killed; images stay."""
    containers = engine.run("ps", "--all", "--quiet").split()
    if containers:
        engine.run("rm", "--force", *containers)
    engine.run("volume", "prune", "--force")
