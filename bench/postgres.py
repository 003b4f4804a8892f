"""A PostgreSQL server of the bench's own, as safe as any: fsync and synchronous_commit are on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.processes import UnavailableError, free_port

USER: Final = "postgres"
_START_SECONDS: Final = 60.0
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "100",
}


def binaries() -> Path:
    """The folder with initdb and postgres: on PATH, else the newest that Debian's packages installed.

    Raises:
        UnavailableError: if there is none.
    """
    on_path = shutil.which("initdb")
    if on_path and shutil.which("postgres"):
        return Path(on_path).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if not installed:
        raise UnavailableError("PostgreSQL is not installed: no initdb on PATH or in /usr/lib/postgresql")
    return installed[-1].parent


@contextmanager
def postgresql(core: int) -> Iterator[str]:
    """A new server's URL while the block lasts.

    Args:
        core: that its processes run on.

    Raises:
        UnavailableError: if there is no PostgreSQL, or it does not start.
    """
    programs = binaries()
    with tempfile.TemporaryDirectory(prefix="tamiyo-bench-") as folder:
        data, port = Path(folder) / "data", free_port()
        # PostgreSQL refuses to run as root.
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        _init(programs, data)
        command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", folder]
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        server = subprocess.Popen(
            _as_user(["taskset", "--cpu-list", str(core), *command, *settings]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        try:
            _await(programs, port, server)
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            # A fast shutdown: it does not wait for clients.
            server.send_signal(signal.SIGINT)
            server.wait(timeout=60)


def _version(program: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", program.parts[-3]))


def _init(programs: Path, data: Path) -> None:
    command = [str(programs / "initdb"), "-D", str(data), "-U", USER, "--auth=trust", "--encoding=UTF8"]
    done = subprocess.run(
        _as_user([*command, "--locale=C"]), capture_output=True, text=True, check=False, cwd=data.parent
    )
    if done.returncode:
        raise UnavailableError(f"initdb failed: {done.stderr.strip()[-300:]}")


def _await(programs: Path, port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while server.poll() is None and time.monotonic() < deadline:
        if subprocess.run(asked, check=False).returncode == 0:
            return
        time.sleep(0.05)
    raise UnavailableError("PostgreSQL did not start")


def _as_user(command: Sequence[str]) -> list[str]:
    """The command, run as PostgreSQL's user where this is root; signals reach it."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *command]
