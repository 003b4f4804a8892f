"""The policies a run may choose: those built in, and those that installed distributions bring.

A distribution offers a policy as an entry point of the group `tamiyo.policies`: its name is the name a run
chooses, its object a factory ``(RunConfig) -> Policy``, usually the policy's class. Distributions are looked
at only when a run names a policy that is not built in; one that takes a built-in name is never asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from tamiyo_leyline import RunConfig

from tamiyo_core.heuristic import HeuristicPolicy
from tamiyo_core.policy import Policy

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINT_GROUP: Final = "tamiyo.policies"
"""Where distributions offer their policies."""

PolicyFactory = Callable[[RunConfig], Policy]

_FACTORIES: Final[dict[str, PolicyFactory]] = {"heuristic": HeuristicPolicy}

BUILT_IN: Final = tuple(_FACTORIES)
"""Names of the policies that need nothing installed."""


class UnknownPolicyError(LookupError):
    """No policy of that name, or not in that version, is installed. The message says which are."""


class BrokenPolicyError(UnknownPolicyError):
    """An installed policy does not load. Repair or uninstall its distribution; choose another meanwhile."""


def installed_policies() -> tuple[str, ...]:
    """Names of all policies a run may choose, built-in ones first."""
    return (*BUILT_IN, *sorted(_entry_points().names.difference(BUILT_IN)))


def build_policy(config: RunConfig) -> Policy:
    """The policy a configuration names.

    Raises:
        UnknownPolicyError: if none has that name, or not in that version.
        BrokenPolicyError: if a distribution offers it, but it does not load.
    """
    name, version = config.policy.name, config.policy.version
    policy = (_FACTORIES.get(name) or _offered(name))(config)
    if version is not None and version != policy.version:
        raise UnknownPolicyError(f"policy {name} has version {policy.version}, not {version!r}")
    return policy


def _offered(name: str) -> PolicyFactory:
    found = _entry_points().select(name=name)
    if not found:
        raise UnknownPolicyError(f"unknown policy {name!r}; valid: {', '.join(installed_policies())}")
    entry = found[name]
    try:
        factory = entry.load()
    except (ImportError, AttributeError) as error:
        raise BrokenPolicyError(f"policy {name} does not load from {entry.value}: {error}") from error
    if not callable(factory):
        raise BrokenPolicyError(f"policy {name}: {entry.value} is no factory (RunConfig) -> Policy")
    return cast(PolicyFactory, factory)


def _entry_points() -> EntryPoints:
    # Imported when first needed: it takes longer to import than the rest of the core.
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINT_GROUP)
