"""The repository as the tests of its shape see it: its floors, its packages, and their source files."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS = ("client", "models", "service")
# In the order of their floors, ground floor first.
PACKAGES = [path.parent for floor in FLOORS for path in sorted((ROOT / floor).glob("*/__init__.py"))]


@dataclass(frozen=True)
class Source:
    """One source file of a package of ours."""

    path: Path

    def __str__(self) -> str:
        """Where it is, seen from the root."""
        return str(self.path.relative_to(ROOT))

    @property
    def package(self) -> str:
        """The package it belongs to, `tamiyo_core` for instance."""
        return self.path.relative_to(ROOT).parts[1]

    @functools.cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.path.read_text(encoding="utf-8"), self.path.name)

    @property
    def module(self) -> str:
        """Its dotted name."""
        parts = self.path.relative_to(ROOT).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def imports(self) -> Iterator[str]:
        """Every absolute module name it imports, wherever in the file."""
        for node in ast.walk(self.tree):
            yield from imported_by(node)


def imported_by(node: ast.AST) -> Iterator[str]:
    """The absolute module names an import statement names; nothing for any other node."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        yield node.module


def sources(*packages: str) -> list[Source]:
    """The source files of the packages named, or of all."""
    files = (file for package in PACKAGES for file in sorted(package.rglob("*.py")))
    return [source for source in map(Source, files) if not packages or source.package in packages]
