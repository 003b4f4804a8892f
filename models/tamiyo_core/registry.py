"""The policies a run may choose."""

from __future__ import annotations

from tamiyo_leyline import RunConfig

from tamiyo_core.heuristic import HeuristicPolicy
from tamiyo_core.policy import Policy

BUILT_IN = ("heuristic",)
"""Names of the policies that need nothing installed."""


class UnknownPolicyError(LookupError):
    """No policy of that name is installed. Choose one of those the message lists."""


def build_policy(config: RunConfig) -> Policy:
    """The policy a configuration names.

    Raises:
        UnknownPolicyError: if none has that name, or not in that version.
    """
    name, version = config.policy.name, config.policy.version
    if name not in BUILT_IN:
        raise UnknownPolicyError(f"unknown policy {name!r}; valid: {', '.join(BUILT_IN)}")
    policy = HeuristicPolicy(config)
    if version is not None and version != policy.version:
        raise UnknownPolicyError(f"policy heuristic has version {policy.version}, not {version!r}")
    return policy
