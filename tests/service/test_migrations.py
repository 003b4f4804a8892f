"""Migrations only add, so that services of the version before go on with what they leave."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import tamiyo_service

VERSIONS = sorted((Path(tamiyo_service.__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))
ADDING = {"create_table", "create_index", "drop_index", "add_column"}
"""An index is nobody's business: it may go."""


def steps_up(file: Path) -> list[ast.Call]:
    """The calls of Alembic's operations that are not for the way back."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    forward = [node for node in tree.body if getattr(node, "name", None) != "downgrade"]
    calls = [node for part in forward for node in ast.walk(part) if isinstance(node, ast.Call)]
    return [call for call in calls if operation(call)]


def operation(call: ast.Call) -> str | None:
    """The name of the operation; None for any other call."""
    function = call.func
    if (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "op"
    ):
        return function.attr
    return None


@pytest.mark.parametrize("file", VERSIONS[1:], ids=lambda file: file.stem)
def test_a_migration_only_adds(file: Path) -> None:
    calls = steps_up(file)
    assert calls
    assert {operation(call) for call in calls} <= ADDING


@pytest.mark.parametrize("file", VERSIONS[1:], ids=lambda file: file.stem)
def test_a_new_column_asks_nothing_of_those_that_do_not_know_it(file: Path) -> None:
    for call in steps_up(file):
        if operation(call) == "add_column":
            text = ast.unparse(call)
            assert "nullable=False" not in text or "server_default" in text, text
