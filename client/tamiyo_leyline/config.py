"""How a run is to be decided: body of ``PUT /runs/{run_id}``. Every part is optional."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from tamiyo_leyline.constraints import Explained, WholeNumber, fault, listed
from tamiyo_leyline.enums import AccuracyUnit, Objective
from tamiyo_leyline.fields import (
    MAX_SEEDS,
    Annotations,
    BlueprintName,
    Count,
    Identifier,
    NonNegative,
    Number,
    Probability,
    Request,
)
from tamiyo_leyline.topology import TOPOLOGIES, Topology, topology_named

MAX_EPOCHS: Final = 1_000_000
MAX_SHADOWS: Final = 8
Epochs = Annotated[int, WholeNumber(0, MAX_EPOCHS)]
CullStage = Literal["TRAINING", "BLENDING", "SHADOWING"]
CULL_STAGES: Final[tuple[CullStage, ...]] = ("TRAINING", "BLENDING", "SHADOWING")


DEFAULT_DROP: Final = 2.0
DEFAULT_PATIENCE: Final = 5


def _number_or_map(value: object) -> str:
    return "<map>" if isinstance(value, dict) else "<number>"


def _drop_of_every_stage(drops: dict[CullStage, float]) -> dict[CullStage, float]:
    return dict.fromkeys(CULL_STAGES, DEFAULT_DROP) | drops


def _patience_of_every_stage(epochs: dict[CullStage, int]) -> dict[CullStage, int]:
    return dict.fromkeys(CULL_STAGES, DEFAULT_PATIENCE) | epochs


DropByStage = Annotated[
    Annotated[NonNegative, Tag("<number>")]
    | Annotated[dict[CullStage, NonNegative], AfterValidator(_drop_of_every_stage), Tag("<map>")],
    Discriminator(_number_or_map),
]
"""Percentage points, one number or one for each stage."""
EpochsByStage = Annotated[
    Annotated[Epochs, Tag("<number>")]
    | Annotated[dict[CullStage, Epochs], AfterValidator(_patience_of_every_stage), Tag("<map>")],
    Discriminator(_number_or_map),
]
"""Epochs, one number or one for each stage."""


class PolicyChoice(Request):
    """Which policy decides."""

    name: Identifier = Field("heuristic", description="Name of an installed policy.")
    version: Identifier | None = Field(None, description="Version to pin; null: the active one.")


class HeuristicConfig(Request):
    """Settings of the hand-written policy; explicit settings win over a preset."""

    preset: Literal["report"] | None = Field(
        None, description='"report" restores the behaviour of the earlier in-process version.'
    )
    blueprint_rotation: (
        Annotated[tuple[BlueprintName, ...], Field(max_length=256, strict=False, fail_fast=True)] | None
    ) = Field(None, description="Blueprints in the order they are tried; default: the topology's order.")
    plateau_epochs_to_germinate: Epochs = Field(
        3, description="Measured reports without improvement before a germination."
    )
    min_epochs_before_germinate: Epochs = Field(5, description="No germination before this epoch.")
    max_concurrent_seeds: Annotated[int, WholeNumber(1, MAX_SEEDS)] = Field(
        1, description="Live seeds (a pending germination included) at one time."
    )
    cull_if_accuracy_drops_by: DropByStage = Field(
        DEFAULT_DROP,
        description="Loss since the stage began that costs a seed its life, percentage points: one number, "
        "or a map by stage (a stage left out: 2.0).",
    )
    cull_after_epochs_without_improvement: EpochsByStage = Field(
        DEFAULT_PATIENCE,
        description="Epochs in stage before that loss counts: one number, or a map by stage "
        "(a stage left out: 5).",
    )
    blend_settle_epochs: Epochs | None = Field(
        3, description="In BLENDING, epochs after alpha first reached 0.95 before it counts; null: at once."
    )
    cull_after_stalled_epochs: Epochs | None = Field(
        20, description="Epochs without a new best of the stage's improvement; null disables."
    )
    min_gradient_health: Probability = Field(0.3, description="Below it a report is unhealthy.")
    unhealthy_epochs_to_cull: Annotated[int, WholeNumber(1, MAX_EPOCHS)] | None = Field(
        2, description="Unhealthy reports in a row that cost a seed its life; null disables."
    )
    min_probation_epochs: Epochs = Field(1, description="Epochs in PROBATIONARY before a verdict.")
    max_probation_epochs: Epochs = Field(5, description="Epochs after which the dead band no longer waits.")
    min_improvement_to_fossilize: Number = Field(0.0, description="Percentage points a seed must be worth.")
    probation_dead_band: NonNegative = Field(
        0.25, description="Percentage points around that threshold in which the verdict waits."
    )
    improvement_measure: Literal["attributed", "total"] = Field(
        "attributed", description="Which improvement the verdict reads."
    )
    embargo_epochs_after_cull: Epochs = Field(
        5, description="Epochs without germination after a cull took effect; 0 disables the embargo."
    )
    blueprint_penalty_on_cull: NonNegative = Field(2.0, description="Added when a cull takes effect.")
    blueprint_penalty_decay: Probability = Field(0.5, description="What is left after the decay epochs.")
    blueprint_penalty_decay_epochs: Annotated[int, WholeNumber(1, MAX_EPOCHS)] = Field(
        50, description="Epochs over which a penalty falls to that share."
    )
    blueprint_penalty_threshold: NonNegative = Field(
        1.0, description="A blueprint with this penalty or more is barred."
    )
    blueprint_exploration: Probability = Field(
        0.0, description="Chance of a uniform choice among the unbarred blueprints."
    )

    @model_validator(mode="after")
    def _probation_is_ordered(self) -> HeuristicConfig:
        # With a preset the order can only be judged once the preset has been applied, by RunConfig.
        if self.preset is None:
            _require_order(self, "max_probation_epochs")
        return self


def _require_order(heuristic: HeuristicConfig, field: str) -> None:
    low, high = heuristic.min_probation_epochs, heuristic.max_probation_epochs
    if high < low:
        preset = f" (set by preset {heuristic.preset})" if heuristic.preset else ""
        raise fault(
            "probation_order", field, f"is {high}{preset}, but must be at least min_probation_epochs, {low}"
        )


class LearnedConfig(Request):
    """Settings of the learned policy."""

    deterministic: bool = Field(True, description="Take the most probable action instead of sampling.")
    temperature: Annotated[
        float,
        Field(gt=0.0, le=100.0, allow_inf_nan=False),
        Explained("temperature", "must be greater than 0 and at most 100"),
    ] = Field(1.0, description="Divides the logits when sampling.")


class TrackerConfig(Request):
    """Settings of the signal tracker."""

    plateau_threshold: NonNegative = Field(
        0.5, description="Smoothed improvement that counts: percentage points (val_loss: percent)."
    )
    plateau_smoothing: Annotated[
        float,
        Field(ge=0.0, lt=1.0, allow_inf_nan=False),
        Explained("smoothing", "must be at least 0 and less than 1"),
    ] = Field(
        0.7, description="Weight of the past in the moving average of the improvement; 0: the raw delta."
    )
    history_window: Annotated[int, WholeNumber(1, 1000)] = Field(
        10, description="Measured values kept, for the host and for each seed."
    )


class HostDescription(Request):
    """What is known of the host network and its data."""

    parameters: Count | None = Field(None, description="Number of parameters of the host.")
    train_examples: Count | None = Field(None, description="Size of the training set.")
    normalised: bool | None = Field(None, description="Whether the host has normalisation layers.")


PRESETS: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "report": {
        "heuristic": {
            "blueprint_penalty_threshold": 3.0,
            "blueprint_penalty_decay_epochs": 1,
            "cull_after_stalled_epochs": None,
            "probation_dead_band": 0.0,
            "blend_settle_epochs": None,
            "max_probation_epochs": 1,
            "unhealthy_epochs_to_cull": None,
            "improvement_measure": "total",
        },
        "tracker": {"plateau_smoothing": 0.0},
    }
}
"""What each preset sets, by section."""


def _resolve_topology(value: object) -> object:
    if isinstance(value, str):
        return topology_named(value)
    if isinstance(value, dict | Topology):
        return value
    raise ValueError(f"must be one of {', '.join(TOPOLOGIES)}, or an object with a name and blueprints")


TopologyChoice = Annotated[
    Topology, BeforeValidator(_resolve_topology, json_schema_input_type=str | Topology)
]


class RunConfig(Request):
    """Everything that shapes a run's decisions; validated, it has all defaults filled in."""

    topology: TopologyChoice = Field(
        default=TOPOLOGIES["cnn"],
        description="A built-in name (cnn, transformer) or a named list of blueprints.",
    )
    policy: PolicyChoice = Field(
        default=PolicyChoice.model_construct(), description="The policy that decides."
    )
    heuristic: HeuristicConfig = Field(
        default=HeuristicConfig.model_construct(), description="The heuristic's settings."
    )
    learned: LearnedConfig = Field(
        default=LearnedConfig.model_construct(), description="The learned policy's settings."
    )
    tracker: TrackerConfig = Field(
        default=TrackerConfig.model_construct(), description="The tracker's settings."
    )
    objective: Objective = Field(
        Objective.VAL_ACCURACY, description="val_accuracy, or val_loss for loss-only tasks.", strict=False
    )
    accuracy_unit: AccuracyUnit = Field(
        AccuracyUnit.PERCENT, description="percent: 0–100; fraction: 0–1, converted on arrival.", strict=False
    )
    max_epochs: Annotated[int, WholeNumber(1, 1_000_000_000)] = Field(
        50, description="Epochs the training is planned to take."
    )
    host: HostDescription = Field(default=HostDescription.model_construct(), description="The host network.")
    labels: Annotations = Field(default_factory=dict, description="The operator's own keys and values.")
    shadow: Annotated[tuple[PolicyChoice, ...], Field(max_length=MAX_SHADOWS, strict=False)] = Field(
        (), description="Policies that decide too, after the reply and without effect, to be compared."
    )

    @model_validator(mode="after")
    def _fill_in(self) -> RunConfig:
        heuristic, tracker = self.heuristic, self.tracker
        if heuristic.preset is not None:
            preset = PRESETS[heuristic.preset]
            heuristic = heuristic.model_copy(update=_unset(preset["heuristic"], heuristic))
            tracker = tracker.model_copy(update=_unset(preset["tracker"], tracker))
        if heuristic.blueprint_rotation is None:
            heuristic = heuristic.model_copy(update={"blueprint_rotation": self.topology.names})
        _require_order(heuristic, "heuristic.max_probation_epochs")
        _require_known(heuristic.blueprint_rotation or (), self.topology)
        # The instance is still under construction here: nobody has seen it without the defaults.
        object.__setattr__(self, "heuristic", heuristic)
        object.__setattr__(self, "tracker", tracker)
        return self

    @property
    def rotation(self) -> tuple[str, ...]:
        """The blueprint rotation, never empty."""
        return self.heuristic.blueprint_rotation or self.topology.names


def _unset(preset: dict[str, Any], section: Request) -> dict[str, Any]:
    return {name: value for name, value in preset.items() if name not in section.model_fields_set}


def _require_known(rotation: tuple[str, ...], topology: Topology) -> None:
    unknown = listed(name for name in rotation if name not in topology.names)
    if unknown or not rotation:
        raise fault(
            "unknown_blueprint",
            "heuristic.blueprint_rotation",
            f"{f'names {unknown}' if unknown else 'is empty'}; "
            f"use some of {', '.join(topology.names)}, which topology {topology.name} has",
        )
