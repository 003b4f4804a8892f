"""Masks, and the check that a policy keeps to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tamiyo_core import Decision, DecisionContext, IllegalDecisionError, germination_open, mask_of
from tamiyo_core.legality import require_legal
from tamiyo_leyline import RunConfig, SeedSignals, TrainingSignals

MakeSeed = Callable[..., SeedSignals]
MakeSignals = Callable[..., TrainingSignals]
MakeContext = Callable[..., DecisionContext]

CONFIG = RunConfig()
OPEN: dict[str, Any] = {}


def test_germination_is_open_with_a_free_slot_and_nothing_against_it(
    make_signals: MakeSignals, make_context: MakeContext
) -> None:
    assert germination_open(make_signals(), make_context(), CONFIG)


@pytest.mark.parametrize(
    ("signals", "context"),
    [
        ({"available_slots": 0}, {}),
        ({"diverged": True}, {}),
        ({}, {"held": True}),
        ({}, {"germination_pending": True}),
        ({}, {"cull_pending": True}),
        ({}, {"epochs_since_cull": 4}),
    ],
    ids=str,
)
def test_germination_is_closed_while_anything_stands_against_it(
    make_signals: MakeSignals, make_context: MakeContext, signals: dict[str, Any], context: dict[str, Any]
) -> None:
    roomy = RunConfig.model_validate({"heuristic": {"max_concurrent_seeds": 9}})
    assert not germination_open(make_signals(**signals), make_context(**context), roomy)


def test_germination_is_open_when_the_embargo_is_over_or_off(
    make_signals: MakeSignals, make_context: MakeContext
) -> None:
    assert germination_open(make_signals(), make_context(epochs_since_cull=5), CONFIG)
    off = RunConfig.model_validate({"heuristic": {"embargo_epochs_after_cull": 0}})
    assert germination_open(make_signals(), make_context(epochs_since_cull=0, cull_pending=True), off)


def test_germination_is_closed_at_the_limit_of_live_seeds(
    make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    assert not germination_open(make_signals(make_seed()), make_context(), CONFIG)
    assert germination_open(make_signals(make_seed("FOSSILIZED")), make_context(), CONFIG)


@pytest.mark.parametrize(
    ("stage", "legal"),
    [
        ("GERMINATED", {"WAIT", "CULL"}),
        ("TRAINING", {"WAIT", "CULL"}),
        ("PROBATIONARY", {"WAIT", "FOSSILIZE", "CULL"}),
    ],
)
def test_the_mask_of_a_seed_follows_its_stage(
    make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext, stage: str, legal: set[str]
) -> None:
    context, one = make_context(), make_seed(stage)
    mask = mask_of(Decision(context.layout.wait, "-", 1.0, one), make_signals(one), context, CONFIG)
    assert {name for name, allowed in zip(context.layout.names, mask, strict=True) if allowed} == legal


@pytest.mark.parametrize("context", [{"held": True}, {"settled_seeds": frozenset({"s1"})}], ids=str)
def test_only_wait_is_legal_under_a_hold_and_for_a_seed_whose_end_is_executed(
    make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext, context: dict[str, Any]
) -> None:
    known, one = make_context(**context), make_seed("PROBATIONARY")
    mask = mask_of(Decision(known.layout.wait, "-", 1.0, one), make_signals(one), known, CONFIG)
    assert mask == (True, *[False] * 6)


def test_a_policy_must_answer_for_every_live_seed_and_then_for_germination(
    make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    context, one, two = make_context(), make_seed(), make_seed(seed_id="s2", slot_id="b")
    wait = Decision(context.layout.wait, "-", 1.0)
    first, second = wait._replace(seed=one), wait._replace(seed=two)
    signals = make_signals(one, make_seed("CULLED", seed_id="s3"), two)
    require_legal((first, second, wait), signals, context, CONFIG)
    for wrong in [
        (),
        (wait,),
        (first, wait),
        (second, first, wait),
        (first, second),
        (first, second, wait, wait),
    ]:
        with pytest.raises(IllegalDecisionError, match="one decision for each of 2 live seeds"):
            require_legal(wrong, signals, context, CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": ""}, "has no reason"),
        ({"confidence": 1.5}, "confidence 1.5 is not in 0–1"),
        ({"confidence": float("nan")}, "confidence nan is not in 0–1"),
    ],
)
def test_a_decision_must_say_why_and_how_sure_it_is(
    make_signals: MakeSignals, make_context: MakeContext, change: dict[str, Any], message: str
) -> None:
    wrong = Decision(make_context().layout.wait, "-", 1.0)._replace(**change)
    with pytest.raises(IllegalDecisionError, match=message):
        require_legal((wrong,), make_signals(), make_context(), CONFIG)


def test_actions_that_the_mask_forbids_are_refused_by_name(
    make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    context, one = make_context(), make_seed()
    layout = context.layout
    wait = Decision(layout.wait, "-", 1.0)
    cases = [
        ((Decision(layout.fossilize, "-", 1.0, one), wait), "FOSSILIZE is not legal for seed s1"),
        (
            (Decision(layout.germinate("norm"), "-", 1.0, one), wait),
            "GERMINATE_NORM is not legal for seed s1",
        ),
        ((wait._replace(seed=one), wait._replace(action=layout.cull)), "CULL is not legal for germination"),
        (
            (wait._replace(seed=one), wait._replace(action=layout.germinate("norm"))),
            "GERMINATE_NORM is not legal for germination",
        ),
    ]
    for decisions, message in cases:
        with pytest.raises(IllegalDecisionError, match=message):
            require_legal(decisions, make_signals(one), context, CONFIG)


def test_an_action_of_another_layout_is_refused(make_signals: MakeSignals, make_context: MakeContext) -> None:
    other = RunConfig.model_validate({"topology": "transformer"}).topology.layout
    foreign = Decision(other.germinate("lora"), "-", 1.0)
    with pytest.raises(IllegalDecisionError, match="GERMINATE_LORA for germination is not in the layout"):
        require_legal((foreign,), make_signals(), make_context(), CONFIG)
