"""Registry: every model there is, and those whose networks are loaded.

::

    on disk ──look──▶ known: sound, or refused with a reason
                        │ load: once for all who ask, in a thread; verified, self-tested, warm
                        ▼
                      ready: answers questions; of very many, those nobody wanted for a day are let go
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from tamiyo_core.learned import LearnedPolicy
from tamiyo_core.observation import OBSERVATIONS, TENSOR
from tamiyo_leyline import RunConfig, Topology

from tamiyo_service.errors import ModelNotFoundError, ModelRejectedError, NoArtifactError
from tamiyo_service.learned.artifacts import Artifact, Found, Library, Network, Refused

FAILURE_STANDS_SECONDS: Final = 5.0
"""How long a network that could not be loaded is not tried again."""
NETWORKS_KEPT: Final = 32
"""How many networks stay loaded on each device, however long nobody wanted them."""
_SERVED_SECONDS: Final = 24 * 3600.0
"""How long any further one stays that runs may want: reloading it can cost a report its advice."""
_SHADOW_DEVICE: Final = "cpu"

_LOG: Final = structlog.get_logger(__name__)


class MissingPolicy(LearnedPolicy):
    """Stands in for the policy of a run whose artifact was never seen here: the heuristic decides."""


class Registry:
    """Knows the models; for use in the event loop.

    Args:
        directory: of artifacts, laid out ``<name>/<version>/``; None: only those of the package.
        device: where networks run: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        clock: seconds that only rise.
    """

    def __init__(
        self, directory: Path | None, device: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._library = Library(directory)
        self._device = device
        self._clock = clock
        self._found: tuple[Found, ...] | None = None
        self._seen: dict[str, Artifact] = {}
        self._first_used: dict[str, str] = {}
        self._serving = _Networks(partial(self._load, device=device), clock, keep_seconds=_SERVED_SECONDS)
        # Shadows and replays wait for a network as long as it takes.
        self._shadowing = _Networks(partial(self._load, device=_SHADOW_DEVICE), clock, keep_seconds=0.0)

    async def look(self) -> tuple[Found, ...]:
        """Everything there is now: sound, or refused and why."""
        return self._take_in(await asyncio.to_thread(self._library.look))

    def remember(self, versions: Iterable[tuple[str, str]]) -> None:
        """Take note of what policy versions were when they were first used, each with its SHA-256."""
        self._first_used.update(versions)

    def first_used(self, policy_version: str) -> str | None:
        """The SHA-256 that a version had when it was first used, as far as that is known here."""
        return self._first_used.get(policy_version)

    def artifacts(self, topology: Topology) -> list[Artifact]:
        """The sound artifacts for a topology, as of the last look; the latest versions first."""
        fitting = [one for one in self._sound() if one.fits(topology)]
        return sorted(fitting, key=lambda one: (one.order, one.name), reverse=True)

    def topologies(self) -> list[str]:
        """Names of the topologies that there are sound artifacts for, as of the last look."""
        return sorted({one.topology for one in self._sound()})

    def latest_shipped(self, topology: str) -> Artifact | None:
        """The latest version for a topology that came with the package."""
        shipped = [one for one in self._sound() if one.shipped and one.topology == topology]
        return max(shipped, key=lambda one: (one.order, one.name), default=None)

    def named(self, policy_version: str) -> Artifact | None:
        """The sound artifact of that name and version, as of the last look."""
        return next((one for one in self._sound() if one.policy_version == policy_version), None)

    def require_named(self, policy_version: str) -> Artifact:
        """The same, which there must be.

        Raises:
            NoArtifactError: if there is none.
        """
        artifact = self.named(policy_version)
        if artifact is None:
            message = f"the learned policy has no version {policy_version!r}; there is {self._listed()}"
            raise NoArtifactError(message, field="policy.version")
        return artifact

    def get_or_raise(self, name: str, version: str) -> Artifact:
        """The sound artifact of a name and a version.

        Raises:
            ModelNotFoundError: if there is none.
            ModelRejectedError: if it is there and cannot be used, or another is there under its name.
        """
        found = [one for one in self._all() if (one.name, one.version) == (name, version)]
        # Of two under one name, one of which is refused, nobody knows which is meant.
        refused = next((one for one in found if isinstance(one, Refused)), None)
        if refused is not None:
            raise ModelRejectedError(refused.reason)
        sound = next((one for one in found if isinstance(one, Artifact)), None)
        if sound is not None:
            return sound
        raise ModelNotFoundError(f"there is no model {name}/{version}; there is {self._listed()}")

    def policy(self, config: RunConfig) -> LearnedPolicy:
        """The learned policy of a run; no network is loaded.

        Raises:
            NoArtifactError: if no artifact of that version was seen that is for the run's topology.
        """
        artifact = self._as_first_used(config) or self.require_fitting(config)
        version = artifact.policy_version
        # Of a version that was changed in place the runs keep the identity; it is refused when it is loaded.
        sha256 = self._first_used.get(version, artifact.sha256)
        observation = OBSERVATIONS[artifact.observation]
        return LearnedPolicy(config, version=version, sha256=sha256, observation=observation)

    def stored_policy(self, config: RunConfig) -> LearnedPolicy:
        """The learned policy of a run that exists; a stand-in if its artifact was never seen here."""
        if self.knows(config):
            return self.policy(config)
        version = config.policy.version or "unknown"
        sha256 = self._first_used.get(version, "")
        return MissingPolicy(config, version=version, sha256=sha256, observation=TENSOR)

    def knows(self, config: RunConfig) -> bool:
        """Whether the artifact of a run that exists was seen here, as it was when it was first used."""
        return self._as_first_used(config) is not None

    def is_outdated(self, config: RunConfig, stand_in: MissingPolicy) -> bool:
        """Whether more is known by now than when `stored_policy` made a stand-in."""
        return self.knows(config) or stand_in.sha256 != self._first_used.get(stand_in.version, "")

    def require_fitting(self, config: RunConfig) -> Artifact:
        """The artifact a configuration names; without a version the latest one of the package.

        Raises:
            NoArtifactError: if there is none for the run's topology.
        """
        topology, version = config.topology, config.policy.version
        if version is None:
            shipped = [one for one in self.artifacts(topology) if one.shipped]
            if shipped:
                return shipped[0]
            raise self.no_artifact(topology)
        artifact = self.require_named(version)
        if not artifact.fits(topology):
            raise NoArtifactError(
                f"{version} was made for topology {artifact.topology} with {', '.join(artifact.blueprints)}, "
                f"not for {topology.name} with {', '.join(topology.names)}; there is {self._listed()}",
                field="policy.version",
            )
        return artifact

    def no_artifact(self, topology: Topology) -> NoArtifactError:
        """That nothing is active for a topology, and what there is instead."""
        others = [one.policy_version for one in self.artifacts(topology)]
        if others:
            remedy = f"none is active; activate one of {', '.join(others)}, or name it as policy.version"
        else:
            remedy = f"there is {self._listed()}; use the heuristic, or put an artifact into TAMIYO_MODELS"
        message = f"the learned policy has no artifact for topology {topology.name}: {remedy}"
        return NoArtifactError(message, field="policy.name")

    def policy_versions(self) -> list[str]:
        """What a run may name as version of the learned policy, the latest first."""
        latest_first = sorted(
            self._sound(), key=lambda one: (one.topology, one.order, one.name), reverse=True
        )
        return [one.policy_version for one in latest_first]

    def changed_in_place(self, artifact: Artifact, first: str) -> str:
        """That an artifact is another than it was when it was first used, in words."""
        return (
            f"{artifact.directory} was changed in place: when {artifact.policy_version} was first used its "
            f"sha256 was {first}, now it is {artifact.sha256}; put it back, and give the new one another "
            "version"
        )

    def ready(self, sha256: str) -> Network | None:
        """The network of an artifact if it is loaded; only the batcher asks it."""
        return self._serving.ready(sha256)

    def loaded_on(self, sha256: str) -> str | None:
        """The device that an artifact's network runs on, without asking for it; None: it is not loaded."""
        return self._serving.device_of(sha256)

    async def load(self, sha256: str) -> Network:
        """The network of an artifact, loaded and verified in a thread, once for all who ask.

        Raises:
            ModelRejectedError: if it cannot be used; the next to ask within seconds hears the same.
        """
        return await self._serving.get(sha256)

    async def load_for_shadows(self, sha256: str) -> Network:
        """The same as a second network on the CPU, which nobody waits for.

        Raises:
            ModelRejectedError: if it cannot be used.
        """
        return await self._shadowing.get(sha256)

    def _as_first_used(self, config: RunConfig) -> Artifact | None:
        artifact = self._seen.get(self._first_used.get(config.policy.version or "", ""))
        return artifact if artifact is not None and artifact.fits(config.topology) else None

    def _load(self, sha256: str, *, device: str) -> Network:
        """In a thread: find the artifact and load it."""
        self._take_in(self._library.look())
        artifact = next((one for one in self._sound() if one.sha256 == sha256), None)
        if artifact is None:
            raise ModelRejectedError(self._missing(sha256))
        network = self._library.load(artifact, device)
        if network.sha256 != sha256:
            raise ModelRejectedError(f"{artifact.directory} was changed while it was read")
        return network

    def _missing(self, sha256: str) -> str:
        versions = [version for version, first in self._first_used.items() if first == sha256]
        if not versions:
            return "the artifact of this run is not here: put it into TAMIYO_MODELS"
        changed = self.named(versions[0])
        if changed is None:
            return f"{versions[0]} is not here any more: put it back into TAMIYO_MODELS"
        return self.changed_in_place(changed, sha256)

    def _all(self) -> tuple[Found, ...]:
        return self._take_in(self._library.look()) if self._found is None else self._found

    def _take_in(self, found: tuple[Found, ...]) -> tuple[Found, ...]:
        self._found = found
        self._seen.update((one.sha256, one) for one in found if isinstance(one, Artifact))
        return found

    def _sound(self) -> list[Artifact]:
        return [one for one in self._all() if isinstance(one, Artifact)]

    def _listed(self) -> str:
        listed = [f"{one.policy_version} ({one.topology})" for one in self._sound()]
        return ", ".join(listed) or "none at all"


