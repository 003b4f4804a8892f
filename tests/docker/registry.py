"""What an engine of our own has instead of a registry: images of the same names, made on this machine."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.docker.deployment import ROOT
from tests.docker.engine import Engine, run

BASE_IMAGE: Final = "python:3.11-slim-bookworm"
SERVERS: Final = {
    "postgres": "postgres:17-bookworm",
    "nginx": "nginx:1.28-bookworm",
    "prometheus": "prom/prometheus:v3.5.0",
}
"""Targets of `standins/Dockerfile`, and the images that the compose file names."""
WHEELS_IMAGE: Final = "torch-wheels"
TORCH: Final = ROOT / "docker" / "requirements" / "torch.txt"
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
# As slim as the registry's: no manuals, no translations, and no perl, which merging /usr would bring.
BOOTSTRAP: Final = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    '--aptopt=APT::Install-Recommends "false"',
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")),
    "--include=usr-is-merged,ca-certificates,python3,python3-venv",
    "bookworm",
)
BASE_DOCKERFILE: Final = """\
FROM scratch
ADD base.tar /
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
"""
WHEELS_DOCKERFILE: Final = "FROM scratch\nCOPY *.whl /\n"


def furnished(engine: Engine) -> Engine:
    """The engine with every image that it would have pulled; quick where they are there."""
    recipe = hashlib.sha256(repr((BOOTSTRAP, BASE_DOCKERFILE)).encode()).hexdigest()
    if not engine.has(f"tamiyo-base:{recipe}"):
        _make_base(engine)
        engine.run("tag", BASE_IMAGE, f"tamiyo-base:{recipe}")
    for target, image in SERVERS.items():
        engine.build(ROOT / "tests" / "docker" / "standins", image, "--target", target)
    wheels = f"{WHEELS_IMAGE}:{_torch_version()}"
    if not engine.has(wheels):
        _make_wheels(engine, wheels)
    # The wheel is that which this machine installs; no index is asked.
    arguments = {"WHEELS_IMAGE": wheels, "TORCH_INDEX_URL": "file:///wheels"}
    return dataclasses.replace(engine, build_arguments=arguments)


def _make_base(engine: Engine) -> None:
    with TemporaryDirectory(prefix="tamiyo-base-") as folder:
        context = Path(folder)
        run([*BOOTSTRAP, str(context / "base.tar")], {})
        shutil.copy(CERTIFICATES, context)
        (context / "Dockerfile").write_text(BASE_DOCKERFILE, encoding="utf-8")
        engine.build(context, BASE_IMAGE)


def _make_wheels(engine: Engine, image: str) -> None:
    with TemporaryDirectory(prefix="tamiyo-wheels-") as folder:
        context = Path(folder)
        wanted = ROOT / "docker" / "requirements" / "torch.txt"
        download = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--requirement",
            str(wanted),
        ]
        run([*download, "--dest", folder], {})
        (context / "Dockerfile").write_text(WHEELS_DOCKERFILE, encoding="utf-8")
        engine.build(context, image)


def _torch_version() -> str:
    [version] = re.findall(r"^torch==(\S+)$", TORCH.read_text(encoding="utf-8"), re.MULTILINE)
    return str(version)
