"""What is installed is what is pinned: exact versions in constraints.txt, for everything our extras need."""

from __future__ import annotations

import re
from collections import deque
from importlib.metadata import PackageNotFoundError, distribution, requires, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.architecture.tree import ROOT

DISTRIBUTION = "esper-tamiyo"
EXTRAS = {"service", "models", "dev"}
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!-]+)")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [PIN.fullmatch(line) for line in lines if not line.startswith("#")]
    assert None not in found, "only NAME==VERSION"
    return {canonicalize_name(pin[1]): pin[2] for pin in found if pin}


def wanted(name: str, extras: set[str]) -> list[Requirement]:
    """What a distribution asks for here, with these of its extras."""
    asked = [Requirement(line) for line in requires(name) or ()]
    environments = [{"extra": extra} for extra in ("", *extras)]
    return [one for one in asked if one.marker is None or any(map(one.marker.evaluate, environments))]


def closure() -> dict[str, str]:
    """Everything that our extras bring, directly or not, with the version that is installed."""
    waiting, seen = deque([(DISTRIBUTION, frozenset(EXTRAS))]), set[tuple[str, frozenset[str]]]()
    found: dict[str, str] = {}
    while waiting:
        name, extras = waiting.popleft()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # torch asks for libraries of CUDA, which its build for the CPU comes without.
            continue
        waiting += [(canonicalize_name(one.name), frozenset(one.extras)) for one in wanted(name, set(extras))]
    return found


def test_everything_that_is_installed_for_us_is_pinned_to_the_version_that_is_installed() -> None:
    installed = closure()
    del installed[DISTRIBUTION]
    assert len(installed) > 50
    known = pins()
    astray = {
        name: (here, known.get(name)) for name, here in installed.items() if not agrees(here, known.get(name))
    }
    assert astray == {}


def agrees(installed: str, pinned: str | None) -> bool:
    # A local version (2.13.0+cpu) is a build of the one pinned.
    return pinned is not None and Version(installed).public == Version(pinned).public


def test_every_pin_is_there_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    assert len(pins()) == len(lines)


@pytest.mark.parametrize("requirement", wanted(DISTRIBUTION, EXTRAS), ids=str)
def test_what_is_pinned_is_what_we_ask_for(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    if name != DISTRIBUTION:
        assert requirement.specifier.contains(pins()[name])


def test_the_distribution_is_the_one_tested() -> None:
    assert distribution(DISTRIBUTION).version
