"""Servers under test: each in a process of its own, on a core of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).parent
START_SECONDS: Final = 120.0


class UnavailableError(Exception):
    """Something to compare with is not there; the message says what."""


class Server(NamedTuple):
    """A server that is up."""

    port: int
    process: subprocess.Popen[bytes]
    key: str = ""
    """That its callers send; empty: none."""


def family_cpu_seconds(pid: int) -> float:
    """CPU time a process and its descendants have used, all threads, user and system; ended ones left out."""
    return sum(map(cpu_seconds, family(pid)))


def cores() -> tuple[int, int]:
    """The server's core and the load generator's."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def cpu_seconds(pid: int) -> float:
    """CPU time a process has used, all threads, user and system."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for known in found:
        found.extend(child for child, parent in parents.items() if parent == known)
    return found


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str]:
    """What the kernel tells of a process from its state on; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def peer_server(kind: str, core: int) -> list[str]:
    """The command of a server of `bench/peers/`; its port is to be added.

    Raises:
        UnavailableError: if the environment of the peers was not made.
    """
    python = HERE.parent / ".venv-peers" / "bin" / "python"
    if not python.exists():
        raise UnavailableError("not installed: `make bench-peers` makes an environment for it")
    return [str(python), "-m", f"bench.peers.{kind}", "--core", str(core), "--port"]


def our_server(kind: str, core: int, database_url: str = "") -> list[str]:
    """The command of a server of `bench/servers.py`; its port is to be added."""
    arguments = ["--core", str(core), "--database-url", database_url]
    return [sys.executable, str(HERE / "servers.py"), kind, *arguments, "--port"]


@contextmanager
def running(command: Sequence[str], ready: str = "/", log: Path | None = None) -> Iterator[Server]:
    """A server while the block lasts.

    Args:
        command: starts it, once a port is added as the last argument.
        ready: path that it answers, with any status below 500, as soon as it serves.
        log: where it writes what it says; None: here.

    Raises:
        RuntimeError: if it does not start.
    """
    port = free_port()
    with ExitStack() as opened:
        output = None if log is None else opened.enter_context(log.open("wb"))
        process = subprocess.Popen([*command, str(port)], cwd=HERE.parent, stdout=output, stderr=output)
        try:
            await_answer(port, ready, process)
            yield Server(port, process)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server and whatever it has started; servers of others leave some of that behind."""
    descendants = family(process.pid)[1:]
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in descendants:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_answer(port: int, path: str, process: subprocess.Popen[bytes]) -> int:
    """The status of the first answer to GET `path` that is no server's error.

    Raises:
        RuntimeError: if the process ends, or no such answer comes in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        status = _status(port, path)
        if status is not None and status < 500:
            return status
        time.sleep(0.002)
    raise RuntimeError(f"{process.args!r} did not start")


def _status(port: int, path: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
