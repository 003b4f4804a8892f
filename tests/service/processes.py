"""The service in a process of its own, to be stopped and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

_PROGRAM = "from tamiyo_service import serve; serve()"
_START_SECONDS = 60.0


@dataclass
class ServiceProcess:
    """A running service."""

    process: subprocess.Popen[bytes]
    url: str

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout: float = 30.0) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def service_process(folder: Path, port: int | None = None, **settings: str) -> Iterator[ServiceProcess]:
    """The service on ``tamiyo.db`` in `folder`, ready for requests; killed at the end if it still runs."""
    port = free_port() if port is None else port
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TAMIYO_")}
    environment |= {"TAMIYO_PORT": str(port), "TAMIYO_LOG_LEVEL": "warning"}
    environment |= {f"TAMIYO_{key.upper()}": value for key, value in settings.items()}
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM], cwd=folder, env=environment)
    running = ServiceProcess(process, f"http://127.0.0.1:{port}")
    try:
        _await_ready(running)
        yield running
    finally:
        process.kill()
        process.wait()


def _await_ready(running: ServiceProcess) -> None:
    deadline = time.monotonic() + _START_SECONDS
    with httpx.Client(base_url=running.url) as http:
        while time.monotonic() < deadline and running.process.poll() is None:
            try:
                if http.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                continue
    raise RuntimeError(f"the service did not become ready; status {running.process.poll()}")