class _Loaded:
    """A network that is loaded, and when it was last wanted."""

    __slots__ = ("network", "wanted")

    def __init__(self, network: Network, wanted: float) -> None:
        self.network = network
        self.wanted = wanted


class _Networks:
    """Networks on one device, each loaded once. Of very many, those are let go that nobody wanted for long.

    Args:
        load: called in a thread with a SHA-256.
        clock: seconds that only rise.
        keep_seconds: how long after it was wanted a network is kept, however many there are.
    """

    def __init__(
        self, load: Callable[[str], Network], clock: Callable[[], float], *, keep_seconds: float
    ) -> None:
        self._load = load
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._loaded: dict[str, _Loaded] = {}
        self._loading: dict[str, asyncio.Task[Network]] = {}
        self._failed: dict[str, tuple[float, ModelRejectedError]] = {}

    def device_of(self, sha256: str) -> str | None:
        loaded = self._loaded.get(sha256)
        return None if loaded is None else loaded.network.device

    def ready(self, sha256: str) -> Network | None:
        loaded = self._loaded.get(sha256)
        if loaded is None:
            return None
        loaded.wanted = self._clock()
        return loaded.network

    async def get(self, sha256: str) -> Network:
        network = self.ready(sha256)
        if network is not None:
            return network
        failed = self._failed.get(sha256)
        if failed is not None and self._clock() - failed[0] < FAILURE_STANDS_SECONDS:
            raise ModelRejectedError(failed[1].message)
        loading = self._loading.get(sha256)
        if loading is None:
            loading = asyncio.create_task(self._read(sha256), name="tamiyo-model-loader")
            self._loading[sha256] = loading
            loading.add_done_callback(partial(self._done, sha256))
        return await asyncio.shield(loading)

    async def _read(self, sha256: str) -> Network:
        try:
            network = await asyncio.to_thread(self._load, sha256)
        except ModelRejectedError as error:
            self._failed[sha256] = (self._clock(), error)
            _LOG.error("model_rejected", sha256=sha256, reason=error.message)
            raise
        self._failed.pop(sha256, None)
        self._loaded[sha256] = _Loaded(network, self._clock())
        _LOG.info("model_loaded", sha256=sha256, device=network.device)
        self._let_go()
        return network

    def _let_go(self) -> None:
        oldest_first = sorted(self._loaded, key=lambda sha256: self._loaded[sha256].wanted)
        for sha256 in oldest_first[:-NETWORKS_KEPT]:
            if self._clock() - self._loaded[sha256].wanted >= self._keep_seconds:
                del self._loaded[sha256]
                _LOG.info("model_let_go", sha256=sha256)

    def _done(self, sha256: str, loading: asyncio.Task[Network]) -> None:
        del self._loading[sha256]
        if not loading.cancelled():
            # Those who waited have the error; if all of them left, nobody needs it.
            loading.exception()
