"""Artifacts on disk. The one place that knows the package the networks come from, and it loads it late."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from tamiyo_core.policy import Question, RowAdvice
from tamiyo_leyline import Topology

from tamiyo_service.errors import ModelRejectedError

_DIGITS: Final = re.compile(r"(\d+)")
_Stamp = tuple[tuple[str, int, int, int], ...]


class Network(Protocol):
    """A verified network that can be asked, from any thread."""

    @property
    def sha256(self) -> str:
        """Of its artifact."""

    @property
    def device(self) -> str:
        """Where it runs."""

    def advise(self, questions: Sequence[Question]) -> list[RowAdvice | str]:
        """What it says to each question; a string: why it says nothing."""


@dataclass(frozen=True)
class Artifact:
    """A network on disk whose manifest and files are sound.

    Attributes:
        name, version: its own and its folders'.
        topology: name of the topology it was made for.
        blueprints: of that topology, in the order of the actions.
        observation: what it reads, as ``name/version``.
        sha256: of its manifest, which names those of its files.
        directory: where it is.
        shipped: whether it came with the package.
        about: what else the manifest tells.
    """

    name: str
    version: str
    topology: str
    blueprints: tuple[str, ...]
    observation: str
    sha256: str
    directory: Path
    shipped: bool
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def policy_version(self) -> str:
        """The version of the learned policy that decides with it."""
        return f"{self.name}-{self.version}"

    @property
    def order(self) -> tuple[Any, ...]:
        """Higher for later versions: 1.10.0 is later than 1.9.0."""
        parts = _DIGITS.split(self.version)
        return tuple((int(part), "") if part.isdigit() else (-1, part) for part in parts if part)

    def fits(self, topology: Topology) -> bool:
        """Whether its actions are those of a topology."""
        return (self.topology, self.blueprints) == (topology.name, topology.names)


@dataclass(frozen=True)
class Refused:
    """A folder laid out like an artifact that cannot be used.

    Attributes:
        name, version: of the folders.
        directory: where it is.
        shipped: whether it came with the package.
        reason: what is wrong, and what to do.
    """

    name: str
    version: str
    directory: Path
    shipped: bool
    reason: str


Found = Artifact | Refused


class Library:
    """Finds artifacts in a directory and in the package, and loads their networks; from any thread.

    Args:
        directory: laid out ``<name>/<version>/``; None: only what came with the package.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._known: dict[Path, tuple[_Stamp, Found]] = {}
        self._lock = threading.Lock()

    def look(self) -> tuple[Found, ...]:
        """What there is now. Only what has changed since the last look is read again."""
        with self._lock:
            try:
                from tamiyo_models.artifact import places
            except ImportError:
                # Without numpy there is nothing that could read an artifact.
                return ()
            there = list(places(self._directory))
            self._known = {place: self._examined(place, shipped) for place, shipped in there}
            return _without_doubles([found for _, found in self._known.values()])

    def load(self, artifact: Artifact, device: str) -> Network:
        """The network of an artifact, verified on the device.

        Raises:
            ModelRejectedError: if anything about it is not as it should be.
        """
        from tamiyo_models.artifact import ArtifactError, load_network
        from tamiyo_models.devices import best_device

        try:
            return load_network(artifact.directory, device=best_device() if device == "auto" else device)
        except ArtifactError as error:
            raise ModelRejectedError(str(error)) from error
        except ImportError as error:
            raise ModelRejectedError(
                f"{artifact.policy_version} cannot run here ({error}): pip install 'esper-tamiyo[models]'"
            ) from error
        except Exception as error:
            raise ModelRejectedError(
                f"{artifact.policy_version} could not be loaded on {device}: {type(error).__name__}: {error}"
            ) from error

    def _examined(self, place: Path, shipped: bool) -> tuple[_Stamp, Found]:
        stamp = _stamp(place)
        known = self._known.get(place)
        if known is not None and known[0] == stamp:
            return known
        return stamp, _read(place, shipped)


def can_run_on(device: str) -> bool:
    """Whether networks could run on a device as settings name it."""
    if not device.startswith("cuda"):
        return True
    try:
        from tamiyo_models.devices import sees_gpu
    except ImportError:
        return False
    return sees_gpu(device)


def _read(place: Path, shipped: bool) -> Found:
    from tamiyo_models.artifact import ArtifactError, read_manifest
    from tamiyo_models.manifest import MANIFEST_NAME

    name, version = map(_legible, place.parts[-2:])
    try:
        manifest = read_manifest(place, check_files=True)
        sha256 = hashlib.sha256((place / MANIFEST_NAME).read_bytes()).hexdigest()
    except (ArtifactError, OSError) as error:
        return Refused(name, version, place, shipped, _legible(str(error)))
    if (manifest.name, manifest.version) != (name, version):
        reason = f"{_legible(str(place))} holds {manifest.name}/{manifest.version}: name its folders so"
        return Refused(name, version, place, shipped, reason)
    about = manifest.model_dump(mode="json", include={"description", "metrics", "training"})
    return Artifact(
        name=name,
        version=version,
        topology=manifest.topology.name,
        blueprints=manifest.topology.blueprints,
        observation=manifest.observation,
        sha256=sha256,
        directory=place,
        shipped=shipped,
        about=about | {"formats": sorted(manifest.files)},
    )


def _without_doubles(found: Sequence[Found]) -> tuple[Found, ...]:
    """What came with the package goes before another of the same name and version."""
    by_version: dict[str, Found] = {}
    doubles: list[Found] = []
    for one in found:
        key = f"{one.name}-{one.version}"
        first = by_version.setdefault(key, one)
        same = isinstance(first, Artifact) and isinstance(one, Artifact) and first.sha256 == one.sha256
        if first is not one and not same:
            reason = f"{one.directory}: {key} is {first.directory} already; give it another version"
            reason = _legible(reason)
            doubles.append(Refused(one.name, one.version, one.directory, one.shipped, reason))
    return (*by_version.values(), *doubles)


def _legible(text: str) -> str:
    """Text of a path for anybody to read: bytes that are no UTF-8 are written out."""
    return text.encode(errors="backslashreplace").decode()


def _stamp(place: Path) -> _Stamp:
    """Differs when a file of the folder was written or replaced."""
    try:
        with os.scandir(place) as entries:
            states = sorted((entry.name, entry.stat()) for entry in entries)
    except OSError:
        return ()
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)
