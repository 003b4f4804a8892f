"""What becomes of commands, and what hangs on it: embargo, penalty, cursor, the next reason."""

from __future__ import annotations

from typing import Any

import pytest
from tamiyo_core import Step
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_core.rules import LATE_COMMANDS
from tamiyo_leyline import CommandOutcome, CommandStatus, SeedStage

QUICK: dict[str, dict[str, Any]] = {
    "tracker": {"plateau_smoothing": 0.0},
    "heuristic": {"plateau_epochs_to_germinate": 1, "min_epochs_before_germinate": 0},
}
GOOD: dict[str, Any] = {
    "counterfactual_val_accuracy": 50.0,
    "current_val_accuracy": 59.0,
    "epochs_in_current_stage": 1,
}


def quick(**heuristic: Any) -> Rehearsal:
    """A run that germinates after one report without improvement."""
    return Rehearsal({"tracker": QUICK["tracker"], "heuristic": QUICK["heuristic"] | heuristic})


def falling(stage: str = "TRAINING", **fields: Any) -> dict[str, Any]:
    """A seed that rule 3 culls."""
    metrics: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}
    return seed("s1", stage, **(metrics | fields))


def outcome(step: Step, status: str, detail: str = "") -> dict[str, str]:
    return {"command_id": step.commands[0].command_id, "status": status, "detail": detail}


def moves(step: Step) -> list[str]:
    """The transitions a report showed."""
    return [transition.status.value for transition in step.outcomes]


def germinated(run: Rehearsal, **fields: Any) -> Step:
    """The first two reports of a run: the second asks for a germination."""
    run.report(0, val_accuracy=50.0)
    step = run.report(1, val_accuracy=50.0, **fields)
    assert step.action == "GERMINATE_NORM"
    return step


def culled(run: Rehearsal, epoch: int = 10) -> Step:
    """A report whose answer is a cull of s1."""
    step = run.report(epoch, falling())
    assert step.action == "CULL"
    return step


# ISSUED → EXECUTED, REFUSED, FAILED, EXPIRED


@pytest.mark.parametrize("status", ["EXECUTED", "REFUSED", "FAILED", "EXPIRED"])
def test_an_issued_command_takes_every_outcome(status: str) -> None:
    run = quick()
    step = germinated(run)
    assert moves(run.report(2, val_accuracy=50.0, outcomes=[outcome(step, status)])) == [status]


def test_a_command_expires_after_the_next_epoch() -> None:
    run = quick()
    step = germinated(run)
    assert step.commands[0].expires_after_epoch == 2
    assert moves(run.report(2, val_accuracy=50.0)) == []
    assert moves(run.report(3, val_accuracy=50.0)) == ["EXPIRED"]


@pytest.mark.parametrize("first", ["REFUSED", "FAILED"])
@pytest.mark.parametrize("second", ["EXECUTED", "REFUSED", "FAILED", "EXPIRED"])
def test_refused_and_failed_are_final(first: str, second: str) -> None:
    run = quick()
    step = germinated(run)
    run.report(2, val_accuracy=60.0, outcomes=[outcome(step, first)])
    later = run.report(3, val_accuracy=70.0, outcomes=[outcome(step, second)])
    assert moves(later) == []
    assert "changes nothing" in later.warnings[0]


def test_only_executed_follows_expired() -> None:
    run = quick()
    step = germinated(run)
    run.report(9, val_accuracy=60.0)
    ignored = run.report(10, val_accuracy=70.0, outcomes=[outcome(step, "REFUSED")])
    assert moves(ignored) == []
    assert "ignored: it was EXPIRED before" in ignored.warnings[0]
    assert moves(run.report(11, val_accuracy=80.0, outcomes=[outcome(step, "EXECUTED")])) == ["EXECUTED"]


def test_an_outcome_told_twice_counts_once() -> None:
    run = quick()
    step = germinated(run)
    twice = [outcome(step, "EXECUTED"), outcome(step, "EXECUTED")]
    later = run.report(2, val_accuracy=60.0, outcomes=twice)
    assert (moves(later), later.warnings) == (["EXECUTED"], ())
    assert run.state.ledger.germinations == 1


