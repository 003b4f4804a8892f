"""One engine for every distinct configuration, shared by all runs that have it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

import orjson
from tamiyo_core import BUILT_IN, Engine, Policy, UnknownPolicyError, build_policy, installed_policies
from tamiyo_core.learned import LEARNED
from tamiyo_leyline import PolicyChoice, RunConfig

from tamiyo_service.errors import InvalidConfigError, NoArtifactError
from tamiyo_service.learned.registry import MissingPolicy, Registry
from tamiyo_service.learned.search import Search
from tamiyo_service.runs.absent import AbsentPolicy
from tamiyo_service.store.protocol import Store
from tamiyo_service.store.rows import InputKind, RunRow

_RECENT: Final = 256
"""Stored configurations whose engines are kept, apart from those in use."""
_BESIDE: Final[Mapping[str, Any]] = {"labels": {}, "shadow": ()}
"""Parts of a configuration that make no difference to an engine."""


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
    """Builds engines and keeps those in use.

    Args:
        registry: knows the learned policy's artifacts; None: there are none.
        search: looks for artifacts that the registry does not know; None: nobody does.
    """

    def __init__(self, registry: Registry | None = None, search: Search | None = None) -> None:
        self._registry = registry
        self._search = search
        self._absent: dict[PolicyChoice, AbsentPolicy] = {}
        self._by_config: WeakValueDictionary[str, Engine] = WeakValueDictionary()
        self._recent: OrderedDict[bytes, Engine] = OrderedDict()
        self._makeshift: WeakValueDictionary[bytes, Engine] = WeakValueDictionary()

    async def met(self, run: RunRow) -> Engine:
        """The engine of a run that this process meets; if its artifact is not known here, it is looked for.

        Raises:
            StoreUnavailableError: if the store does not answer.
        """
        engine = self.of_run(run)
        if self._search is None or not isinstance(engine.policy, MissingPolicy):
            return engine
        await self._search.look_for(engine.policy.version)
        return self.of_run(run)

    def is_outdated(self, engine: Engine) -> bool:
        """Whether `met` may find more for a run than this engine: an artifact that was not there before."""
        policy = engine.policy
        if not isinstance(policy, MissingPolicy):
            return False
        return self._knows_more(engine) or (self._search is not None and self._search.is_due(policy.version))

    def of_run(self, run: RunRow) -> Engine:
        """The engine that decides about a run from now on; see `stored`."""
        return self.stored(run.config, run.chosen)

    def stored(self, config: str, chosen: str | None = None) -> Engine:
        """The engine for a configuration as the store has it, mostly without validating it.

        If its policy is not installed any more, the engine can do everything but decide. If it is the learned
        one and its artifact is gone, the heuristic decides in its place.

        Args:
            config: a RunConfig as JSON, defaults filled in.
            chosen: the policy in place of the configuration's, a PolicyChoice as JSON.
        """
        content = orjson.loads(config)
        if chosen is not None:
            content["policy"] = orjson.loads(chosen)
        return self._of_content(content)

    def stored_with_config(self, config: str) -> tuple[Engine, RunConfig]:
        """The same, with the configuration itself, labels and shadow policies included."""
        content = orjson.loads(config)
        engine = self._of_content(content)
        return engine, engine.config.model_copy(
            update={"labels": content["labels"], "shadow": _shadows(content)}
        )

    def _of_content(self, content: dict[str, Any]) -> Engine:
        key = orjson.dumps({name: value for name, value in content.items() if name not in _BESIDE})
        engine = self._recent.get(key)
        if engine is None:
            return self._of_key(key)
        self._recent.move_to_end(key)
        return engine

    def _of_key(self, key: bytes) -> Engine:
        engine = self._makeshift.get(key)
        if engine is not None and not self._knows_more(engine):
            return engine
        engine = self._restored(RunConfig.model_validate_json(key))
        if isinstance(engine.policy, MissingPolicy):
            # Kept only as long as it is used: the artifact may come.
            self._makeshift[key] = engine
            return engine
        self._recent[key] = engine
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return engine

    def of(self, config: RunConfig) -> Engine:
        """The engine for this configuration; labels and shadow policies make no difference.

        Raises:
            NoArtifactError: if the policy needs an artifact that is not there.
            InvalidConfigError: if no such policy is installed.
        """
        bare = config.model_copy(update=_BESIDE)
        key = bare.model_dump_json()
        engine = self._by_config.get(key)
        if engine is None:
            engine = Engine(bare, self._policy(bare))
            self._by_config[key] = engine
        return engine

    def _knows_more(self, engine: Engine) -> bool:
        registry, policy = self._registry, engine.policy
        return (
            registry is not None
            and isinstance(policy, MissingPolicy)
            and registry.is_outdated(engine.config, policy)
        )

    def _restored(self, config: RunConfig) -> Engine:
        if config.policy.name == LEARNED and self._registry is not None and not self._registry.knows(config):
            return Engine(config, self._registry.stored_policy(config))
        # A policy that was not there is not looked for again: that takes long, and a list may have many runs.
        absent = self._absent.get(config.policy)
        if absent is None:
            try:
                return self.of(config)
            except (NoArtifactError, InvalidConfigError) as error:
                absent = self._absent[config.policy] = AbsentPolicy(config.policy, error.message)
        return Engine(config, absent)

    def _policy(self, config: RunConfig) -> Policy:
        if config.policy.name == LEARNED:
            if self._registry is None:
                raise NoArtifactError("there are no artifacts of the learned policy", field="policy.name")
            return self._registry.policy(config)
        name = config.policy.name
        if name not in POLICY_NAMES:
            raise InvalidConfigError(
                f"unknown policy {name!r}; valid: {', '.join(POLICY_NAMES)}", field="policy.name"
            )
        try:
            return build_policy(config)
        except UnknownPolicyError as error:
            field = "policy.version" if config.policy.name in BUILT_IN else "policy.name"
            raise InvalidConfigError(str(error), field=field) from error


async def engine_at(store: Store, engines: Engines, run: RunRow, seq: int) -> Engine:
    """The engine that took an input of a run in, whatever policy an operator gave the run since.

    Args:
        store: where the run's inputs are.
        engines: give the engine.
        run: the run.
        seq: number of the input.
    """
    if run.chosen is None:
        return engines.of_run(run)
    given = await store.journal.inputs(run.run_pk, InputKind.POLICY, seq, 1)
    chosen = orjson.loads(given[0].payload)["policy"] if given else None
    return engines.stored(run.config, None if chosen is None else orjson.dumps(chosen).decode())


def _shadows(content: dict[str, Any]) -> tuple[PolicyChoice, ...]:
    """The shadow policies of a stored configuration; earlier versions knew none."""
    return tuple(PolicyChoice.model_validate(choice) for choice in content.get("shadow", ()))
