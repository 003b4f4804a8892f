"""The repository's shape: floors that are no packages, the two commands, nothing left half-done."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.tree import FLOORS, PACKAGES, ROOT

# Written so that this file does not find itself.
HALF_DONE = "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK", "NotImplemented" + "Error"])


def tracked_text() -> dict[str, str]:
    """Every text file that belongs to the repository, by its path."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = (ROOT / name for name in listed.split("\0") if name)
    return {str(file.relative_to(ROOT)): text_of(file) for file in files if file.is_file()}


def text_of(file: Path) -> str:
    """A file as text; whatever is none comes out as gibberish that matches nothing."""
    return file.read_bytes().decode("utf-8", errors="replace")


@pytest.mark.parametrize("floor", FLOORS)
def test_floor_is_no_package_and_holds_only_ours(floor: str) -> None:
    entries = {path.name for path in (ROOT / floor).iterdir()} - {"__pycache__"}
    assert entries
    assert [name for name in entries if not name.startswith("tamiyo_")] == []


def test_every_package_tells_type_checkers_that_it_is_typed() -> None:
    assert [package.name for package in PACKAGES if not (package / "py.typed").is_file()] == []


@pytest.mark.parametrize("command", ["make demo", "make test"])
def test_readme_names_the_two_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_nothing_is_left_half_done() -> None:
    found = {name: re.findall(rf"\b(?:{HALF_DONE})\b", text) for name, text in tracked_text().items()}
    assert {name: marks for name, marks in found.items() if marks} == {}


def test_changelog_knows_the_version() -> None:
    from tamiyo_leyline import __version__

    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
