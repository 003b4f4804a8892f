"""What the packages offer: names that can be imported, found in order, and understood."""

from __future__ import annotations

import importlib
import inspect

import pytest

from tests.architecture.tree import PACKAGES

NAMES = [package.name for package in PACKAGES]


def in_house_order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest; each by alphabet."""
    kind = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return kind, name


@pytest.mark.parametrize("package", NAMES)
def test_public_names_exist_once_and_in_order(package: str) -> None:
    module = importlib.import_module(package)
    names = list(module.__all__)
    assert names == sorted(set(names), key=in_house_order)
    assert [name for name in names if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", NAMES)
def test_public_classes_and_functions_say_what_they_are(package: str) -> None:
    module = importlib.import_module(package)
    offered = {name: getattr(module, name) for name in module.__all__}
    silent = [
        name
        for name, value in offered.items()
        if (inspect.isclass(value) or inspect.isroutine(value)) and not inspect.getdoc(value)
    ]
    assert silent == []
