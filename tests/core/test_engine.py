"""One report in, one answer out: the commands of a reply, holds, late reports, warnings, events."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from tamiyo_core import Decision, Step, to_command
from tamiyo_core.engine import Close
from tamiyo_core.events import germinated_blueprint
from tamiyo_core.rehearsal import MOMENT, Rehearsal, seed
from tamiyo_leyline import CommandOutcome, CommandStatus, CommandType, RiskLevel, SeedStage, action_layout

FALLING: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}
GOOD: dict[str, Any] = {
    "counterfactual_val_accuracy": 50.0,
    "current_val_accuracy": 59.0,
    "epochs_in_current_stage": 1,
}
RAW: dict[str, Any] = {"tracker": {"plateau_smoothing": 0.0}}


def stuck(run: Rehearsal, last: int = 9, **fields: Any) -> Step:
    """Reports without any improvement; the last one's step."""
    for epoch in range(last):
        run.report(epoch, val_accuracy=50.0, available_slots=0)
    return run.report(last, val_accuracy=50.0, **fields)


# Commands


def test_a_wait_joins_all_reasons_takes_the_lowest_confidence_and_names_the_only_seed() -> None:
    step = Rehearsal().report(10, seed("s1", "TRAINING", improvement_since_stage_start=0.0))
    (command,) = step.commands
    assert command.command_type is CommandType.REQUEST_STATE
    assert command.reason == "; ".join(decision.reason for decision in step.decisions)
    assert command.confidence == min(decision.confidence for decision in step.decisions) == 0.5
    assert (command.target_seed_id, command.target_slot_id) == ("s1", "slot-of-s1")
    assert (command.target_stage, command.risk_level) == (None, RiskLevel.GREEN)


def test_a_wait_for_several_seeds_names_none() -> None:
    (command,) = Rehearsal().report(10, seed("s1", "TRAINING"), seed("s2", "TRAINING")).commands
    assert (command.target_seed_id, command.target_slot_id) == (None, None)
    assert "s1" in command.reason
    assert "s2" in command.reason


def test_a_wait_without_seeds_tells_about_germination() -> None:
    (command,) = Rehearsal().report(2, val_accuracy=50.0).commands
    assert command.reason == "too early: epoch 2 of 5"
    assert command.expires_after_epoch == 3


def test_decisions_that_act_leave_the_waits_out() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    step = run.report(
        10,
        seed("s1", "TRAINING", **FALLING),
        seed("s2", "TRAINING"),
        seed("s3", "PROBATIONARY", **GOOD),
    )
    assert [c.target_seed_id for c in step.commands] == ["s1", "s3"]
    assert [c.command_id for c in step.commands] == ["rehearsal@0.10.1", "rehearsal@0.10.2"]
    assert step.action == "CULL"


def test_a_cull_says_what_it_presumes() -> None:
    (command,) = Rehearsal().report(10, seed("s1", "SHADOWING", **FALLING)).commands
    assert (command.command_type, command.target_stage) == (CommandType.CULL, SeedStage.CULLED)
    assert (command.expected_stage, command.risk_level) == (SeedStage.SHADOWING, RiskLevel.ORANGE)


def test_a_cull_after_divergence_is_red() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "BLENDING"), val_loss=1.0)
    (command,) = run.report(11, seed("s1", "BLENDING"), val_loss="NaN").commands
    assert (command.command_type, command.risk_level) == (CommandType.CULL, RiskLevel.RED)


def test_a_fossilization_advances_the_stage() -> None:
    (command,) = Rehearsal().report(10, seed("s1", "PROBATIONARY", **GOOD)).commands
    assert command.command_type is CommandType.ADVANCE_STAGE
    assert (command.target_stage, command.risk_level) == (SeedStage.FOSSILIZED, RiskLevel.YELLOW)


def test_a_germination_names_a_blueprint_and_no_slot() -> None:
    (command,) = stuck(Rehearsal()).commands
    assert (command.command_type, command.blueprint_id) == (CommandType.GERMINATE, "norm")
    assert (command.target_stage, command.risk_level) == (SeedStage.GERMINATED, RiskLevel.YELLOW)
    assert (command.target_slot_id, command.target_seed_id, command.expected_stage) == (None, None, None)


def test_the_longest_reason_still_fits_a_command() -> None:
    seeds = [seed(f"s{n}" + "x" * 120, "TRAINING", slot_id=f"slot-{n}") for n in range(64)]
    (command,) = Rehearsal().report(10, *seeds).commands
    assert len(command.reason) == 8000
    assert command.reason.endswith("…")


def test_a_decision_without_a_reason_is_no_command() -> None:
    wait = Decision(action_layout(("norm",)).wait, "", 0.5)
    with pytest.raises(ValidationError):
        to_command(wait, "id", MOMENT, 1)


# Holds