def test_the_outcome_of_a_command_never_issued_is_a_warning() -> None:
    later = Rehearsal().report(0, outcomes=[{"command_id": "nobody's", "status": "EXECUTED"}])
    assert later.warnings == ("outcome of nobody's changes nothing: it is settled already, or no command",)


def test_the_outcome_of_the_last_wait_is_no_news() -> None:
    run = quick()
    later = run.report(1, val_accuracy=60.0, outcomes=[outcome(run.report(0, val_accuracy=50.0), "EXECUTED")])
    assert (later.outcomes, later.warnings) == ((), ())


def test_the_outcome_of_a_wait_is_known_while_it_is_the_last_reply() -> None:
    run = quick()
    (wait,) = run.report(0, val_accuracy=50.0).commands
    assert run.engine.tracks(run.state, wait.command_id)
    run.report(1, val_accuracy=60.0)
    assert not run.engine.tracks(run.state, wait.command_id)


# GERMINATE


def test_a_germination_takes_effect_when_its_seed_appears() -> None:
    run = quick()
    germinated(run)
    later = run.report(2, seed("s1", "GERMINATED"), val_accuracy=50.0)
    assert moves(later) == ["EXECUTED"]
    assert (run.state.ledger.germinations, run.state.ledger.cursor, run.state.ledger.open) == (1, 1, ())


def test_a_germination_takes_effect_when_its_outcome_says_so_and_only_once() -> None:
    run = quick()
    step = germinated(run)
    later = run.report(2, seed("s1", "GERMINATED"), val_accuracy=50.0, outcomes=[outcome(step, "EXECUTED")])
    assert moves(later) == ["EXECUTED"]
    assert (run.state.ledger.germinations, run.state.ledger.cursor) == (1, 1)


def test_a_seed_of_another_blueprint_is_not_its_effect() -> None:
    run = quick()
    germinated(run)
    later = run.report(2, seed("s1", "GERMINATED", blueprint_id="attention"), val_accuracy=50.0)
    assert moves(later) == []
    assert (run.state.ledger.germinations, run.state.ledger.cursor) == (0, 0)


def test_a_pending_germination_is_not_followed_by_another() -> None:
    run = quick(max_concurrent_seeds=3)
    germinated(run)
    step = run.report(2, val_accuracy=50.0)
    assert step.action == "WAIT"
    assert step.context.germination_pending


def test_an_expired_germination_is_issued_again_with_the_same_blueprint() -> None:
    run = quick()
    germinated(run)
    run.report(2, val_accuracy=50.0)
    assert run.report(3, val_accuracy=50.0).action == "GERMINATE_NORM"


def test_an_executed_germination_without_a_visible_seed_stays_pending_for_that_report() -> None:
    run = quick()
    step = germinated(run)
    later = run.report(2, val_accuracy=50.0, outcomes=[outcome(step, "EXECUTED")])
    assert (later.action, later.context.germination_pending) == ("WAIT", True)
    again = run.report(3, val_accuracy=50.0)
    assert (again.action, again.context.germination_pending) == ("GERMINATE_ATTENTION", False)
    assert run.state.ledger.germinations == 1


def test_a_seed_that_appears_a_report_after_its_outcome_counts_once() -> None:
    run = quick()
    step = germinated(run)
    run.report(2, val_accuracy=50.0, outcomes=[outcome(step, "EXECUTED")])
    run.report(3, seed("s1", "GERMINATED"), val_accuracy=50.0)
    assert (run.state.ledger.germinations, run.state.ledger.cursor, run.state.ledger.open) == (1, 1, ())


