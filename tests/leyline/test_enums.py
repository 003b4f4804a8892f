from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from tamiyo_leyline import (
    LEGAL_TRANSITIONS,
    ActionKind,
    CommandStatus,
    CommandType,
    RiskLevel,
    SeedStage,
    TelemetryEventType,
)
from tamiyo_leyline.fields import RiskName, StageName

STAGE = TypeAdapter[SeedStage](StageName)
RISK = TypeAdapter[RiskLevel](RiskName)

STAGES = {
    "UNKNOWN": 0,
    "DORMANT": 1,
    "GERMINATED": 2,
    "TRAINING": 3,
    "BLENDING": 4,
    "SHADOWING": 5,
    "PROBATIONARY": 6,
    "FOSSILIZED": 7,
    "CULLED": 8,
    "EMBARGOED": 9,
    "RESETTING": 10,
}
MOVES = {0: {1}, 1: {2}, 2: {3, 8}, 3: {4, 8}, 4: {5, 8}, 5: {6, 8}, 6: {7, 8}, 7: set(), 8: {9}, 9: {10}}
MOVES[10] = {1}


def test_seed_stages_have_the_values_of_the_contract() -> None:
    assert {stage.name: stage.value for stage in SeedStage} == STAGES


def test_risk_levels_have_the_values_of_the_contract() -> None:
    risks = {risk.name: risk.value for risk in RiskLevel}
    assert risks == {"GREEN": 1, "YELLOW": 2, "ORANGE": 3, "RED": 4, "CRITICAL": 5}


def test_command_types_are_those_of_the_contract() -> None:
    assert [*CommandType] == [
        "GERMINATE",
        "ADVANCE_STAGE",
        "CULL",
        "SET_ALPHA",
        "SET_LEARNING_RATE",
        "PAUSE_SEED",
        "RESUME_SEED",
        "REQUEST_STATE",
    ]


def test_telemetry_event_types_are_those_of_the_contract() -> None:
    assert set(TelemetryEventType) == {
        "SEED_GERMINATED",
        "SEED_STAGE_CHANGED",
        "SEED_FOSSILIZED",
        "SEED_CULLED",
        "EPOCH_COMPLETED",
        "PLATEAU_DETECTED",
        "IMPROVEMENT_DETECTED",
        "ISOLATION_VIOLATION",
        "GRADIENT_ANOMALY",
        "PERFORMANCE_DEGRADATION",
        "COMMAND_ISSUED",
        "COMMAND_EXECUTED",
        "COMMAND_FAILED",
        "DIVERGENCE_DETECTED",
        "POLICY_FALLBACK",
        "OPERATOR_OVERRIDE",
    }


@pytest.mark.parametrize("enumeration", [CommandType, CommandStatus, ActionKind, TelemetryEventType])
def test_string_enumerations_travel_as_their_names(enumeration: Any) -> None:
    assert all(member.value == member.name for member in enumeration)


@pytest.mark.parametrize("stage", SeedStage)
def test_legal_transitions_are_exactly_those_of_the_contract(stage: SeedStage) -> None:
    assert LEGAL_TRANSITIONS[stage] == {SeedStage(value) for value in MOVES[stage.value]}


@pytest.mark.parametrize("stage", SeedStage)
@pytest.mark.parametrize("target", SeedStage)
def test_may_become_allows_staying_and_legal_moves_only(stage: SeedStage, target: SeedStage) -> None:
    assert stage.may_become(target) == (target == stage or target.value in MOVES[stage.value])


@pytest.mark.parametrize("stage", SeedStage)
def test_stage_groups_follow_the_contract(stage: SeedStage) -> None:
    assert stage.is_live == (2 <= stage <= 6)
    assert stage.is_failed == (8 <= stage <= 10)
    assert stage.in_forward_pass == (3 <= stage <= 7)


@pytest.mark.parametrize("stage", SeedStage)
def test_stage_is_accepted_by_name_and_by_value(stage: SeedStage) -> None:
    assert STAGE.validate_json(f'"{stage.name}"') is stage
    assert STAGE.validate_json(str(stage.value)) is stage
    assert STAGE.validate_python(stage) is stage


@pytest.mark.parametrize("risk", RiskLevel)
def test_risk_is_accepted_by_name_and_by_value(risk: RiskLevel) -> None:
    assert RISK.validate_json(f'"{risk.name}"') is risk
    assert RISK.validate_json(str(risk.value)) is risk


def test_stage_and_risk_are_emitted_by_name() -> None:
    assert STAGE.dump_json(SeedStage.TRAINING) == b'"TRAINING"'
    assert RISK.dump_json(RiskLevel.RED) == b'"RED"'


@pytest.mark.parametrize(
    "text", ['"training"', '"3"', "3.0", "11", "-1", "true", "null", "[3]", "{}", "1e400"]
)
def test_anything_else_is_no_stage_and_the_names_are_told(text: str) -> None:
    with pytest.raises(ValidationError, match=r"must be one of UNKNOWN, DORMANT, .*, RESETTING"):
        STAGE.validate_json(text)