def test_a_hold_turns_every_decision_into_wait() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    step = run.report(10, seed("s1", "TRAINING", **FALLING), seed("s2", "PROBATIONARY", **GOOD), hold="audit")
    assert {decision.action.name for decision in step.decisions} == {"WAIT"}
    assert [c.reason for c in step.commands] == ["held by operator: audit"]
    assert [d.runner_up and d.runner_up.name for d in step.decisions[:2]] == ["CULL", "FOSSILIZE"]
    assert step.context.held
    assert run.state.ledger.open == ()


def test_a_hold_without_a_reason_still_says_what_it_is() -> None:
    assert Rehearsal().report(10, hold="").commands[0].reason == "held by operator"


def test_after_a_hold_the_policy_goes_on_as_if_it_had_watched() -> None:
    sick = {"has_exploding": True}
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING", telemetry=sick), hold="audit")
    assert run.report(11, seed("s1", "TRAINING", telemetry=sick)).action == "CULL"


def test_a_failure_is_told_under_a_hold() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "TRAINING", **FALLING))
    told = {"command_id": step.commands[0].command_id, "status": "REFUSED", "detail": "no"}
    later = run.report(11, seed("s1", "TRAINING", **FALLING), outcomes=[told], hold="audit")
    assert "(CULL of s1 refused: no)" in later.commands[0].reason


# Failures


def test_a_failure_whose_seed_now_waits_is_told_by_a_command_of_the_reply() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    step = run.report(10, seed("s1", "TRAINING", **FALLING), seed("s2", "TRAINING"))
    told = {"command_id": step.commands[0].command_id, "status": "REFUSED", "detail": "no"}
    later = run.report(11, seed("s1", "TRAINING"), seed("s2", "TRAINING", **FALLING), outcomes=[told])
    (command,) = later.commands
    assert command.target_seed_id == "s2"
    assert "(CULL of s1 refused: no)" in command.reason


def test_a_long_detail_is_shortened_in_the_next_reason() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "TRAINING", **FALLING))
    told = {"command_id": step.commands[0].command_id, "status": "FAILED", "detail": "x" * 2000}
    later = run.report(11, seed("s1", "TRAINING", **FALLING), outcomes=[told])
    assert "x" * 200 + ")" in later.commands[0].reason
    assert later.outcomes[0].detail == "x" * 2000


# Late reports


def test_a_late_report_is_observed_and_answered_with_wait() -> None:
    run = Rehearsal(RAW)
    step = stuck(run, backfill=True)
    assert step.signals.metrics.plateau_epochs == 9
    assert [command.reason for command in step.commands] == ["late report: observed only"]
    assert run.state.ledger.open == ()
    assert run.report(10, val_accuracy=50.0).action == "GERMINATE_NORM"


def test_late_reports_keep_a_failure_for_the_first_reply_that_is_read() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "TRAINING", **FALLING))
    told = {"command_id": step.commands[0].command_id, "status": "REFUSED", "detail": "no"}
    run.report(11, seed("s1", "TRAINING", **FALLING), outcomes=[told], backfill=True)
    assert "refused: no" in run.report(12, seed("s1", "TRAINING", **FALLING)).commands[0].reason


# Gaps, warnings


def test_epochs_may_be_left_out() -> None:
    run = Rehearsal(RAW)
    steps = [run.report(epoch, val_accuracy=50.0) for epoch in (0, 7, 100, 1000)]
    assert steps[-1].action == "GERMINATE_NORM"


@pytest.mark.parametrize(
    ("before", "after", "legal"),
    [
        ("TRAINING", "BLENDING", True),
        ("TRAINING", "CULLED", True),
        ("TRAINING", "TRAINING", True),
        ("TRAINING", "PROBATIONARY", False),
        ("CULLED", "GERMINATED", False),
        ("FOSSILIZED", "TRAINING", False),
        ("DORMANT", "TRAINING", False),
        ("TRAINING", "DORMANT", False),
    ],
)
def test_illegal_transitions_are_accepted_and_flagged(before: str, after: str, legal: bool) -> None:
    run = Rehearsal()
    run.report(10, seed("s1", before))
    warnings = run.report(11, seed("s1", after)).warnings
    expected = () if legal else (f"seed s1: {before} → {after} is not a legal transition",)
    assert warnings == expected


def test_fractions_sent_for_percent_are_told_after_ten_reports() -> None:
    run = Rehearsal()
    steps = [run.report(epoch, val_accuracy=epoch / 20.0) for epoch in range(12)]
    told = ["fraction" in " ".join(step.warnings) for step in steps]
    assert told == [False] * 9 + [True] * 3
    assert run.report(12, val_accuracy=1.01).warnings == ()


def test_percent_and_declared_fractions_are_never_told() -> None:
    percent, fraction, unmeasured = (
        Rehearsal(),
        Rehearsal({"accuracy_unit": "fraction"}),
        Rehearsal(),
    )
    for epoch in range(12):
        assert percent.report(epoch, val_accuracy=50.0).warnings == ()
        assert fraction.report(epoch, val_accuracy=0.5).warnings == ()
        assert unmeasured.report(epoch, val_loss=0.5).warnings == ()


