"""A service of our own for the time of a command: a process on a free loopback port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
from tamiyo_client.settings import Endpoint
from tamiyo_client.transport import client_options

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05


class ServiceNotStartedError(RuntimeError):
    """The service did not become ready; its own words are in the message."""


@contextmanager
def local_service(database: Path) -> Iterator[str]:
    """Run a service on `database` and yield its base URL; on leaving it is stopped as SIGTERM stops it.

    Its log is kept beside the database only if something went wrong.

    Settings of the caller's environment do not reach it.

    Raises:
        ServiceNotStartedError: if it ends or is not ready within 30 seconds.
    """
    port = _free_port()
    command = [sys.executable, "-m", "tamiyo_cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--database-url", f"sqlite:///{database.resolve()}"]
    log = database.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=_environment(os.environ), stdout=stream, stderr=stream)
    try:
        base_url = f"http://127.0.0.1:{port}"
        _await_ready(process, base_url, log)
        yield base_url
    finally:
        _stop(process)
    log.unlink()


def await_service(url: str) -> None:
    """Wait until the service at a URL is ready.

    Raises:
        ServiceNotStartedError: if it is not within 30 seconds.
        UsageError: if the environment names a proxy or certificates that cannot be used.
    """
    deadline = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=url, timeout=1.0, **client_options(Endpoint(url, {}))) as client:
        while not _is_ready(client):
            if time.monotonic() > deadline:
                raise ServiceNotStartedError(f"no service at {url} is ready")
            time.sleep(_POLL_SECONDS)


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("TAMIYO_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(process: subprocess.Popen[bytes], base_url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=base_url, trust_env=False, timeout=1.0) as client:
        while process.poll() is None and time.monotonic() < deadline:
            if _is_ready(client):
                return
            time.sleep(_POLL_SECONDS)
    raise ServiceNotStartedError(f"the service did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
