"""The manifest of an artifact: what a network is, what it was made from, and how to know it again.

An artifact is a directory ``<models>/<name>/<version>/`` with ``manifest.json`` and one file for each format
of the network, all named in the manifest with their SHA-256.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

FORMAT_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"
MAX_MANIFEST_BYTES: Final = 8 * 2**20
MAX_FILE_BYTES: Final = 64 * 2**20

FileFormat = Literal["torchscript", "onnx"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
LogProb = Annotated[float, Field(le=1e-3)]
"""Natural logarithm of a probability, which is at most 0 but for rounding."""


class Part(BaseModel):
    """A part of a manifest: immutable, nothing unknown, every number finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArtifactFile(Part):
    """One file of the network."""

    path: str = Field(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}$",
        description="Its name: it lies beside the manifest, never elsewhere.",
    )
    sha256: Digest = Field(description="Of its bytes.")
    size: int = Field(gt=0, le=MAX_FILE_BYTES, description="Bytes.")


class ArtifactTopology(Part):
    """The blueprints a network knows, in the order of its actions."""

    name: str = Field(min_length=1, max_length=64)
    blueprints: tuple[str, ...] = Field(min_length=1, max_length=64)


class FeatureRange(Part):
    """What a feature was in training."""

    lowest: float
    highest: float
    scale: float = Field(gt=0.0, description="Its natural scale, as the observation schema has it.")
    used: bool = Field(True, description="Whether the network reads it; false: its weight is 0.")

    @property
    def reach(self) -> float:
        """How far outside its range the network can still say something: that width, at least its scale."""
        return max(self.highest - self.lowest, self.scale)


class Normaliser(Part):
    """Where the numbers inside the network's normalisation come from; the numbers are in the network."""

    count: int = Field(ge=0, description="Rows they were computed from.")
    ranges: tuple[FeatureRange, ...] = Field(description="One for each feature.")


class SelfTestRow(Part):
    """A question and the answer the trained network gave before it was exported."""

    features: tuple[float, ...]
    mask: tuple[bool, ...]
    log_probs: tuple[LogProb | None, ...] = Field(description="null: not legal.")
    value: float
    uncertainty: float


class SelfTest(Part):
    """What a loaded network must answer, on the device it runs on."""

    tolerance: float = Field(gt=0.0, le=1e-3, description="Of probabilities and uncertainties.")
    value_tolerance: float = Field(gt=0.0, description="Of values, in their unit.")
    rows: tuple[SelfTestRow, ...] = Field(min_length=1, max_length=1024)


class Training(Part):
    """How the network came to be."""

    algorithm: str
    config: dict[str, JsonValue] = Field(description="Every setting of the training.")
    seeds: tuple[int, ...] = Field(description="Of every random choice.")
    data: dict[str, JsonValue] = Field(description="What it learned from, with versions.")
    libraries: dict[str, str] = Field(description="Versions of what it was trained with.")


class SelfTestQuestion(Part):
    """A question of the self-test, before a network has answered it."""

    features: tuple[float, ...]
    mask: tuple[bool, ...]


class Subject(Part):
    """What is to be known of a trained network besides its weights."""

    name: Name
    version: Name
    description: str = Field(description="One sentence for people.")
    topology: ArtifactTopology
    observation: str = Field(description="Schema of the features, name/version.")
    value_meaning: str = Field(description="What the critic's value says, with its unit.")
    normaliser: Normaliser
    training: Training
    metrics: dict[str, JsonValue] = Field(default_factory=dict)
    questions: tuple[SelfTestQuestion, ...] = Field(
        min_length=1, max_length=1024, description="They should differ as what it will be asked does."
    )


class Manifest(Part):
    """Everything to be known of an artifact."""

    format_version: Literal[1] = FORMAT_VERSION
    name: Name
    version: Name
    description: str
    topology: ArtifactTopology
    actions: tuple[str, ...] = Field(description="In the order of the network's columns.")
    observation: str = Field(description="Schema of the features, name/version.")
    feature_names: tuple[str, ...] = Field(description="In the order the network reads them.")
    hidden: int = Field(gt=0, le=4096, description="Units of the trunk's layers.")
    head: int = Field(gt=0, le=4096, description="Units of each head.")
    actors: int = Field(gt=0, le=64, description="Size of the ensemble.")
    value_meaning: str = Field(description="What the critic's value says, with its unit.")
    normaliser: Normaliser
    files: dict[FileFormat, ArtifactFile] = Field(min_length=1)
    training: Training
    metrics: dict[str, JsonValue]
    self_test: SelfTest

    @property
    def policy_version(self) -> str:
        """The artifact as runs name it: ``<name>-<version>``."""
        return f"{self.name}-{self.version}"


def first_fault(error: ValidationError) -> str:
    """What is wrong first, in a line: the field and why."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
