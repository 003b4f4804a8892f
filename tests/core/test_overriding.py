"""An operator's order: carried out once where it is legal, told in any case."""

from __future__ import annotations

from typing import Any

import pytest
from tamiyo_core import Override, Step, explain_slots
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_leyline import CommandType, RiskLevel, TelemetryEventType


def order(action: str, seed_id: str | None = None, by: str | None = "ada") -> Override:
    return Override(action, seed_id, "it smells", by)


def commanded(step: Step) -> list[tuple[CommandType, str | None]]:
    """What the reply asks for, of which seed."""
    return [(command.command_type, command.target_seed_id) for command in step.commands]


def told(step: Step) -> str:
    """What the event about the order says."""
    (message,) = [e.message for e in step.events if e.type is TelemetryEventType.OPERATOR_OVERRIDE]
    return message


def test_a_seed_the_policy_would_keep_is_culled() -> None:
    step = Rehearsal().report(3, seed("s1", "TRAINING"), override=order("CULL", "s1"))
    (command,) = step.commands
    assert (command.command_type, command.target_seed_id) == (CommandType.CULL, "s1")
    assert (command.risk_level, command.confidence) == (RiskLevel.ORANGE, 1.0)
    assert command.reason == "ordered by operator: it smells"
    assert told(step) == "CULL of s1, ordered by ada: it smells (instead of WAIT)"
    decision = step.decisions[0]
    assert (decision.ordered, decision.runner_up, decision.probabilities) == (True, decision.runner_up, None)
    assert decision.runner_up is not None
    assert decision.runner_up.name == "WAIT"


def test_an_ordered_cull_begins_an_embargo_like_any_other() -> None:
    run = Rehearsal()
    run.report(3, seed("s1", "TRAINING"), override=order("CULL", "s1"))
    run.report(4)
    step = run.report(5)
    assert run.engine.embargo_until(step.context, 5) == 9


def test_the_order_holds_for_one_report() -> None:
    run = Rehearsal()
    run.report(3, seed("s1", "TRAINING"), override=order("CULL", "s1"))
    step = run.report(4, seed("s1", "TRAINING"))
    assert commanded(step) == [(CommandType.REQUEST_STATE, "s1")]


def test_germination_begins_at_once_with_the_blueprint_ordered() -> None:
    step = Rehearsal().report(0, override=order("GERMINATE_ATTENTION"))
    (command,) = step.commands
    assert (command.command_type, command.blueprint_id) == (CommandType.GERMINATE, "attention")


def test_wait_spares_the_seed_named_and_no_other() -> None:
    falling: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}
    seeds = [seed(name, "TRAINING", **falling) for name in ("s1", "s2")]
    config = {"heuristic": {"max_concurrent_seeds": 2}}
    spared = Rehearsal(config).report(9, *seeds, override=order("WAIT", "s1"))
    assert commanded(spared) == [(CommandType.CULL, "s2")]
    nothing = Rehearsal(config).report(9, *seeds, override=order("WAIT"))
    assert commanded(nothing) == [(CommandType.REQUEST_STATE, None)]


def test_an_order_stands_above_a_hold_which_the_others_obey() -> None:
    run = Rehearsal({"heuristic": {"max_concurrent_seeds": 3}})
    seeds = seed("s1", "TRAINING"), seed("s2", "TRAINING")
    step = run.report(3, *seeds, hold="lunch", override=order("CULL", "s2"))
    assert commanded(step) == [(CommandType.CULL, "s2")]
    assert [decision.reason for decision in step.decisions if not decision.ordered] == [
        "held by operator: lunch"
    ] * 2
    assert [slot.mask["CULL"] for slot in explain_slots(run.engine, step)] == [False, True, False]


@pytest.mark.parametrize(
    ("override", "seeds", "why"),
    [
        (order("FOSSILIZE", "s1"), [seed("s1", "TRAINING")], "FOSSILIZE is not legal at this report"),
        (order("CULL", "s2"), [seed("s1", "TRAINING")], "the seed is not live"),
        (order("CULL", "s1"), [seed("s1", "FOSSILIZED")], "the seed is not live"),
        (order("GERMINATE_NORM"), [seed("s1", "TRAINING")], "GERMINATE_NORM is not legal at this report"),
    ],
)
def test_what_is_not_legal_is_not_issued_and_said_so(
    override: Override, seeds: list[dict[str, object]], why: str
) -> None:
    step = Rehearsal().report(3, *seeds, override=override)
    assert {command.command_type for command in step.commands} == {CommandType.REQUEST_STATE}
    assert told(step).endswith(f"(not issued: {why})")


def test_nothing_germinates_into_a_cull_of_the_same_report() -> None:
    falling = seed("s1", "TRAINING", improvement_since_stage_start=-9.0, epochs_in_current_stage=9)
    config = {"heuristic": {"max_concurrent_seeds": 2}}
    step = Rehearsal(config).report(9, falling, override=order("GERMINATE_NORM"))
    assert commanded(step) == [(CommandType.CULL, "s1")]
    assert told(step).endswith("(not issued: a seed is culled with this very report)")


def test_an_ordered_cull_stops_the_germination_that_the_policy_wanted() -> None:
    config = {"heuristic": {"max_concurrent_seeds": 2, "min_epochs_before_germinate": 0}}
    run, alone = Rehearsal(config), Rehearsal(config)
    for epoch in range(30):
        known = [seed("s1", "TRAINING")]
        wanted = alone.report(epoch, *known, val_accuracy=50.0)
        if commanded(wanted)[0][0] is CommandType.GERMINATE:
            ordered = run.report(epoch, *known, val_accuracy=50.0, override=order("CULL", "s1"))
            break
        run.report(epoch, *known, val_accuracy=50.0)
    assert commanded(ordered) == [(CommandType.CULL, "s1")]
    assert ordered.decisions[-1].reason == "an operator culls a seed with this very report"


def test_a_late_report_takes_no_order() -> None:
    step = Rehearsal().report(3, seed("s1", "TRAINING"), backfill=True, override=order("CULL", "s1"))
    assert commanded(step) == [(CommandType.REQUEST_STATE, None)]
    assert TelemetryEventType.OPERATOR_OVERRIDE not in {event.type for event in step.events}
