"""nginx with the committed configuration, on a port and before replicas of the test's choice."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from tests.docker.deployment import ROOT, free_port

CONFIGURATION: Final = ROOT / "docker" / "nginx"
_START_SECONDS: Final = 30.0
_LISTEN: Final = "listen 8000;"


def nginx_command(prefix: Path, configuration: Path) -> list[str]:
    """How nginx is started, with everything it writes under `prefix`."""
    # Debian keeps it where only root looks.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    nginx = shutil.which("nginx", path=path)
    assert nginx is not None, "these tests need nginx: apt-get install nginx-light"
    return [nginx, "-p", str(prefix), "-c", str(configuration / "nginx.conf")]


@contextmanager
def balanced(folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Nginx before replicas on these ports of this machine; yields its base URL.

    Args:
        folder: an empty one, for nginx alone.
        ports: of the replicas.
    """
    port = free_port()
    configuration = (CONFIGURATION / "nginx.conf").read_text(encoding="utf-8")
    assert configuration.count(_LISTEN) == 1
    chosen = configuration.replace(_LISTEN, f"listen 127.0.0.1:{port};")
    (folder / "nginx.conf").write_text(chosen, encoding="utf-8")
    (line,) = {line.replace("8001", "{}") for line in _replicas() if "8001" in line}
    (folder / "replicas.conf").write_text("\n".join(map(line.format, ports)), encoding="utf-8")
    # The workers of root's nginx belong to somebody else, who may not look into pytest's folders.
    directives = "daemon off; user root;" if os.geteuid() == 0 else "daemon off;"
    with subprocess.Popen([*nginx_command(folder, folder), "-g", directives]) as process:
        try:
            _await_answer(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _replicas() -> list[str]:
    return (CONFIGURATION / "replicas.conf").read_text(encoding="utf-8").splitlines()


def _await_answer(process: subprocess.Popen[bytes], url: str) -> None:
    """Wait for any answer at all: that of a replica, or that there is none."""
    for _ in range(int(_START_SECONDS / 0.02)):
        try:
            httpx.get(f"{url}/healthz")
        except httpx.TransportError:
            try:
                process.wait(0.02)
            except subprocess.TimeoutExpired:
                continue
            break
        return
    raise RuntimeError(f"nginx did not start; status {process.poll()}")
