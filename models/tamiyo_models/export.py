"""Export: a trained network becomes an artifact that says of itself what it is.

The files are written beside the place they go to and moved there in one step: nobody ever sees half an
artifact, and an interrupted export leaves the old one as it was.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from pydantic import ValidationError
from tamiyo_core.observation import OBSERVATIONS
from tamiyo_leyline import action_layout

from tamiyo_models.artifact import ArtifactError, load_network
from tamiyo_models.deployed import DeployedNetwork
from tamiyo_models.manifest import (
    MANIFEST_NAME,
    ArtifactFile,
    FileFormat,
    Manifest,
    SelfTest,
    SelfTestQuestion,
    SelfTestRow,
    Subject,
    first_fault,
)
from tamiyo_models.network import ActorCritic
from tamiyo_models.onnx_graph import onnx_bytes
from tamiyo_models.torchscript import torchscript_bytes

TOLERANCE: Final = 1e-5
"""Of probabilities, between any two formats, devices and batch sizes."""
_NAMES: Final[dict[FileFormat, str]] = {"torchscript": "network.pt", "onnx": "network.onnx"}


def require_place(directory: Path, *, replace: bool = False) -> None:
    """Return if an artifact may be written to a directory: a version that is served must not become another.

    Args:
        directory: where it is to go.
        replace: whether it may take the place of another artifact.

    Raises:
        ArtifactError: if something is there that would be lost.
    """
    if not (directory.exists() or directory.is_symlink()):
        return
    if not directory.is_dir():
        raise ArtifactError(f"{directory} is in the way: no folder; choose another version")
    there = {path.name for path in directory.iterdir()}
    foreign = sorted(there - {MANIFEST_NAME, *_NAMES.values()})
    if foreign:
        held = ", ".join(foreign[:3])
        raise ArtifactError(f"{directory} holds what is no part of an artifact ({held}); take it away first")
    if there and not replace:
        raise ArtifactError(
            f"{directory} is an artifact already; choose another version, or replace it (--force)"
        )


def export_network(
    network: ActorCritic, subject: Subject, directory: Path, *, replace: bool = False
) -> Manifest:
    """Write the artifact of a network to a directory, and load it once in every format.

    Args:
        network: trained, on the CPU.
        subject: the rest of the manifest.
        directory: where it goes.
        replace: whether it may take the place of another artifact.

    Raises:
        ArtifactError: if something else is in the directory, if the network does not fit what is said of it,
            or if what was written does not answer as the network does; the directory is unchanged.
        OSError: if it cannot be written.
    """
    network = network.eval()
    deployed = DeployedNetwork(network).eval()
    files: dict[FileFormat, bytes] = {
        "torchscript": torchscript_bytes(deployed),
        "onnx": onnx_bytes(deployed),
    }
    manifest = _manifest(network, subject, files)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=directory.parent) as folder:
        draft = Path(folder) / "draft"
        draft.mkdir()
        for file_format, data in files.items():
            _write(draft / _NAMES[file_format], data)
        _write(draft / MANIFEST_NAME, manifest.model_dump_json(indent=1).encode() + b"\n")
        for file_format in files:
            load_network(draft, file_format=file_format)
        require_place(directory, replace=replace)
        _put(draft, directory, Path(folder) / "former")
    return manifest


def self_test(network: ActorCritic, questions: Sequence[SelfTestQuestion]) -> SelfTest:
    """The questions with what the network answers before it is exported.

    Raises:
        ArtifactError: if a question has another number of features or actions than the network, or an answer
            is not finite.
    """
    expected = network.shape.features, network.shape.actions
    for number, question in enumerate(questions):
        if (len(question.features), len(question.mask)) != expected:
            raise ArtifactError(
                f"questions.{number} has {len(question.features)} features and {len(question.mask)} flags;"
                f" the network has {expected[0]} features and {expected[1]} actions"
            )
    features = torch.tensor([question.features for question in questions])
    mask = torch.tensor([question.mask for question in questions])
    with torch.inference_mode():
        log_probs, value, uncertainty = network(features, mask)
    if not (value.isfinite().all() and log_probs[mask].isfinite().all()):
        raise ArtifactError("the network's answers to the self-test are not finite: it cannot be exported")
    answers = zip(features.tolist(), log_probs.tolist(), value.tolist(), uncertainty.tolist(), strict=True)
    rows = tuple(
        SelfTestRow(
            features=tuple(row),
            mask=question.mask,
            log_probs=tuple(None if p == -math.inf else p for p in probabilities),
            value=estimate,
            uncertainty=disagreement,
        )
        for question, (row, probabilities, estimate, disagreement) in zip(questions, answers, strict=True)
    )
    # A value is off by as many of its standard deviations as a probability by itself.
    value_tolerance = TOLERANCE * max(1.0, float(network.value_scale))
    return SelfTest(tolerance=TOLERANCE, value_tolerance=value_tolerance, rows=rows)


def _manifest(network: ActorCritic, subject: Subject, files: Mapping[FileFormat, bytes]) -> Manifest:
    shape, schema = network.shape, OBSERVATIONS.get(subject.observation)
    actions = action_layout(subject.topology.blueprints).names
    if schema is None:
        raise ArtifactError(
            f"observation {subject.observation!r} is not known; known: {', '.join(OBSERVATIONS)}"
        )
    if (shape.features, shape.actions) != (len(schema.feature_names), len(actions)):
        raise ArtifactError(
            f"the network has {shape.features} features and {shape.actions} actions; {schema.key} has"
            f" {len(schema.feature_names)}, topology {subject.topology.name} {len(actions)}"
        )
    claims = subject.model_dump(exclude={"questions"}) | {
        "actions": actions,
        "feature_names": schema.feature_names,
        "hidden": shape.hidden,
        "head": shape.head,
        "actors": shape.actors,
        "files": {file_format: _entry(file_format, data) for file_format, data in files.items()},
    }
    try:
        return Manifest.model_validate(claims | {"self_test": self_test(network, subject.questions)})
    except ValidationError as error:
        raise ArtifactError(f"{subject.name}/{subject.version}: {first_fault(error)}") from error


def _entry(file_format: FileFormat, data: bytes) -> ArtifactFile:
    return ArtifactFile(path=_NAMES[file_format], sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put(draft: Path, directory: Path, former: Path) -> None:
    """Move a directory into the place of another. The other is moved away first, and back if that fails."""
    if not directory.exists():
        draft.rename(directory)
        return
    directory.rename(former)
    try:
        draft.rename(directory)
    except OSError:
        former.rename(directory)
        raise
    shutil.rmtree(former)
