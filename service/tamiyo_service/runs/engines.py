"""One engine for every distinct configuration, shared by all runs that have it."""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

from tamiyo_core import BUILT_IN, Engine, UnknownPolicyError, build_policy
from tamiyo_leyline import RunConfig

from tamiyo_service.errors import InvalidConfigError, NoArtifactError

LEARNED: Final = "learned"
POLICY_NAMES: Final = (*BUILT_IN, LEARNED)
"""Names a run may be listed under."""


class Engines:
    """Builds engines and keeps those in use."""

    def __init__(self) -> None:
        self._by_config: WeakValueDictionary[str, Engine] = WeakValueDictionary()
        self._by_text: WeakValueDictionary[str, Engine] = WeakValueDictionary()

    def stored(self, config: str) -> Engine:
        """The engine for a configuration as the store has it, mostly without parsing it.

        Raises:
            NoArtifactError, InvalidConfigError: as `of`.
        """
        engine = self._by_text.get(config)
        if engine is None:
            engine = self._by_text[config] = self.of(RunConfig.model_validate_json(config))
        return engine

    def of(self, config: RunConfig) -> Engine:
        """The engine for this configuration; labels make no difference.

        Raises:
            NoArtifactError: if the policy needs an artifact that is not there.
            InvalidConfigError: if no such policy is installed.
        """
        unlabelled = config.model_copy(update={"labels": {}})
        key = unlabelled.model_dump_json()
        engine = self._by_config.get(key)
        if engine is None:
            engine = _build(unlabelled)
            self._by_config[key] = engine
        return engine


def _build(config: RunConfig) -> Engine:
    if config.policy.name == LEARNED:
        raise NoArtifactError(
            f"the learned policy has no artifact for topology {config.topology.name}; "
            f"use {', '.join(BUILT_IN)}",
            field="policy.name",
        )
    try:
        return Engine(config, build_policy(config))
    except UnknownPolicyError as error:
        field = "policy.version" if config.policy.name in BUILT_IN else "policy.name"
        raise InvalidConfigError(str(error), field=field) from error
