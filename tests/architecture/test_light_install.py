"""What a trainer embeds stays light, and the command line starts without what it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.tree import sources

HEAVY = ("alembic", "fastapi", "mnist1d", "numpy", "sklearn", "sqlalchemy", "starlette", "torch", "uvicorn")
# A fresh interpreter in which the heavy packages are not installed; `asked` tells who wanted one.
WITHOUT = """
import importlib.abc, sys
asked = []
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            asked.append(name)
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def run_without(absent: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter that has not got some packages, and fail it if it asked for one."""
    script = WITHOUT.format(absent=absent) + code + "\nassert not asked, asked\n"
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("package", ["tamiyo_leyline", "tamiyo_client", "tamiyo_core"])
def test_package_loads_whole_in_a_light_install(package: str) -> None:
    modules = ", ".join(source.module for source in sources(package))
    result = run_without(HEAVY, f"import {modules}")
    assert result.returncode == 0, result.stderr


def test_core_loads_no_envelope() -> None:
    result = run_without((), "import sys, tamiyo_core; assert 'tamiyo_leyline.api' not in sys.modules")
    assert result.returncode == 0, result.stderr


def test_absent_package_is_noticed() -> None:
    result = run_without(HEAVY, "try:\n    import torch\nexcept ImportError:\n    pass")
    assert "AssertionError: ['torch']" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["demo", "--help"], ["--version"]])
def test_command_line_explains_itself_without_torch_or_server(arguments: list[str]) -> None:
    code = f"import sys, tamiyo_cli\nsys.argv = ['tamiyo', *{arguments!r}]\n" + (
        "try:\n    tamiyo_cli.main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )
    result = run_without(HEAVY, code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_a_service_that_starts_waits_for_nothing_that_talks_to_services() -> None:
    code = (
        "import sys, tamiyo_cli.app\nassert not {'httpx', 'rich.console', 'tamiyo_client'} & set(sys.modules)"
    )
    result = run_without((), code)
    assert result.returncode == 0, result.stderr