# Embargo shown to operators, exploration


def test_the_end_of_an_embargo_is_the_first_epoch_that_may_germinate() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING"))
    step = run.report(11)
    assert run.engine.embargo_until(step.context, 11) == 16
    assert run.engine.embargo_until(run.report(15).context, 15) == 16
    assert run.engine.embargo_until(run.report(16).context, 16) is None
    assert run.engine.embargo_until(Rehearsal().report(0).context, 0) is None


def test_exploration_draws_a_blueprint_and_logs_the_probabilities() -> None:
    run = Rehearsal(RAW | {"heuristic": {"blueprint_exploration": 0.4}})
    assert run.engine.needs_draw
    step = stuck(run, draw=0.35)
    assert step.action == "GERMINATE_CONV_ENHANCE"
    assert step.decisions[-1].probabilities == pytest.approx((0.0, 0.7, 0.1, 0.1, 0.1, 0.0, 0.0))


def test_under_a_hold_no_probability_is_logged() -> None:
    run = Rehearsal(RAW | {"heuristic": {"blueprint_exploration": 0.4}})
    decision = stuck(run, hold="audit").decisions[-1]
    assert (decision.action.name, decision.probabilities) == ("WAIT", None)
    assert decision.runner_up is not None
    assert decision.runner_up.name == "GERMINATE_NORM"


def test_without_exploration_no_draw_is_needed() -> None:
    run = Rehearsal(RAW)
    assert not run.engine.needs_draw
    step = stuck(run, draw=0.0)
    assert (step.action, step.decisions[-1].probabilities) == ("GERMINATE_NORM", None)


def test_a_barred_blueprint_is_left_out_until_its_penalty_has_fallen() -> None:
    run = Rehearsal(RAW | {"heuristic": {"blueprint_rotation": ["norm", "attention"]}})
    stuck(run, 9, available_slots=0)
    run.report(10, seed("s1", "TRAINING", blueprint_id="attention"))
    run.report(11)
    for epoch in range(12, 61):
        run.report(epoch, val_accuracy=50.0, available_slots=0)
    state = run.state._replace(ledger=run.state.ledger._replace(cursor=1))
    run.state = state
    assert run.report(61, val_accuracy=50.0).action == "GERMINATE_NORM"
    run.state = state
    assert run.report(62, val_accuracy=50.0).action == "GERMINATE_ATTENTION"


def test_step_leaves_the_state_unchanged_and_answers_the_same_again() -> None:
    run = Rehearsal()
    stuck(run)
    state, before = run.state, repr(run.state)
    first = run.report(10, seed("s1", "GERMINATED"), val_accuracy=51.0)
    run.state = state
    assert run.report(10, seed("s1", "GERMINATED"), val_accuracy=51.0) == first
    assert repr(state) == before


# The end


def told(run: Rehearsal, command_id: str, status: CommandStatus) -> Close:
    """What a run comes to when this is told after its last report."""
    outcome = CommandOutcome(command_id=command_id, status=status)
    return run.engine.close(run.engine.queue_outcome(run.state, outcome))


def test_outcomes_told_after_the_last_report_end_their_seeds() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    seeds = (seed("s1", "TRAINING", **FALLING), seed("s2", "TRAINING"), seed("s3", "PROBATIONARY", **GOOD))
    culled, kept = run.report(10, *seeds).commands
    for command, end, other in ((culled, "SEED_CULLED", "s3"), (kept, "SEED_FOSSILIZED", "s1")):
        close = told(run, command.command_id, CommandStatus.EXECUTED)
        assert [(event.type, event.epoch) for event in close.events] == [(end, 11), ("COMMAND_EXECUTED", 11)]
        assert close.events[0].seed_id == command.target_seed_id
        assert [track.seed_id for track in close.state.tracker.seeds] == sorted(["s2", other])
        assert [moved[:3] for moved in close.outcomes] == [(command.command_id, "EXECUTED", 11)]
        assert close.state.queued == ()


def test_an_end_that_was_not_executed_leaves_the_seed() -> None:
    run = Rehearsal()
    (command,) = run.report(10, seed("s1", "TRAINING", **FALLING)).commands
    close = told(run, command.command_id, CommandStatus.REFUSED)
    assert [event.type for event in close.events] == ["COMMAND_FAILED"]
    assert [track.seed_id for track in close.state.tracker.seeds] == ["s1"]


def test_a_run_that_was_told_nothing_more_stands_as_it_is() -> None:
    run = Rehearsal()
    assert run.engine.close(run.state) == Close(run.state)
    run.report(10, seed("s1", "TRAINING", **FALLING))
    assert run.engine.close(run.state) == Close(run.state)


def test_the_event_of_a_germination_names_its_blueprint() -> None:
    step = Rehearsal().report(10, seed("s1", "GERMINATED", blueprint_id="depthwise"))
    (event,) = [event for event in step.events if event.type == "SEED_GERMINATED"]
    assert germinated_blueprint(event.message) == "depthwise"
