"""The heuristic passes the conformance suite; policies that break the contract do not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from tamiyo_core import (
    Decision,
    DecisionContext,
    HeuristicPolicy,
    HeuristicState,
    IllegalDecisionError,
    Policy,
)
from tamiyo_core.conformance import PolicyConformance
from tamiyo_leyline import RunConfig, TrainingSignals

Answer = tuple[Any, tuple[Decision, ...]]
SAYS_WHY = "test_every_decision_says_why_and_how_sure_it_is"
EVERY_SEED = "test_every_live_seed_gets_a_decision_and_germination_one"
LEGAL = "test_its_decisions_are_legal"
CHECKS = sorted(name for name in dir(PolicyConformance) if name.startswith("test_"))


class TestHeuristicConforms(PolicyConformance):
    """With its defaults."""

    def make_policy(self, config: RunConfig) -> Policy:
        return HeuristicPolicy(config)


class TestExploringHeuristicConforms(PolicyConformance):
    """With chance in its choice of blueprints."""

    def make_policy(self, config: RunConfig) -> Policy:
        return HeuristicPolicy(config)

    def config(self) -> RunConfig:
        heuristic = {"max_concurrent_seeds": 2, "blueprint_exploration": 0.5}
        return RunConfig.model_validate({"objective": "val_loss", "heuristic": heuristic})


class Broken(HeuristicPolicy):
    """The heuristic, with the answer of `decide` spoilt by `spoil`."""

    def __init__(self, config: RunConfig, spoil: Callable[[Answer, TrainingSignals, Any], Answer]) -> None:
        super().__init__(config)
        self._spoil = spoil

    def decide(self, state: Any, signals: TrainingSignals, context: DecisionContext) -> Answer:
        return self._spoil(super().decide(state, signals, context), signals, context)


def fails(check: str, policy: Callable[[RunConfig], Policy]) -> bool:
    """Whether a policy fails this check."""

    class Suite(PolicyConformance):
        def make_policy(self, config: RunConfig) -> Policy:
            return policy(config)

    try:
        getattr(Suite(), check)()
    except (AssertionError, IllegalDecisionError, TypeError, ValueError):
        return True
    return False


def caught(check: str, spoil: Callable[[Answer, TrainingSignals, Any], Answer]) -> bool:
    """Whether this check catches the heuristic with its answers spoilt."""
    return fails(check, lambda config: Broken(config, spoil))


def change(answer: Answer, **fields: Any) -> Answer:
    """The same answer with fields of every decision changed."""
    return answer[0], tuple(decision._replace(**fields) for decision in answer[1])


@pytest.mark.parametrize("check", CHECKS)
def test_a_policy_that_keeps_the_contract_passes(check: str) -> None:
    assert not caught(check, lambda answer, signals, context: answer)


def test_a_policy_without_reasons_is_caught() -> None:
    assert caught(SAYS_WHY, lambda a, s, c: change(a, reason=""))


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan")])
def test_a_confidence_outside_0_to_1_is_caught(confidence: float) -> None:
    assert caught(SAYS_WHY, lambda a, s, c: change(a, confidence=confidence))


def test_a_policy_that_forgets_a_seed_is_caught() -> None:
    assert caught(EVERY_SEED, lambda a, s, c: (a[0], a[1][-1:]))


def test_a_policy_that_forgets_germination_is_caught() -> None:
    assert caught(EVERY_SEED, lambda a, s, c: (a[0], a[1][:-1]))


@pytest.mark.parametrize("action", ["fossilize", "cull"])
def test_an_illegal_action_is_caught(action: str) -> None:
    assert caught(LEGAL, lambda a, s, c: change(a, action=getattr(c.layout, action)))


def test_a_policy_that_germinates_whenever_it_likes_is_caught() -> None:
    def germinate(answer: Answer, signals: TrainingSignals, context: DecisionContext) -> Answer:
        last = answer[1][-1]._replace(action=context.layout.germinate("norm"))
        return answer[0], (*answer[1][:-1], last)

    assert caught(LEGAL, germinate)


def test_probabilities_that_do_not_sum_to_one_are_caught() -> None:
    assert caught(SAYS_WHY, lambda a, s, c: change(a, probabilities=(0.5,) * len(c.layout.actions)))


@pytest.mark.parametrize(
    "check", ["test_the_same_arguments_give_the_same_answer", "test_a_restart_changes_no_later_decision"]
)
def test_a_policy_that_decides_by_its_own_counter_is_caught(check: str) -> None:
    counter = itertools.count()
    assert caught(check, lambda a, s, c: change(a, reason=f"answer {next(counter)}"))


class Hoarder(HeuristicPolicy):
    """Keeps every epoch it has seen."""

    def initial(self) -> Any:
        return ()

    def snapshot(self, state: Any) -> list[Any]:
        return list(state)

    def restore(self, data: Any) -> Any:
        return tuple(data)

    def decide(self, state: Any, signals: TrainingSignals, context: DecisionContext) -> Answer:
        _, decisions = super().decide(HeuristicState(), signals, context)
        return (*state, signals.metrics.epoch), decisions


class Mutator(Hoarder):
    """Writes into the state it was given."""

    def initial(self) -> Any:
        return [0]

    def restore(self, data: Any) -> Any:
        return data

    def decide(self, state: Any, signals: TrainingSignals, context: DecisionContext) -> Answer:
        state[0] += 1
        return state, super().decide(tuple(state), signals, context)[1]


class Forgetful(Hoarder):
    """Leaves its state out of its snapshot, though its reasons follow it."""

    def snapshot(self, state: Any) -> list[Any]:
        return []

    def decide(self, state: Any, signals: TrainingSignals, context: DecisionContext) -> Answer:
        after, decisions = super().decide(state, signals, context)
        return after[-3:], tuple(d._replace(reason=f"{d.reason} after {len(state)}") for d in decisions)


class NotJson(Hoarder):
    """Its snapshot is not JSON."""

    def snapshot(self, state: Any) -> Any:
        return {float("nan")}


@pytest.mark.parametrize(
    ("policy", "check"),
    [
        (Hoarder, "test_its_state_stays_small"),
        (Mutator, "test_deciding_changes_none_of_its_arguments"),
        (Forgetful, "test_a_restart_changes_no_later_decision"),
        (NotJson, "test_a_restart_changes_no_later_decision"),
    ],
)
def test_a_policy_that_mishandles_its_state_is_caught(
    policy: Callable[[RunConfig], Policy], check: str
) -> None:
    assert fails(check, policy)


def test_a_nameless_policy_is_caught() -> None:
    class Nameless(HeuristicPolicy):
        name = ""

    assert fails("test_it_says_who_it_is", Nameless)


def test_a_suite_must_say_how_its_policy_is_made() -> None:
    with pytest.raises(TypeError, match="override make_policy"):
        PolicyConformance().test_it_says_who_it_is()


def test_the_scripts_reach_every_kind_of_action() -> None:
    class Watching(PolicyConformance):
        def make_policy(self, config: RunConfig) -> Policy:
            return HeuristicPolicy(config)

        def kinds(self) -> set[str]:
            return {decision.kind.value for step in self._steps() for decision in step.decisions}

    assert Watching().kinds() == {"WAIT", "GERMINATE", "FOSSILIZE", "CULL"}
