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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from pydantic import JsonValue
from tamiyo_core.observation import ObservationSchema
from tamiyo_core.policy import Question
from tamiyo_leyline import Topology

from tamiyo_models.artifact import ArtifactError, load_network
from tamiyo_models.deployed import DeployedNetwork
from tamiyo_models.manifest import (
    MANIFEST_NAME,
    ArtifactFile,
    ArtifactTopology,
    FileFormat,
    Manifest,
    Normaliser,
    SelfTest,
    SelfTestRow,
    Training,
)
from tamiyo_models.network import ActorCritic
from tamiyo_models.onnx_graph import onnx_bytes
from tamiyo_models.torchscript import torchscript_bytes

TOLERANCE: Final = 1e-5
"""Of probabilities, between any two formats, devices and batch sizes."""
_NAMES: Final[dict[FileFormat, str]] = {"torchscript": "network.pt", "onnx": "network.onnx"}


@dataclass(frozen=True)
class Subject:
    """What is to be known of a network besides its weights.

    Attributes:
        name: of the artifact.
        version: of the artifact.
        description: one sentence for people.
        topology: whose blueprints it germinates.
        observation: what it reads.
        value_meaning: what its critic estimates, with the unit.
        normaliser: where its normalisation comes from.
        training: how it came to be.
        metrics: what was measured of it.
        questions: of the self-test; they should differ as what it will be asked does.
    """

    name: str
    version: str
    description: str
    topology: Topology
    observation: ObservationSchema
    value_meaning: str
    normaliser: Normaliser
    training: Training
    questions: Sequence[Question]
    metrics: Mapping[str, JsonValue] = field(default_factory=dict)


def export_network(network: ActorCritic, subject: Subject, directory: Path) -> Manifest:
    """Write the artifact of a network to a directory, and load it once in every format.

    Args:
        network: trained, on the CPU.
        subject: the rest of the manifest.
        directory: where it goes; an artifact that is there is replaced.

    Raises:
        ArtifactError: if what was written does not answer as the network does; the directory is unchanged.
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
        _put(draft, directory, Path(folder) / "former")
    return manifest


def self_test(network: ActorCritic, questions: Sequence[Question]) -> SelfTest:
    """The questions with what the network answers before it is exported.

    Raises:
        ArtifactError: if an answer is not finite.
    """
    features = torch.tensor([question.features for question in questions])
    mask = torch.tensor([question.mask for question in questions])
    with torch.inference_mode():
        log_probs, value, uncertainty = network(features, mask)
    if not (value.isfinite().all() and log_probs[mask].isfinite().all()):
        raise ArtifactError("the network's answers to the self-test are not finite: it cannot be exported")
    answers = zip(log_probs.tolist(), value.tolist(), uncertainty.tolist(), strict=True)
    rows = tuple(
        SelfTestRow(
            features=tuple(row),
            mask=question.mask,
            log_probs=tuple(None if p == -math.inf else p for p in probabilities),
            value=estimate,
            uncertainty=disagreement,
        )
        for row, question, (probabilities, estimate, disagreement) in zip(
            features.tolist(), questions, answers, strict=True
        )
    )
    return SelfTest(tolerance=TOLERANCE, rows=rows)


def _manifest(network: ActorCritic, subject: Subject, files: Mapping[FileFormat, bytes]) -> Manifest:
    shape, topology = network.shape, subject.topology
    return Manifest(
        name=subject.name,
        version=subject.version,
        description=subject.description,
        topology=ArtifactTopology(name=topology.name, blueprints=topology.names),
        actions=topology.layout.names,
        observation=subject.observation.key,
        feature_names=subject.observation.feature_names,
        hidden=shape.hidden,
        head=shape.head,
        actors=shape.actors,
        value_meaning=subject.value_meaning,
        normaliser=subject.normaliser,
        files={file_format: _entry(file_format, data) for file_format, data in files.items()},
        training=subject.training,
        metrics=dict(subject.metrics),
        self_test=self_test(network, subject.questions),
    )


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