def test_a_seed_that_appears_after_the_deadline_counts_only_with_an_outcome() -> None:
    silent, told = quick(), quick()
    germinated(silent)
    step = germinated(told)
    silent.report(3, seed("s1", "GERMINATED"), val_accuracy=50.0)
    told.report(3, seed("s1", "GERMINATED"), val_accuracy=50.0, outcomes=[outcome(step, "EXECUTED")])
    assert (silent.state.ledger.germinations, silent.state.ledger.cursor) == (0, 0)
    assert (told.state.ledger.germinations, told.state.ledger.cursor) == (1, 1)


def test_a_late_outcome_still_counts_a_germination() -> None:
    run = quick()
    step = germinated(run)
    run.report(5, val_accuracy=60.0)
    run.report(6, seed("s1", "GERMINATED"), val_accuracy=70.0, outcomes=[outcome(step, "EXECUTED")])
    assert (run.state.ledger.germinations, run.state.ledger.cursor) == (1, 1)


@pytest.mark.parametrize("status", ["REFUSED", "FAILED"])
def test_a_refused_germination_moves_the_cursor_and_is_told_in_the_next_reason(status: str) -> None:
    run = quick()
    step = germinated(run)
    later = run.report(2, val_accuracy=50.0, outcomes=[outcome(step, status, "out of memory")])
    assert later.action == "GERMINATE_ATTENTION"
    assert f"(GERMINATE {status.lower()}: out of memory)" in later.commands[0].reason
    assert run.state.ledger.germinations == 0
    again = run.report(3, seed("s1", "GERMINATED"), val_accuracy=50.0)
    assert "out of memory" not in again.commands[0].reason


def test_a_germination_that_fails_after_it_was_executed_has_moved_the_cursor_once() -> None:
    run = quick(blueprint_rotation=["norm", "attention", "norm"])
    step = germinated(run)
    both = [outcome(step, "EXECUTED"), outcome(step, "FAILED")]
    run.report(2, val_accuracy=60.0, outcomes=both)
    assert (run.state.ledger.cursor, run.state.ledger.germinations) == (1, 1)


def test_two_seeds_of_one_blueprint_are_the_effects_of_two_commands() -> None:
    run = quick(blueprint_rotation=["norm"])
    first = germinated(run)
    run.report(2, val_accuracy=50.0)
    assert run.report(3, val_accuracy=50.0).action == "GERMINATE_NORM"
    both = [seed("s1", "GERMINATED"), seed("s2", "GERMINATED")]
    run.report(4, *both, val_accuracy=50.0, outcomes=[outcome(first, "EXECUTED")])
    assert (run.state.ledger.germinations, run.state.ledger.open) == (2, ())


# CULL


@pytest.mark.parametrize("shown", [[], ["CULLED"], ["EMBARGOED"], ["DORMANT"]], ids=str)
def test_a_cull_takes_effect_in_the_report_that_shows_it(shown: list[str]) -> None:
    run = Rehearsal()
    culled(run)
    later = run.report(11, *[seed("s1", stage) for stage in shown])
    assert moves(later) == ["EXECUTED"]
    assert later.context.epochs_since_cull == 0
    assert later.context.penalties == {"norm": 2.0}
    assert run.state.ledger.open == ()


def test_a_cull_takes_effect_in_the_report_whose_outcome_says_so() -> None:
    run = Rehearsal()
    step = culled(run)
    run.report(11, falling(), outcomes=[outcome(step, "EXECUTED")])
    later = run.report(14)
    assert later.context.epochs_since_cull == 3
    assert later.context.penalties["norm"] == pytest.approx(2.0 * 0.5 ** (3 / 50))


def test_a_cull_counts_once_whatever_tells_of_it() -> None:
    run = Rehearsal()
    step = culled(run)
    told = [outcome(step, "EXECUTED")]
    run.report(11, seed("s1", "CULLED"), outcomes=told)
    run.report(12, seed("s1", "EMBARGOED"), outcomes=told)
    run.report(13)
    later = run.report(14, outcomes=told)
    assert later.context.epochs_since_cull == 3
    assert later.context.penalties["norm"] == pytest.approx(2.0 * 0.5 ** (3 / 50))


