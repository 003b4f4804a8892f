"""One engine for every distinct configuration, shared by all runs that have it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Any, Final
from weakref import WeakValueDictionary

import orjson
from tamiyo_core import BUILT_IN, Engine, UnknownPolicyError, build_policy, installed_policies
from tamiyo_leyline import PolicyChoice, RunConfig

from tamiyo_service.errors import InvalidConfigError, NoArtifactError
from tamiyo_service.runs.absent import AbsentPolicy

LEARNED: Final = "learned"
_RECENT: Final = 256
"""Stored configurations whose engines are kept, apart from those in use; labels make no difference."""


class _PolicyNames(Collection[str]):
    """Built in, installed and learned; looked up when asked, because that means looking at distributions."""

    def __contains__(self, name: object) -> bool:
        # Only what is installed has to be looked for, which takes milliseconds.
        return name in BUILT_IN or name == LEARNED or name in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*installed_policies(), LEARNED)))


POLICY_NAMES: Final[Collection[str]] = _PolicyNames()
"""Names a run may be listed under."""


class Engines:
    """Builds engines and keeps those in use."""

    def __init__(self) -> None:
        self._absent: dict[PolicyChoice, AbsentPolicy] = {}
        self._by_config: WeakValueDictionary[str, Engine] = WeakValueDictionary()
        self._recent: OrderedDict[bytes, Engine] = OrderedDict()

    def stored(self, config: str) -> Engine:
        """The engine for a configuration as the store has it, mostly without validating it.

        If its policy is not installed any more, the engine can do everything but decide.
        """
        return self._of_content(orjson.loads(config))

    def stored_with_config(self, config: str) -> tuple[Engine, RunConfig]:
        """The same, with the configuration itself, labels included."""
        content = orjson.loads(config)
        engine = self._of_content(content)
        return engine, engine.config.model_copy(update={"labels": content["labels"]})

    def _of_content(self, content: dict[str, Any]) -> Engine:
        key = orjson.dumps({name: value for name, value in content.items() if name != "labels"})
        engine = self._recent.get(key)
        if engine is None:
            engine = self._recent[key] = self._restored(RunConfig.model_validate_json(key))
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
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

    def _restored(self, config: RunConfig) -> Engine:
        # A policy that was not there is not looked for again: that takes long, and a list may have many runs.
        absent = self._absent.get(config.policy)
        if absent is None:
            try:
                return self.of(config)
            except (NoArtifactError, InvalidConfigError) as error:
                absent = self._absent[config.policy] = AbsentPolicy(config.policy, error.message)
        return Engine(config, absent)


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
