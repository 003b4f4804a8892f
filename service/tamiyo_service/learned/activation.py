"""Activations: which version the new runs of a topology use. A run keeps the version it began with.

::

    none chosen ── the latest version of the package is active
         │ activate: loaded and verified first, then recorded; all services on the database agree from then on
         ▼
    chosen ─────── that version is active; rolling back is activating the one before
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from tamiyo_core.learned import LEARNED
from tamiyo_leyline import TOPOLOGIES, RunConfig

from tamiyo_service.clock import Clock, to_micros
from tamiyo_service.errors import ModelRejectedError, NoArtifactError
from tamiyo_service.learned.artifacts import Artifact
from tamiyo_service.learned.registry import Registry
from tamiyo_service.learned.search import Search
from tamiyo_service.store.models import ActivationRow, ModelStore, ModelVersion

SHOWN: Final = 100
"""Activations that are looked at to tell since when a model is active."""


class Activations:
    """Decides which version a run begins with. Every method may raise `StoreUnavailableError`.

    Args:
        store: where activations are recorded.
        registry: knows the models.
        clock: tells when something happens.
    """

    def __init__(self, store: ModelStore, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self.search: Final = Search(store, registry)
        """Looks for versions that other processes know."""

    async def open(self, *, load: bool) -> None:
        """Take in what was used before, and have active models loaded.

        What cannot be loaded is told to the log: runs that need it are decided by the heuristic.

        Args:
            load: whether to load the active models; if not, each is loaded when it is first needed.
        """
        used = await self.search.remember()
        if used or load:
            await self._registry.look()
        if load:
            for artifact in (await self.active_by_topology()).values():
                with suppress(ModelRejectedError):
                    await self._registry.load(artifact.sha256)

    async def active_by_topology(self) -> dict[str, Artifact]:
        """The active artifacts, as of the registry's last look; topologies without one are absent."""
        found: dict[str, Artifact] = {}
        for topology in self._registry.topologies():
            artifact = self._active(topology, await self._last(topology))
            if artifact is not None:
                found[topology] = artifact
        return found

    async def activate(self, name: str, version: str, reason: str) -> ActivationRow:
        """Have new runs of the model's topology use this version; the one that is active stays so on failure.

        Raises:
            ModelNotFoundError: if there is no such model.
            ModelRejectedError: if it cannot be used, and why.
        """
        await self._registry.look()
        artifact = self._registry.get_or_raise(name, version)
        await self._registry.load(artifact.sha256)
        await self._require_unchanged(artifact)
        active = self._active(artifact.topology, await self._last(artifact.topology))
        _require_same_blueprints(artifact, active)
        shipped = self._registry.latest_shipped(artifact.topology)
        row = ActivationRow(
            at=to_micros(self._clock()),
            topology=artifact.topology,
            name=name,
            version=version,
            sha256=artifact.sha256,
            previous=None if shipped is None or shipped == artifact else shipped.policy_version,
            reason=reason,
        )
        return await self._store.activate(row)

    async def pinned(self, config: RunConfig) -> RunConfig:
        """The configuration of a run of the learned policy, with the version that decides about it filled in.

        What is on disk is taken as of the registry's last look; a version that was not there is looked for.

        Raises:
            NoArtifactError: if there is none, or if the active one is gone.
            ModelRejectedError: if the artifact is not what it was when it was first used.
        """
        wanted = config if config.policy.version is not None else await self._with_active(config)
        try:
            artifact = await self._unchanged(wanted)
        except (NoArtifactError, ModelRejectedError):
            if wanted.policy.version is None:
                raise
            # Another process may have activated it, after our last look.
            await self.search.look_for(wanted.policy.version)
            artifact = await self._unchanged(wanted)
        return _with_version(config, artifact.policy_version)

    async def history(self) -> list[ActivationRow]:
        """The latest activations, the newest first."""
        return await self._store.activations(None, SHOWN)

    def _active(self, topology: str, last: ActivationRow | None) -> Artifact | None:
        """What is active after the last activation of a topology; None: that is not here, or nothing is."""
        if last is None:
            return self._registry.latest_shipped(topology)
        return self._registry.named(last.policy_version)

    async def _last(self, topology: str) -> ActivationRow | None:
        rows = await self._store.activations(topology, 1)
        return rows[0] if rows else None

    async def _with_active(self, config: RunConfig) -> RunConfig:
        """With the version that was activated for its topology, if any was."""
        last = await self._last(config.topology.name)
        return config if last is None else _with_version(config, last.policy_version)

    async def _unchanged(self, config: RunConfig) -> Artifact:
        artifact = self._registry.require_fitting(config)
        await self._require_unchanged(artifact)
        return artifact

    async def _require_unchanged(self, artifact: Artifact) -> None:
        version = artifact.policy_version
        first = self._registry.first_used(version)
        if first is None:
            now = to_micros(self._clock())
            used = ModelVersion(artifact.name, artifact.version, artifact.sha256, now)
            first = (await self._store.remember(used)).sha256
            self._registry.remember([(version, first)])
        if first != artifact.sha256:
            raise ModelRejectedError(self._registry.changed_in_place(artifact, first), field="policy.version")


def _with_version(config: RunConfig, version: str) -> RunConfig:
    policy = config.policy.model_copy(update={"name": LEARNED, "version": version})
    return config.model_copy(update={"policy": policy})


def _require_same_blueprints(artifact: Artifact, active: Artifact | None) -> None:
    """Return if the runs of the artifact's topology would all still have a model.

    Raises:
        ModelRejectedError: if the topology of that name has other blueprints.
    """
    name = artifact.topology
    if name in TOPOLOGIES:
        known, of = TOPOLOGIES[name].names, f"topology {name}"
    elif active is not None:
        known, of = active.blueprints, f"{active.policy_version}, which is active for topology {name},"
    else:
        return
    if artifact.blueprints != known:
        raise ModelRejectedError(
            f"{artifact.policy_version} is for {', '.join(artifact.blueprints)}; {of} has "
            f"{', '.join(known)}: give its topology another name, or have runs name it as policy.version"
        )
