"""Artifacts: networks on disk, read with suspicion, and asked.

::

    read_manifest ── its own claims agree with each other and with this version of Tamiyo
         │
    load_network ─── file: a plain file in the directory, of the size and SHA-256 the manifest names
         │           claim: really a TorchScript archive or an ONNX graph, with nothing but a network in it
         │           self-test: answers on this device as the trained network did; warm-up
         ▼
      Network ────── advise: many questions, one forward pass

Nothing is ever unpickled by Python. Whatever is wrong is an `ArtifactError`, before the network can be asked.
torch and ONNX Runtime are imported when a network is loaded, not with this module.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from tamiyo_core.observation import OBSERVATIONS
from tamiyo_core.policy import Question, RowAdvice
from tamiyo_leyline import action_layout

from tamiyo_models.advice import Advisor
from tamiyo_models.claims import FalseClaimError, require_onnx, require_torchscript
from tamiyo_models.manifest import (
    MANIFEST_NAME,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    ArtifactFile,
    FileFormat,
    Manifest,
    first_fault,
)
from tamiyo_models.runner import NotReadableError, OnnxRunner, Runner, TorchScriptRunner

SHIPPED: Final = Path(__file__).parent / "artifacts"
"""Directory of the artifacts that come with the package, laid out ``<name>/<version>/``."""
_CLAIMS: Final = {"torchscript": require_torchscript, "onnx": require_onnx}


class ArtifactError(Exception):
    """An artifact cannot be used; the message says which file, what is wrong and what to do.

    Keep the network that serves, if there is one, and get the artifact again from where it was made.
    """


class Network:
    """A verified network, ready to be asked. Threads take turns: questions are staged in memory of its own.

    Attributes:
        manifest: of the artifact.
        sha256: of the manifest's bytes, which name the SHA-256 of every file: it stands for the whole.
        device: where it runs, ``cpu`` or ``cuda:n``.
        file_format: the file it was read from.
    """

    def __init__(
        self, manifest: Manifest, sha256: str, device: str, file_format: FileFormat, runner: Runner
    ) -> None:
        self.manifest: Final = manifest
        self.sha256: Final = sha256
        self.device: Final = device
        self.file_format: Final = file_format
        self._advisor = Advisor(manifest, runner)
        self._turn = threading.Lock()

    def advise(self, questions: Sequence[Question]) -> list[RowAdvice | str]:
        """What the network says to each question, in one forward pass.

        Args:
            questions: rows as the manifest's observation schema gives them; more than one pass can take are
                asked in several.

        Returns:
            For each question the advice, or why there is none: the observation is far outside the training
            range, or the network's answer is not finite. One such row changes nothing for the others.

        Raises:
            ValueError: if a question has the wrong length, or no legal action; nothing was asked then.
            RuntimeError: if the forward pass itself fails.
        """
        with self._turn:
            return self._advisor.advise(questions)

    def verify(self) -> float:
        """Ask the questions of the self-test and compare.

        Returns:
            The largest difference of a probability.

        Raises:
            ArtifactError: if an answer differs by more than the manifest's tolerance.
        """
        try:
            return self._advisor.verify()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(
                f"{self.manifest.policy_version}, {self.file_format} on {self.device}: the self-test failed:"
                f" {error}; export the network again"
            ) from error

    def warm_up(self) -> None:
        """Run every batch size that is prepared once, so that the first question is as fast as the next."""
        self._advisor.warm_up()


def places(own: Path | None) -> Iterator[tuple[Path, bool]]:
    """The directories laid out like artifacts, and whether each came with the package.

    Of two with the same name and version the first one counts: what came with the package.

    Args:
        own: directory laid out ``<name>/<version>/``; None: only what came with the package.
    """
    for root, shipped in ((SHIPPED, True), (own, False)):
        if root is not None:
            for manifest in sorted(root.glob(f"*/*/{MANIFEST_NAME}")):
                yield manifest.parent, shipped


def read_manifest(directory: Path, *, check_files: bool = False) -> Manifest:
    """The manifest of an artifact, checked for contradictions.

    Args:
        directory: of the artifact.
        check_files: whether to check size and SHA-256 of every file too.

    Raises:
        ArtifactError: if it is missing, damaged, or does not fit this version of Tamiyo.
    """
    manifest, _ = _read_manifest(directory)
    if check_files:
        for entry in manifest.files.values():
            read_file(directory, entry)
    return manifest


def load_network(directory: Path, *, device: str = "cpu", file_format: FileFormat | None = None) -> Network:
    """A network that was verified on the device and is warm.

    Args:
        directory: of the artifact.
        device: ``cpu``, ``cuda`` or ``cuda:n``.
        file_format: which file to use; None: TorchScript on CUDA; on the CPU ONNX, which is faster there, if
            the artifact has it and ONNX Runtime is installed.

    Raises:
        ArtifactError: if anything about the artifact is not as its manifest says, or the device is missing.
    """
    manifest, sha256 = _read_manifest(directory)
    chosen = file_format or _default_format(manifest, device)
    entry = manifest.files.get(chosen)
    if entry is None:
        raise ArtifactError(f"{directory} has no {chosen} file; it has {', '.join(manifest.files)}")
    data = read_file(directory, entry)
    try:
        _CLAIMS[chosen](data)
        runner = _runner(data, manifest, device, chosen)
    except (FalseClaimError, NotReadableError) as error:
        raise ArtifactError(f"{directory / entry.path}: {error}") from error
    network = Network(manifest, sha256, device, chosen, runner)
    network.verify()
    network.warm_up()
    return network


def read_file(directory: Path, entry: ArtifactFile) -> bytes:
    """The bytes of one file of an artifact, which are what the manifest says they are.

    Raises:
        ArtifactError: if the file is missing, leaves the directory, or has other bytes.
    """
    data = _read(directory, entry.path, MAX_FILE_BYTES)
    if len(data) != entry.size:
        raise ArtifactError(
            f"{directory / entry.path} has {len(data)} bytes, its manifest says {entry.size}; get it again"
        )
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ArtifactError(
            f"{directory / entry.path} does not have the sha256 its manifest names; get it again"
        )
    return data


def _read_manifest(directory: Path) -> tuple[Manifest, str]:
    data = _read(directory, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise ArtifactError(f"{directory / MANIFEST_NAME}: {first_fault(error)}") from error
    for fault in _contradictions(manifest):
        raise ArtifactError(f"{directory / MANIFEST_NAME}: {fault}")
    return manifest, hashlib.sha256(data).hexdigest()


def _contradictions(manifest: Manifest) -> list[str]:
    """What does not fit: the manifest with itself, or with the schemas of this version."""
    schema = OBSERVATIONS.get(manifest.observation)
    if schema is None:
        known = ", ".join(OBSERVATIONS)
        return [f"observation {manifest.observation!r} is not known here; known are {known}"]
    features, actions = len(schema.feature_names), action_layout(manifest.topology.blueprints).names
    faults = []
    if manifest.feature_names != schema.feature_names:
        faults.append(f"feature_names are not those of {schema.key}, or in another order")
    if manifest.actions != actions:
        faults.append(f"actions are {', '.join(manifest.actions)}; its topology has {', '.join(actions)}")
    if len(manifest.normaliser.ranges) != features:
        faults.append(f"normaliser has {len(manifest.normaliser.ranges)} ranges for {features} features")
    for number, row in enumerate(manifest.self_test.rows):
        sizes = len(row.features), len(row.mask), len(row.log_probs)
        if sizes != (features, len(actions), len(actions)):
            faults.append(f"self_test.rows.{number} has {sizes}, expected {features} and {len(actions)}")
    return faults


def _default_format(manifest: Manifest, device: str) -> FileFormat:
    if device == "cpu" and "onnx" in manifest.files and importlib.util.find_spec("onnxruntime") is not None:
        return "onnx"
    return "torchscript"


def _runner(data: bytes, manifest: Manifest, device: str, file_format: FileFormat) -> Runner:
    features, actions = len(manifest.feature_names), len(manifest.actions)
    if device == "cpu":
        kind = OnnxRunner if file_format == "onnx" else TorchScriptRunner
        return kind(data, features, actions)
    if not device.startswith("cuda") or file_format != "torchscript":
        raise NotReadableError(f"{file_format} does not run on {device!r}; use cpu, or torchscript on cuda")
    from tamiyo_models.cuda import CudaRunner

    return CudaRunner(data, features, actions, device)


def _read(directory: Path, name: str, limit: int) -> bytes:
    """The bytes of a plain file that lies in a directory, links out of it not followed."""
    path = directory / name
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(directory.resolve(strict=True)):
            raise ArtifactError(f"{path} leads out of its directory, to {real}; put the file itself there")
        # Not blocking: a pipe in place of the file must not hold the caller.
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ArtifactError(f"{path} is no plain file")
            data = file.read(limit + 1)
    except (OSError, RuntimeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    if len(data) > limit:
        raise ArtifactError(f"{path} has more than {limit} bytes; no artifact of Tamiyo is that large")
    return data
