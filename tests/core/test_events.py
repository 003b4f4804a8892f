"""Telemetry events: what happened, as values."""

from __future__ import annotations

from typing import Any

import pytest
from tamiyo_core import Step
from tamiyo_core.rehearsal import Rehearsal, seed

RAW: dict[str, Any] = {"tracker": {"plateau_smoothing": 0.0}}


def types(step: Step) -> list[str]:
    return [event.type.value for event in step.events]


def test_every_report_completes_an_epoch() -> None:
    (event,) = Rehearsal().report(4, val_accuracy=51.25).events
    assert (event.type, event.epoch, event.message) == ("EPOCH_COMPLETED", 4, "validation accuracy 51.25 %")


def test_divergence_plateau_improvement_and_degradation_are_told_when_they_begin() -> None:
    run = Rehearsal(RAW)
    curve: list[Any] = [50.0, 50.0, 50.0, 50.0, 50.0, 49.0, 55.0, 52.9]
    told = [types(run.report(n, val_accuracy=value, available_slots=0))[1:] for n, value in enumerate(curve)]
    assert told[3] == ["PLATEAU_DETECTED"]
    assert told[6] == ["IMPROVEMENT_DETECTED"]
    assert told[7] == ["PERFORMANCE_DEGRADATION"]
    assert [told[n] for n in (0, 1, 2, 4, 5)] == [[]] * 5
    assert types(run.report(9, train_loss="Infinity"))[1:] == ["DIVERGENCE_DETECTED"]


def test_surgery_is_not_told_as_an_improvement() -> None:
    run = Rehearsal(RAW)
    for epoch in range(4):
        run.report(epoch, val_accuracy=50.0, available_slots=0)
    assert "IMPROVEMENT_DETECTED" not in types(run.report(4, seed("s1", "GERMINATED"), val_accuracy=50.0))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, "GERMINATED", "SEED_GERMINATED"),
        (None, "TRAINING", "SEED_GERMINATED"),
        ("GERMINATED", "TRAINING", "SEED_STAGE_CHANGED"),
        ("PROBATIONARY", "FOSSILIZED", "SEED_FOSSILIZED"),
        ("TRAINING", "CULLED", "SEED_CULLED"),
        ("TRAINING", "EMBARGOED", "SEED_CULLED"),
        ("CULLED", "EMBARGOED", "SEED_STAGE_CHANGED"),
        ("TRAINING", None, "SEED_CULLED"),
        ("RESETTING", "GERMINATED", "SEED_GERMINATED"),
    ],
)
def test_the_life_of_a_seed_is_told(before: str | None, after: str | None, told: str) -> None:
    run = Rehearsal()
    run.report(10, *[seed("s1", before)] if before else [])
    step = run.report(11, *[seed("s1", after)] if after else [])
    assert [event for event in types(step) if event.startswith("SEED")] == [told]
    assert step.events[1].seed_id == "s1"


def test_sick_gradients_are_told() -> None:
    step = Rehearsal().report(
        0,
        seed("s1", "TRAINING", telemetry={"has_exploding": True}),
        seed("s2", "TRAINING", telemetry={"has_vanishing": True}),
        seed("s3", "TRAINING", telemetry={}),
    )
    anomalies = {e.seed_id: e.message for e in step.events if e.type == "GRADIENT_ANOMALY"}
    assert anomalies == {"s1": "exploding gradients", "s2": "vanishing gradients"}


def test_isolation_violations_are_told_when_they_grow() -> None:
    run = Rehearsal()
    counts: list[Any] = [0, 2, 2, None, 2, 3]
    told = [
        "ISOLATION_VIOLATION" in types(run.report(n, seed("s1", "TRAINING", isolation_violations=count)))
        for n, count in enumerate(counts)
    ]
    assert told == [False, True, False, False, False, True]


def test_commands_are_told_when_issued_and_when_answered() -> None:
    run = Rehearsal()
    fall: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}
    step = run.report(10, seed("s1", "TRAINING", **fall))
    issued = step.events[-1]
    assert (issued.type, issued.command_id) == ("COMMAND_ISSUED", step.commands[0].command_id)
    answered = run.report(11).events[-1]
    assert (answered.type, answered.command_id) == ("COMMAND_EXECUTED", step.commands[0].command_id)
    run.report(12, seed("s2", "TRAINING", **fall))
    told = run.report(14, seed("s2", "TRAINING")).events
    assert [e.message for e in told if e.type == "COMMAND_FAILED"] == ["EXPIRED: not answered in time"]


def test_the_order_of_seeds_in_a_report_changes_no_event() -> None:
    seeds = [seed(f"s{n}", "TRAINING", telemetry={"has_exploding": True}) for n in range(4)]
    assert Rehearsal().report(0, *seeds).events == Rehearsal().report(0, *seeds[::-1]).events
