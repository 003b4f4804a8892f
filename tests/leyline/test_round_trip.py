"""What is written as JSON is read back as it was."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tamiyo_leyline import (
    ActionKind,
    AdaptationCommand,
    CommandStatus,
    DecisionRecord,
    EpochReport,
    PolicyIdentity,
    RiskLevel,
    SeedStage,
    SeedStateReport,
    TrainingSignals,
    command_for,
)

counts = st.integers(min_value=0, max_value=2**53 - 1)
percent = st.none() | st.floats(min_value=0.0, max_value=100.0)
shares = st.floats(min_value=0.0, max_value=1.0)
losses = st.none() | st.floats()
positive = st.none() | st.floats(min_value=0.0, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20)

metrics = st.fixed_dictionaries(
    {},
    optional={
        "epochs_in_current_stage": counts,
        "initial_val_accuracy": percent,
        "current_val_accuracy": percent,
        "accuracy_at_stage_start": percent,
        "counterfactual_val_accuracy": percent,
        "current_val_loss": losses,
        "gradient_norm_avg": positive,
        "current_alpha": shares,
    },
)
telemetry = st.fixed_dictionaries({}, optional={"gradient_health": shares, "has_exploding": st.booleans()})
seed_fields = st.fixed_dictionaries(
    {
        "blueprint_id": st.sampled_from(["norm", "conv_enhance"]),
        "stage": st.sampled_from(SeedStage),
        "alpha": shares,
    },
    optional={
        "previous_stage": st.sampled_from(SeedStage),
        "metrics": metrics,
        "telemetry": telemetry,
        "is_healthy": st.booleans(),
        "annotations": st.dictionaries(texts, texts, max_size=3),
    },
)
outcomes = st.fixed_dictionaries(
    {
        "command_id": texts,
        "status": st.sampled_from([status for status in CommandStatus if status is not CommandStatus.ISSUED]),
    }
)


@st.composite
def reports(draw: st.DrawFn) -> EpochReport:
    names = draw(st.lists(texts, max_size=4, unique=True))
    seeds = [draw(seed_fields) | {"seed_id": name, "slot_id": "slot " + name} for name in names]
    fields: dict[str, Any] = {
        "epoch": draw(counts),
        "attempt": draw(counts),
        "global_step": draw(counts),
        "train_loss": draw(losses),
        "val_loss": draw(losses),
        "train_accuracy": draw(percent),
        "val_accuracy": draw(percent),
        "seeds": seeds,
        "available_slots": draw(counts),
        "grad_norm_host": draw(positive),
        "gpu_utilization": draw(st.none() | shares),
        "outcomes": draw(st.lists(outcomes, max_size=3)),
    }
    return EpochReport.model_validate(fields)


@st.composite
def commands(draw: st.DrawFn) -> AdaptationCommand:
    seed = draw(st.none() | st.tuples(texts, texts, st.sampled_from(SeedStage)))
    command = command_for(
        draw(st.sampled_from(ActionKind)),
        command_id=draw(texts),
        issued_at=draw(st.datetimes(timezones=st.just(UTC))),
        epoch=draw(counts),
        reason=draw(texts),
        confidence=draw(shares),
        seed=seed,
        blueprint_id=draw(st.none() | texts),
        risk_level=draw(st.sampled_from(RiskLevel)),
    )
    return command.model_copy(update={"annotations": draw(st.dictionaries(texts, texts, max_size=2))})


def record_of(signals: TrainingSignals) -> DecisionRecord:
    return DecisionRecord(
        run_id="run",
        attempt=0,
        epoch=1,
        decision_id="d",
        commands=(),
        policy=PolicyIdentity(name="heuristic", version="1"),
        decided_at=datetime(2026, 1, 31, tzinfo=UTC),
        action="WAIT",
        report=EpochReport(epoch=1, available_slots=0),
        signals=signals,
        features={},
        slots=(),
        penalties={},
        embargo_until_epoch=None,
    )


def refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


@given(report=reports())
def test_a_report_is_read_back_as_it_was_written(report: EpochReport) -> None:
    text = report.model_dump_json()
    again = EpochReport.model_validate_json(text)
    # NaN equals nothing, not even itself: their texts are compared.
    assert repr(again) == repr(report)
    assert again.model_dump_json() == text
    json.loads(text, parse_constant=refuse_constant)


@given(report=reports())
def test_a_report_survives_its_python_values_too(report: EpochReport) -> None:
    assert repr(EpochReport.model_validate(report.model_dump())) == repr(report)


@given(command=commands())
def test_a_command_is_read_back_as_it_was_written(command: AdaptationCommand) -> None:
    text = command.model_dump_json()
    assert AdaptationCommand.model_validate_json(text) == command
    assert AdaptationCommand.model_validate_json(text).model_dump_json() == text


@given(signals=st.from_type(TrainingSignals))
def test_signals_are_read_back_as_they_were_written(signals: TrainingSignals) -> None:
    text = record_of(signals).model_dump_json()
    again = DecisionRecord.model_validate_json(text)
    assert repr(again.signals) == repr(signals)
    assert again.model_dump_json() == text
    json.loads(text, parse_constant=refuse_constant)


def test_losses_that_are_not_finite_travel_as_strings(diverged: TrainingSignals) -> None:
    wire = json.loads(record_of(diverged).model_dump_json())["signals"]
    assert (wire["metrics"]["train_loss"], wire["metrics"]["val_loss"]) == ("NaN", "Infinity")
    assert wire["loss_history"] == [1.5, "-Infinity", "NaN"]
    assert wire["metrics"]["val_accuracy"] is None


def test_a_report_writes_losses_that_are_not_finite_as_strings() -> None:
    seed = SeedStateReport.model_validate(
        {
            "seed_id": "s",
            "slot_id": "t",
            "blueprint_id": "norm",
            "stage": "TRAINING",
            "metrics": {"current_val_loss": "NaN"},
        }
    )
    report = EpochReport(epoch=1, available_slots=0, val_loss=math.inf, train_loss=math.nan, seeds=(seed,))
    wire = json.loads(report.model_dump_json())
    assert (wire["train_loss"], wire["val_loss"]) == ("NaN", "Infinity")
    assert wire["seeds"][0]["metrics"]["current_val_loss"] == "NaN"
