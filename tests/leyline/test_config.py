from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tamiyo_leyline import (
    TOPOLOGIES,
    AccuracyUnit,
    HeuristicConfig,
    Objective,
    ProblemCode,
    RunConfig,
    TrackerConfig,
    field_errors,
    problem_code,
)
from tamiyo_leyline.config import PRESETS

OWN = {"name": "Mine", "blueprints": [{"name": "Wide", "parameters": 10}, {"name": "deep", "parameters": 20}]}


def read(**config: Any) -> RunConfig:
    return RunConfig.model_validate_json(json.dumps(config))


def refusal(**config: Any) -> tuple[ProblemCode, dict[str, str]]:
    """Problem code and messages by field of a configuration that must be refused."""
    with pytest.raises(ValidationError) as caught:
        read(**config)
    messages = {error.field: error.message for error in field_errors(caught.value)}
    return problem_code(caught.value, ProblemCode.INVALID_CONFIG), messages


def test_every_part_is_optional() -> None:
    config = read()
    assert config.topology == TOPOLOGIES["cnn"]
    assert (config.policy.name, config.policy.version) == ("heuristic", None)
    assert config.objective is Objective.VAL_ACCURACY
    assert config.accuracy_unit is AccuracyUnit.PERCENT
    assert (config.max_epochs, config.labels) == (50, {})
    assert (config.learned.deterministic, config.learned.temperature) == (True, 1.0)
    assert config.host.model_dump() == {"parameters": None, "train_examples": None, "normalised": None}


def test_defaults_of_the_heuristic_are_those_of_the_decision_rules() -> None:
    assert read().heuristic.model_dump() == {
        "preset": None,
        "blueprint_rotation": ("norm", "attention", "depthwise", "conv_enhance"),
        "plateau_epochs_to_germinate": 3,
        "min_epochs_before_germinate": 5,
        "max_concurrent_seeds": 1,
        "cull_if_accuracy_drops_by": 2.0,
        "cull_after_epochs_without_improvement": 5,
        "blend_settle_epochs": 3,
        "cull_after_stalled_epochs": 20,
        "min_gradient_health": 0.3,
        "unhealthy_epochs_to_cull": 2,
        "min_probation_epochs": 1,
        "max_probation_epochs": 5,
        "min_improvement_to_fossilize": 0.0,
        "probation_dead_band": 0.25,
        "improvement_measure": "attributed",
        "embargo_epochs_after_cull": 5,
        "blueprint_penalty_on_cull": 2.0,
        "blueprint_penalty_decay": 0.5,
        "blueprint_penalty_decay_epochs": 50,
        "blueprint_penalty_threshold": 1.0,
        "blueprint_exploration": 0.0,
    }


def test_defaults_of_the_tracker_are_those_of_the_decision_rules() -> None:
    tracker = read().tracker
    assert (tracker.plateau_threshold, tracker.history_window) == (0.5, 10)
    assert tracker.plateau_smoothing == 0.7


def test_preset_report_restores_the_earlier_behaviour() -> None:
    config = read(heuristic={"preset": "report"})
    restored = {
        "blueprint_penalty_threshold": 3.0,
        "blueprint_penalty_decay_epochs": 1,
        "cull_after_stalled_epochs": None,
        "probation_dead_band": 0.0,
        "blend_settle_epochs": None,
        "max_probation_epochs": 1,
        "unhealthy_epochs_to_cull": None,
        "improvement_measure": "total",
    }
    expected = read().heuristic.model_dump() | restored | {"preset": "report"}
    assert config.heuristic.model_dump() == expected
    assert config.tracker.plateau_smoothing == 0.0