def test_a_cull_that_nobody_asked_for_counts_too() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING"))
    later = run.report(11)
    assert (later.context.epochs_since_cull, later.context.penalties) == (0, {"norm": 2.0})
    assert later.outcomes == ()


@pytest.mark.parametrize("stage", ["CULLED", "EMBARGOED", "RESETTING"])
def test_a_seed_first_seen_failed_was_not_culled(stage: str) -> None:
    step = Rehearsal().report(10, seed("s1", stage))
    assert (step.context.epochs_since_cull, step.context.penalties) == (None, {})


@pytest.mark.parametrize("stage", ["CULLED", "DORMANT", "FOSSILIZED"])
def test_a_seed_that_was_not_live_leaves_without_a_cull(stage: str) -> None:
    run = Rehearsal()
    run.report(10, seed("s1", stage))
    assert run.report(11).context.epochs_since_cull is None


def test_a_cull_that_did_not_happen_is_issued_again_while_its_condition_holds() -> None:
    run = Rehearsal()
    first = culled(run)
    second = run.report(11, falling())
    assert second.action == "CULL"
    assert second.commands[0].command_id != first.commands[0].command_id
    recovered = run.report(12, seed("s1", "TRAINING", improvement_since_stage_start=1.0))
    assert recovered.action == "WAIT"


def test_two_culls_of_one_seed_cost_once() -> None:
    run = Rehearsal()
    first = culled(run)
    second = run.report(11, falling())
    run.report(12)
    later = run.report(13, outcomes=[outcome(first, "EXECUTED"), outcome(second, "EXECUTED")])
    assert later.context.epochs_since_cull == 1
    assert later.context.penalties["norm"] == pytest.approx(2.0 * 0.5 ** (1 / 50))


def test_a_cull_that_happened_after_its_deadline_counts_from_the_report_that_shows_it() -> None:
    run = Rehearsal()
    step = culled(run)
    shown = run.report(15)
    assert (moves(shown), shown.context.epochs_since_cull) == (["EXPIRED"], 0)
    later = run.report(16, outcomes=[outcome(step, "EXECUTED")])
    assert (moves(later), later.context.epochs_since_cull) == (["EXECUTED"], 1)
    assert later.context.penalties["norm"] == pytest.approx(2.0 * 0.5 ** (1 / 50))


def test_a_cull_of_a_vanished_seed_told_late_counts_when_told() -> None:
    run = Rehearsal()
    step = culled(run)
    run.report(15, falling())
    later = run.report(16, falling(), outcomes=[outcome(step, "EXECUTED")])
    assert later.context.epochs_since_cull == 0
    assert later.action == "WAIT"


@pytest.mark.parametrize("status", ["REFUSED", "FAILED"])
def test_a_refused_cull_costs_nothing_and_is_told_with_the_next(status: str) -> None:
    run = Rehearsal()
    step = culled(run)
    later = run.report(11, falling(), outcomes=[outcome(step, status)])
    assert later.action == "CULL"
    assert f"(CULL of s1 {status.lower()}: no reason given)" in later.commands[0].reason
    assert later.context.epochs_since_cull is None


def test_a_refusal_is_told_once() -> None:
    run = Rehearsal()
    step = culled(run)
    recovered = seed("s1", "TRAINING", improvement_since_stage_start=1.0)
    told = [outcome(step, "REFUSED", "busy")]
    assert "busy" in run.report(11, recovered, outcomes=told).commands[0].reason
    assert "busy" not in run.report(12, recovered).commands[0].reason


def test_after_executed_a_live_seed_waits_and_the_next_report_breaks_the_promise() -> None:
    run = Rehearsal()
    step = culled(run)
    waiting = run.report(11, falling(), outcomes=[outcome(step, "EXECUTED")])
    assert waiting.action == "WAIT"
    assert waiting.context.settled_seeds == {"s1"}
    broken = run.report(12, falling())
    assert moves(broken) == ["FAILED"]
    assert broken.action == "CULL"
    assert "(CULL of s1 failed: the seed is still live)" in broken.commands[0].reason


