"""How a run begins."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from tamiyo_core import RULES_VERSION
from tamiyo_core.learned import LEARNED, LearnedPolicy
from tamiyo_leyline import PolicyChoice, RunConfig

from tamiyo_service.clock import to_micros
from tamiyo_service.errors import InvalidConfigError, NoArtifactError
from tamiyo_service.learned.activation import Activations
from tamiyo_service.learned.registry import Registry
from tamiyo_service.runs.engines import Engines
from tamiyo_service.runs.session import DRAFT_PK, Session, Standing
from tamiyo_service.store.rows import NewRun

DEFAULT_POLICIES: Final = ("heuristic", LEARNED)
"""What `TAMIYO_DEFAULT_POLICY` may be."""


class Beginnings:
    """Settles with which policy, and which version of it, a run begins.

    Args:
        activations: tell which version of the learned policy is active.
        registry: knows the models.
        engines: know the other policies.
        default_policy: of runs that are created without naming one.
    """

    def __init__(
        self, activations: Activations, registry: Registry, engines: Engines, default_policy: str
    ) -> None:
        self._activations = activations
        self._registry = registry
        self._engines = engines
        self._default_policy = default_policy

    async def default(self) -> RunConfig:
        """The configuration of a run that a report creates; reads the store where a version is to be known.

        Raises:
            NoArtifactError, ModelRejectedError: if the default policy cannot be had.
            StoreUnavailableError: if the store does not answer.
        """
        return await self._settled(RunConfig())

    async def chosen(self, sent: RunConfig) -> RunConfig:
        """The configuration of a run that is created by itself, or is given another policy.

        Its network is loaded when this returns.

        Raises:
            NoArtifactError, InvalidConfigError, ModelRejectedError: if its policy, or one of its shadow
                policies, cannot be had.
            StoreUnavailableError: if the store does not answer.
        """
        named = self._named(sent)
        if LEARNED in {choice.name for choice in (named.policy, *named.shadow)}:
            await self._registry.look()
        config = await self._settled(named)
        for number, choice in enumerate(config.shadow):
            await self._require_shadow(config, number, choice)
        policy = self._engines.of(config).policy
        if isinstance(policy, LearnedPolicy):
            await self._registry.load(policy.sha256)
        return config

    async def _settled(self, config: RunConfig) -> RunConfig:
        named = self._named(config)
        return await self._activations.pinned(named) if named.policy.name == LEARNED else named

    def _named(self, config: RunConfig) -> RunConfig:
        if not leaves_policy_open(config):
            return config
        policy = config.policy.model_copy(update={"name": self._default_policy})
        return config.model_copy(update={"policy": policy})

    async def _require_shadow(self, config: RunConfig, number: int, choice: PolicyChoice) -> None:
        shadowed = config.model_copy(update={"policy": choice})
        try:
            if choice.name == LEARNED:
                shadowed = await self._activations.pinned(shadowed)
            self._engines.of(shadowed)
        except (NoArtifactError, InvalidConfigError) as error:
            raise type(error)(error.message, field=f"shadow.{number}") from error


def leaves_policy_open(config: RunConfig) -> bool:
    """Whether a configuration, as it was sent, names no policy."""
    return "policy" not in config.model_fields_set or "name" not in config.policy.model_fields_set


def new_run(run_id: str, config: RunConfig, now: datetime) -> NewRun:
    """The row of a new run, its configuration with all defaults filled in."""
    return NewRun(
        run_id=run_id,
        config=config.model_dump_json(),
        rules_version=RULES_VERSION,
        policy=config.policy.name,
        created_at=to_micros(now),
        labels=tuple(config.labels.items()),
    )


def draft_session(run_id: str, config: RunConfig, engines: Engines) -> Session:
    """A session of a run that does not exist yet, to find out whether a report would be accepted."""
    engine = engines.of(config)
    return Session(DRAFT_PK, run_id, Standing(engine, engine.initial()))
