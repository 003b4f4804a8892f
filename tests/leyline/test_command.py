from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError
from tamiyo_leyline import ActionKind, AdaptationCommand, RiskLevel, SeedStage, command_for

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def command(kind: ActionKind, **given: object) -> AdaptationCommand:
    settings: dict[str, object] = {
        "command_id": "c-1",
        "issued_at": NOW,
        "epoch": 12,
        "reason": "because",
        "confidence": 0.5,
    }
    return command_for(kind, **(settings | given))  # type: ignore[arg-type]  # one dict for all arguments


@pytest.mark.parametrize(
    ("kind", "command_type", "target_stage", "risk"),
    [
        (ActionKind.WAIT, "REQUEST_STATE", None, "GREEN"),
        (ActionKind.GERMINATE, "GERMINATE", "GERMINATED", "YELLOW"),
        (ActionKind.FOSSILIZE, "ADVANCE_STAGE", "FOSSILIZED", "YELLOW"),
        (ActionKind.CULL, "CULL", "CULLED", "ORANGE"),
    ],
)
def test_decisions_map_to_commands_as_the_contract_says(
    kind: ActionKind, command_type: str, target_stage: str | None, risk: str
) -> None:
    wire = command(kind).model_dump(mode="json")
    assert (wire["command_type"], wire["target_stage"], wire["risk_level"]) == (
        command_type,
        target_stage,
        risk,
    )


def test_command_carries_its_target_and_the_stage_it_presumes() -> None:
    cull = command(ActionKind.CULL, seed=("seed-1", "slot-a", SeedStage.BLENDING))
    assert (cull.target_seed_id, cull.target_slot_id) == ("seed-1", "slot-a")
    assert cull.expected_stage is SeedStage.BLENDING


def test_germination_names_a_blueprint_and_no_slot() -> None:
    germinate = command(ActionKind.GERMINATE, blueprint_id="norm")
    assert germinate.blueprint_id == "norm"
    assert germinate.target_slot_id is None
    assert germinate.target_seed_id is None


def test_command_expires_after_the_next_epoch() -> None:
    assert command(ActionKind.WAIT).expires_after_epoch == 13


def test_risk_after_a_divergence_overrides_the_usual_one() -> None:
    assert command(ActionKind.CULL, risk_level=RiskLevel.RED).risk_level is RiskLevel.RED


@pytest.mark.parametrize("wrong", [{"reason": ""}, {"confidence": 1.5}, {"confidence": float("nan")}])
def test_command_without_reason_or_with_impossible_confidence_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="must be"):
        command(ActionKind.WAIT, **wrong)


def test_command_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        command(ActionKind.WAIT).reason = "another"  # type: ignore[misc]  # what is under test


def test_times_are_brought_to_utc() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5)))
    assert command(ActionKind.WAIT, issued_at=local).model_dump(mode="json")["issued_at"] == (
        "2026-01-31T12:00:00Z"
    )


@pytest.mark.parametrize("moment", [datetime(2026, 1, 31), datetime.min.replace(tzinfo=timezone.max)])
def test_times_without_offset_or_outside_the_calendar_are_refused(moment: datetime) -> None:
    with pytest.raises(ValidationError, match="must"):
        command(ActionKind.WAIT, issued_at=moment)
