"""The import rules hold, and a broken one is noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.architecture.tree import FLOORS, ROOT

# One breach of each contract of .importlinter: the file that would break it, and how.
BREACHES = {
    "floors": ("models/tamiyo_core/rules.py", "import tamiyo_service"),
    "leyline": ("client/tamiyo_leyline/enums.py", "import httpx"),
    "client": ("client/tamiyo_client/__init__.py", "import tamiyo_core"),
    "core": ("models/tamiyo_core/rules.py", "from time import monotonic"),
    "garden": ("models/tamiyo_garden/config.py", "import tamiyo_core"),
    "models": ("models/tamiyo_models/__init__.py", "import tamiyo_client"),
    "service": ("service/tamiyo_service/__init__.py", "import torch"),
}


def lint_imports(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Check the import rules of the tree under a root, whatever is installed."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache", *arguments]
    floors = os.pathsep.join(str(root / floor) for floor in FLOORS)
    return subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": floors, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def contracts() -> dict[str, str]:
    """The contracts' names by their keys."""
    config = ConfigParser()
    config.read(ROOT / ".importlinter")
    prefix = "importlinter:contract:"
    return {
        section.removeprefix(prefix): config[section]["name"]
        for section in config.sections()
        if section.startswith(prefix)
    }


@pytest.fixture(scope="module")
def report_on_breaches(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the tree in which every contract is broken once."""
    copy = tmp_path_factory.mktemp("tree")
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, copy / floor, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".importlinter", copy)
    for file, statement in BREACHES.values():
        with (copy / file).open("a", encoding="utf-8") as source:
            source.write(f"\n{statement}\n")
    return lint_imports(copy).stdout


def test_packages_import_only_what_their_floor_allows() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_is_tried_with_a_breach() -> None:
    assert set(BREACHES) == set(contracts())


@pytest.mark.parametrize("contract", BREACHES)
def test_breach_of_a_contract_is_reported(contract: str, report_on_breaches: str) -> None:
    assert f"{contracts()[contract]} BROKEN" in report_on_breaches