def test_the_penalty_and_embargo_of_a_broken_cull_stay_and_are_not_added_again() -> None:
    run = Rehearsal()
    step = culled(run)
    run.report(11, falling(), outcomes=[outcome(step, "EXECUTED")])
    again = run.report(12, falling())
    run.report(13, falling(), outcomes=[outcome(again, "EXECUTED")])
    later = run.report(14)
    assert later.context.epochs_since_cull == 3
    assert later.context.penalties["norm"] == pytest.approx(2.0 * 0.5 ** (3 / 50))


def test_the_trainer_itself_may_say_that_an_executed_cull_failed() -> None:
    run = Rehearsal()
    step = culled(run)
    run.report(11, falling(), outcomes=[outcome(step, "EXECUTED")])
    later = run.report(12, falling(), outcomes=[outcome(step, "FAILED", "it would not die")])
    assert moves(later) == ["FAILED"]
    assert "it would not die" in later.commands[0].reason


def test_a_reborn_seed_is_culled_like_any_other() -> None:
    run = Rehearsal()
    culled(run)
    run.report(11, seed("s1", "CULLED"))
    run.report(12, seed("s1", "GERMINATED"))
    later = run.report(13, seed("s1", "CULLED"))
    assert later.context.epochs_since_cull == 0
    assert later.context.penalties["norm"] == pytest.approx(2.0 * 0.5 ** (2 / 50) + 2.0)


def test_the_commands_of_an_old_seed_mean_nothing_for_a_reborn_one() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    assert step.action == "FOSSILIZE"
    run.report(14, seed("s1", "CULLED"))
    run.report(15, seed("s1", "GERMINATED"))
    later = run.report(16, seed("s1", "TRAINING"), outcomes=[outcome(step, "EXECUTED")])
    assert (moves(later), later.context.settled_seeds) == ([], frozenset())


# FOSSILIZE


@pytest.mark.parametrize("shown", [["FOSSILIZED"], [], ["DORMANT"]], ids=str)
@pytest.mark.parametrize("told", [True, False])
def test_a_fossilised_seed_may_vanish_without_counting_as_culled(shown: list[str], told: bool) -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    assert step.action == "FOSSILIZE"
    outcomes = [outcome(step, "EXECUTED")] if told else []
    later = run.report(11, *[seed("s1", stage) for stage in shown], outcomes=outcomes)
    assert moves(later) == ["EXECUTED"]
    assert (later.context.epochs_since_cull, later.context.penalties) == (None, {})
    assert "SEED_FOSSILIZED" in [event.type for event in later.events]


def test_a_seed_that_vanishes_a_report_after_its_fossilization_was_told_is_not_culled() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    waiting = run.report(11, seed("s1", "PROBATIONARY", **GOOD), outcomes=[outcome(step, "EXECUTED")])
    assert waiting.action == "WAIT"
    assert run.report(12).context.epochs_since_cull is None


def test_a_seed_that_vanishes_after_its_fossilization_was_refused_is_culled() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    later = run.report(11, outcomes=[outcome(step, "REFUSED")])
    assert later.context.epochs_since_cull == 0


def test_a_seed_that_vanishes_after_its_fossilization_expired_is_culled() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    assert run.report(15).context.epochs_since_cull == 0


def test_a_seed_culled_while_its_fossilization_is_pending_is_culled() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    assert run.report(11, seed("s1", "CULLED")).context.epochs_since_cull == 0


def test_a_fossilization_executed_of_a_seed_still_live_fails_in_the_next_report() -> None:
    run = Rehearsal()
    step = run.report(10, seed("s1", "PROBATIONARY", **GOOD))
    run.report(11, seed("s1", "PROBATIONARY", **GOOD), outcomes=[outcome(step, "EXECUTED")])
    broken = run.report(12, seed("s1", "PROBATIONARY", **GOOD))
    assert moves(broken) == ["FAILED"]
    assert broken.action == "FOSSILIZE"


