"""The wheel holds the packages whole and nothing else, and asks for little."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The distribution, built as a release would be, without asking the network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True)
    return zipfile.ZipFile(next(folder.glob("esper_tamiyo-*.whl")))


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    """What the wheel says of itself."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return Parser().parsestr(wheel.read(name).decode("utf-8"))


def shipped(package: Path) -> set[str]:
    """The files of a package that belong into the wheel: all that are not made by running it."""
    files = (file for file in package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return {str(file.relative_to(package.parent)) for file in files}


def test_wheel_holds_every_file_of_every_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    code = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert code == set().union(*map(shipped, PACKAGES))


def test_wheel_holds_the_migrations(wheel: zipfile.ZipFile) -> None:
    assert [name for name in wheel.namelist() if "/migrations/versions/" in name and name.endswith(".py")]


def test_base_install_needs_pydantic_and_httpx_only(metadata: Message) -> None:
    required = [entry for entry in metadata.get_all("Requires-Dist", []) if "extra ==" not in entry]
    assert sorted(entry.split("<")[0].split(">")[0] for entry in required) == ["httpx", "pydantic"]


def test_wheel_carries_the_licence_and_the_command(wheel: zipfile.ZipFile, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    [entry_points] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "tamiyo = tamiyo_cli:main" in wheel.read(entry_points).decode("utf-8")
