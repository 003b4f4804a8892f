"""Artifacts for tests: copies of the one that Tamiyo brings, some of them spoiled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tamiyo_models.artifact import SHIPPED

NAME = "imitation-cnn"
SHIPPED_VERSION = "1.0.0"
SHIPPED_POLICY = f"{NAME}-{SHIPPED_VERSION}"
LEARNED: dict[str, Any] = {"policy": {"name": "learned"}}


def put_artifact(folder: Path, version: str = "1.1.0", name: str = "mine") -> Path:
    """A sound artifact in a folder of models; it answers as the one that Tamiyo brings."""
    place = folder / name / version
    shutil.copytree(SHIPPED / NAME / SHIPPED_VERSION, place)
    rewrite(place, lambda manifest: manifest | {"name": name, "version": version})
    return place


def put_for(folder: Path, topology: str, *blueprints: str) -> Path:
    """A sound artifact for another topology of as many blueprints."""
    place = put_artifact(folder, name=f"mine-{topology}")
    actions = ["WAIT", *(f"GERMINATE_{blueprint.upper()}" for blueprint in blueprints), "FOSSILIZE", "CULL"]
    about = {"name": topology, "blueprints": list(blueprints)}
    rewrite(place, lambda manifest: manifest | {"topology": about, "actions": actions})
    return place


def rewrite(place: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Write an artifact's manifest anew."""
    path = place / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


def truncate(place: Path) -> None:
    """Cut the network's files in half."""
    for path in place.glob("network.*"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_self_test(place: Path) -> None:
    """Have the manifest expect other answers than the network gives."""

    def other(manifest: dict[str, Any]) -> dict[str, Any]:
        manifest["self_test"]["rows"][0]["value"] += 1.0
        return manifest

    rewrite(place, other)


def reorder_features(place: Path) -> None:
    """Have the manifest name the features in another order."""
    rewrite(place, lambda manifest: manifest | {"feature_names": manifest["feature_names"][::-1]})


def replace_pickle(place: Path) -> None:
    """Put a pickle where the manifest has no such file, and nothing where it has one."""
    for path in place.glob("network.*"):
        path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