def test_explicit_settings_win_over_a_preset() -> None:
    config = read(
        heuristic={"preset": "report", "probation_dead_band": 0.25, "cull_after_stalled_epochs": 20},
        tracker={"plateau_smoothing": 0.5},
    )
    assert config.heuristic.probation_dead_band == 0.25
    assert config.heuristic.cull_after_stalled_epochs == 20
    assert config.heuristic.blueprint_penalty_threshold == 3.0
    assert config.tracker.plateau_smoothing == 0.5


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_hold_valid_values_of_real_settings(preset: str) -> None:
    HeuristicConfig.model_validate(PRESETS[preset]["heuristic"])
    TrackerConfig.model_validate(PRESETS[preset]["tracker"])


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"topology": "transformer"},
        {"topology": OWN, "labels": {"team": "vision"}},
        {"heuristic": {"preset": "report"}},
        {"heuristic": {"preset": "report", "min_probation_epochs": 3, "max_probation_epochs": 4}},
        {"heuristic": {"cull_if_accuracy_drops_by": {"TRAINING": 1.0}}},
        {"heuristic": {"cull_after_epochs_without_improvement": {"SHADOWING": 9}}},
        {"objective": "val_loss", "accuracy_unit": "fraction", "tracker": {"history_window": 3}},
    ],
)
def test_a_validated_configuration_is_its_own_fixed_point(config: dict[str, Any]) -> None:
    once = read(**config)
    twice = RunConfig.model_validate_json(once.model_dump_json())
    assert twice == once
    assert twice.model_dump_json() == once.model_dump_json()
    assert RunConfig.model_validate(once.model_dump()) == once


@given(
    preset=st.sampled_from([None, "report"]),
    explicit=st.dictionaries(
        st.sampled_from(
            ["probation_dead_band", "blueprint_penalty_threshold", "min_improvement_to_fossilize"]
        ),
        st.floats(min_value=0.0, max_value=10.0),
    ),
    smoothing=st.none() | st.floats(min_value=0.0, max_value=1.0, exclude_max=True),
)
def test_any_mixture_of_preset_and_settings_survives_its_round_trip(
    preset: str | None, explicit: dict[str, float], smoothing: float | None
) -> None:
    tracker = {} if smoothing is None else {"plateau_smoothing": smoothing}
    once = read(heuristic={"preset": preset, **explicit}, tracker=tracker)
    assert RunConfig.model_validate_json(once.model_dump_json()) == once
    assert {name: getattr(once.heuristic, name) for name in explicit} == explicit


def test_topology_names_ignore_case() -> None:
    assert read(topology="CNN") == read(topology="cnn")
    assert read(topology=OWN).topology.name == "mine"


def test_the_default_rotation_is_the_order_of_the_topology() -> None:
    assert read(topology="transformer").rotation == ("norm", "lora", "attention", "mlp")
    assert read(topology=OWN).rotation == ("wide", "deep")


def test_rotations_may_repeat_and_ignore_case() -> None:
    config = read(heuristic={"blueprint_rotation": ["NORM", "Attention", "norm"]})
    assert config.rotation == ("norm", "attention", "norm")


def test_unknown_topology_is_refused_with_the_valid_names() -> None:
    code, messages = refusal(topology="resnet")
    assert code is ProblemCode.UNKNOWN_TOPOLOGY
    assert messages["topology"].startswith("must be one of cnn, transformer, or an object with a name and")
    assert messages["topology"].endswith('got "resnet"')


@pytest.mark.parametrize("topology", [3, None, ["cnn"], True])
def test_what_is_no_topology_at_all_is_an_invalid_configuration(topology: Any) -> None:
    code, messages = refusal(topology=topology)
    assert code is ProblemCode.INVALID_CONFIG
    assert messages["topology"].startswith("must be one of cnn, transformer, or an object")


@pytest.mark.parametrize(
    ("rotation", "fault"), [([], "is empty"), (["norm", "mlp"], "names mlp"), (["x", "y"], "names x, y")]
)
def test_rotation_of_unknown_blueprints_is_refused_with_the_valid_names(
    rotation: list[str], fault: str
) -> None:
    code, messages = refusal(heuristic={"blueprint_rotation": rotation})
    assert code is ProblemCode.UNKNOWN_BLUEPRINT
    assert messages == {
        "heuristic.blueprint_rotation": (
            f"{fault}; use some of norm, attention, depthwise, conv_enhance, which topology cnn has"
        )
    }


def test_rotation_is_checked_against_the_runs_own_topology() -> None:
    assert read(topology=OWN, heuristic={"blueprint_rotation": ["DEEP"]}).rotation == ("deep",)
    code, messages = refusal(topology=OWN, heuristic={"blueprint_rotation": ["norm"]})
    assert code is ProblemCode.UNKNOWN_BLUEPRINT
    assert "wide, deep" in messages["heuristic.blueprint_rotation"]


