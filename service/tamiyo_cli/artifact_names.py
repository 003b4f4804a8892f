"""Artifacts by the names people know them by."""

from __future__ import annotations

import os
from pathlib import Path

from tamiyo_models import SHIPPED, ArtifactError

_MANIFEST = "manifest.json"


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


def _known() -> dict[str, Path]:
    """Directories by ``NAME/VERSION``; one's own before those that come with Tamiyo."""
    own = os.environ.get("TAMIYO_MODELS")
    folders = (SHIPPED, *([Path(own)] if own else ()))
    found = (manifest.parent for folder in folders for manifest in sorted(folder.glob(f"*/*/{_MANIFEST}")))
    return {f"{directory.parent.name}/{directory.name}": directory for directory in found}
