"""A real service in a process of its own, that tests may kill."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

# Networks this small lose more to handing work between threads than they gain.
torch.set_num_threads(1)


class ServiceProcess:
    """``tamiyo serve`` on one port and one database, started and killed at will."""

    def __init__(self, database: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._database = database
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start without waiting until it is ready."""
        url = f"sqlite:///{self._database}"
        command = [
            sys.executable,
            "-m",
            "tamiyo_cli",
            "serve",
            "--port",
            str(self.port),
            "--database-url",
            url,
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TAMIYO_")}
        with self._database.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def await_ready(self) -> None:
        """Wait until it answers; it has 30 seconds."""
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), trust_env=False, timeout=30.0) as client:
            client.get(f"{self.base_url}/readyz").raise_for_status()

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(how)
        status = self._process.wait(30)
        self._process = None
        return status


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    process = ServiceProcess(tmp_path / "tamiyo.db")
    process.start()
    process.await_ready()
    yield process
    process.kill()