def test_a_topology_needs_blueprints() -> None:
    code, messages = refusal(topology={"name": "mine", "blueprints": []})
    assert code is ProblemCode.INVALID_CONFIG
    assert messages == {"topology.blueprints": "must have at least 1 entry"}


def test_settings_by_stage_keep_the_default_for_stages_left_out() -> None:
    heuristic = read(
        heuristic={
            "cull_if_accuracy_drops_by": {"BLENDING": 5.0},
            "cull_after_epochs_without_improvement": {"TRAINING": 8},
        }
    ).heuristic
    assert heuristic.cull_if_accuracy_drops_by == {"TRAINING": 2.0, "BLENDING": 5.0, "SHADOWING": 2.0}
    assert heuristic.cull_after_epochs_without_improvement == {"TRAINING": 8, "BLENDING": 5, "SHADOWING": 5}


@pytest.mark.parametrize(
    ("heuristic", "field", "message"),
    [
        (
            {"cull_if_accuracy_drops_by": -1},
            "cull_if_accuracy_drops_by",
            "must be a finite number, 0 or more",
        ),
        (
            {"cull_if_accuracy_drops_by": {"TRAINING": "2"}},
            "cull_if_accuracy_drops_by.TRAINING",
            "must be a finite number, 0 or more",
        ),
        (
            {"cull_if_accuracy_drops_by": {"DORMANT": 2}},
            "cull_if_accuracy_drops_by.DORMANT",
            "its key must be 'TRAINING', 'BLENDING' or 'SHADOWING'",
        ),
        (
            {"cull_after_epochs_without_improvement": 1.5},
            "cull_after_epochs_without_improvement",
            "must be a whole number from 0 to 1000000",
        ),
        ({"preset": "source"}, "preset", "must be 'report'"),
        ({"max_concurrent_seeds": 0}, "max_concurrent_seeds", "must be a whole number from 1 to 64"),
        ({"min_gradient_health": 2}, "min_gradient_health", "must be between 0 and 1"),
        ({"plateau": 3}, "plateau", "is not a known field"),
    ],
)
def test_wrong_settings_are_refused_field_by_field(
    heuristic: dict[str, Any], field: str, message: str
) -> None:
    code, messages = refusal(heuristic=heuristic)
    assert code is ProblemCode.INVALID_CONFIG
    assert [*messages] == [f"heuristic.{field}"]
    assert messages[f"heuristic.{field}"].startswith(message)


def test_probation_must_be_ordered() -> None:
    _, messages = refusal(heuristic={"min_probation_epochs": 9})
    assert messages == {
        "heuristic.max_probation_epochs": "is 5, but must be at least min_probation_epochs, 9"
    }


def test_probation_must_be_ordered_once_the_preset_is_applied() -> None:
    _, messages = refusal(heuristic={"preset": "report", "min_probation_epochs": 3})
    assert messages == {
        "heuristic.max_probation_epochs": (
            "is 1 (set by preset report), but must be at least min_probation_epochs, 3"
        )
    }


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"tracker": {"plateau_smoothing": 1.0}}, "tracker.plateau_smoothing"),
        ({"tracker": {"plateau_threshold": -0.1}}, "tracker.plateau_threshold"),
        ({"tracker": {"history_window": 0}}, "tracker.history_window"),
        ({"learned": {"temperature": 0.0}}, "learned.temperature"),
        ({"objective": "loss"}, "objective"),
        ({"accuracy_unit": "per mille"}, "accuracy_unit"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"host": {"parameters": -1}}, "host.parameters"),
        ({"policy": {"name": ""}}, "policy.name"),
        ({"labels": {"team": 1}}, "labels.team"),
        ({"labels": {str(key): "" for key in range(33)}}, "labels"),
        ({"seed": 1}, "seed"),
    ],
)
def test_every_other_fault_is_named_too(config: dict[str, Any], field: str) -> None:
    code, messages = refusal(**config)
    assert code is ProblemCode.INVALID_CONFIG
    assert [*messages] == [field]