def test_a_seed_fossilised_unasked_costs_nothing() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "PROBATIONARY"))
    later = run.report(11, seed("s1", "FOSSILIZED"))
    assert (later.outcomes, later.context.epochs_since_cull) == ((), None)


# Embargo and what a lost command costs


def test_the_embargo_runs_five_epochs_from_the_report_that_showed_the_cull() -> None:
    run = quick()
    run.report(9, val_accuracy=50.0, available_slots=0)
    culled(run)
    reasons = [run.report(epoch, val_accuracy=50.0).commands[0].reason for epoch in range(12, 18)]
    assert reasons[:5] == [f"embargo {n}/5" for n in range(5)]
    assert reasons[5].endswith("germinate attention")


def test_a_command_lost_on_the_way_costs_nothing() -> None:
    run = Rehearsal()
    culled(run)
    recovered = seed("s1", "TRAINING", improvement_since_stage_start=1.0)
    for epoch in range(11, 15):
        step = run.report(epoch, recovered)
    assert (step.context.epochs_since_cull, step.context.penalties) == (None, {})


# Outcomes told between reports


def test_an_outcome_told_between_reports_takes_effect_with_the_next() -> None:
    run = quick()
    step = germinated(run)
    told = CommandOutcome.model_validate(outcome(step, "REFUSED", "busy"))
    assert run.engine.tracks(run.state, told.command_id)
    run.state = run.engine.queue_outcome(run.state, told)
    assert run.state.ledger.cursor == 0
    later = run.report(2, val_accuracy=50.0)
    assert moves(later) == ["REFUSED"]
    assert "busy" in later.commands[0].reason
    assert run.state.queued == ()
    assert not run.engine.tracks(run.state, told.command_id)


def test_outcomes_told_before_come_before_those_of_the_report() -> None:
    run = quick()
    step = germinated(run)
    run.state = run.engine.queue_outcome(run.state, CommandOutcome.model_validate(outcome(step, "EXECUTED")))
    later = run.report(2, val_accuracy=50.0, outcomes=[outcome(step, "FAILED")])
    assert moves(later) == ["EXECUTED", "FAILED"]
    assert run.state.ledger.germinations == 1


def test_telling_the_same_outcome_again_changes_nothing() -> None:
    run = quick()
    step = germinated(run)
    told = CommandOutcome(command_id=step.commands[0].command_id, status=CommandStatus.FAILED, detail="a")
    once = run.engine.queue_outcome(run.state, told)
    assert run.engine.queue_outcome(once, told) is once
    assert run.engine.queue_outcome(once, told.model_copy(update={"detail": "b"})) is once


# Bounds


def test_unanswered_commands_are_forgotten_in_the_end() -> None:
    run = Rehearsal()
    for epoch in range(10, 60):
        run.report(epoch, falling())
    assert len(run.state.ledger.late) == LATE_COMMANDS
    assert len(run.state.ledger.open) <= 2


def test_culled_seeds_are_remembered_only_while_they_are_reported() -> None:
    run = Rehearsal()
    culled(run)
    run.report(11, seed("s1", "CULLED"))
    assert list(run.state.ledger.culled_seeds) == ["s1"]
    run.report(12)
    assert list(run.state.ledger.culled_seeds) == []


def test_a_blueprint_the_topology_does_not_have_is_never_penalised() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING", blueprint_id="exotic"))
    later = run.report(11)
    assert (later.context.epochs_since_cull, later.context.penalties) == (0, {})


def test_several_seeds_are_answered_and_confirmed_one_by_one() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    fall: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}
    one, two = seed("s1", "TRAINING", **fall), seed("s2", "SHADOWING", **fall)
    step = run.report(10, two, one, available_slots=0)
    assert [command.target_seed_id for command in step.commands] == ["s1", "s2"]
    later = run.report(11, seed("s1", "CULLED"), two)
    assert moves(later) == ["EXECUTED"]
    assert [command.target_seed_id for command in later.commands] == ["s2"]
    assert later.commands[0].expected_stage is SeedStage.SHADOWING
