"""Artifacts by the names people know them by."""

from __future__ import annotations

import os
from pathlib import Path

from tamiyo_models import SHIPPED, ArtifactError
from tamiyo_models.artifact import places
from tamiyo_models.manifest import MANIFEST_NAME


def artifact_named(artifact: Path) -> Path:
    """The directory of an artifact.

    Args:
        artifact: that directory, or ``NAME/VERSION`` or ``NAME-VERSION`` of one that comes with Tamiyo or is
            in the folder that `TAMIYO_MODELS` names.

    Raises:
        ArtifactError: if there is none; the message lists those there are.
    """
    if artifact.exists():
        return artifact
    known = _known()
    for name, directory in known.items():
        if str(artifact) in (name, name.replace("/", "-")):
            return directory
    there_are = ", ".join(known) or "none"
    raise ArtifactError(
        f"there is no artifact {artifact}; there are {there_are}, or name the directory of one"
    )


def require_free(out: Path, name: str, version: str, *, replace: bool) -> Path:
    """The directory that a new artifact of that name and version goes to.

    Args:
        out: models directory.
        name: of the artifact.
        version: of the artifact.
        replace: whether it may take the place of another.

    Raises:
        ArtifactError: if it cannot go there, or no service would take it.
    """
    from tamiyo_models.export import require_place

    if (SHIPPED / name / version).exists() and out.resolve() != SHIPPED.resolve():
        raise ArtifactError(
            f"{name}/{version} comes with Tamiyo, and services refuse another of that version; choose"
            " another --version"
        )
    directory = out / name / version
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        raise ArtifactError(f"{existing} is no folder that can be written to; name another with --out")
    require_place(directory, replace=replace)
    return directory


def twin_of(directory: Path) -> Path | None:
    """Of an artifact that comes with Tamiyo: another of its name and version in the folder of one's own."""
    own = os.environ.get("TAMIYO_MODELS")
    if not own or directory.parent.parent != SHIPPED:
        return None
    other = Path(own) / directory.parent.name / directory.name
    if not (other / MANIFEST_NAME).is_file():
        return None
    same = (other / MANIFEST_NAME).read_bytes() == (directory / MANIFEST_NAME).read_bytes()
    return None if same else other


def _known() -> dict[str, Path]:
    """Directories by ``NAME/VERSION``."""
    own = os.environ.get("TAMIYO_MODELS")
    known: dict[str, Path] = {}
    for directory, _ in places(Path(own) if own else None):
        known.setdefault(f"{directory.parent.name}/{directory.name}", directory)
    return known
