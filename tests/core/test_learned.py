"""LearnedPolicy: what a network is asked, and what its advice leads to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tamiyo_core import Advice, Decision, Policy, Question, RowAdvice, Step, uniform_draw
from tamiyo_core.conformance import PolicyConformance
from tamiyo_core.learned import LearnedPolicy
from tamiyo_core.observation import TENSOR
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_leyline import RunConfig, TelemetryEventType

WAIT, NORM, ATTENTION, FOSSILIZE, CULL = 0, 1, 2, 5, 6
FALLING: dict[str, Any] = {"improvement_since_stage_start": -9.0, "epochs_in_current_stage": 9}


def advice_row(mask: Sequence[bool], scores: Mapping[int, float]) -> RowAdvice:
    """Log-probabilities proportional to exp(score) over legal actions; 0.0 for an action without a score."""
    weights = [math.exp(scores.get(number, 0.0)) if legal else 0.0 for number, legal in enumerate(mask)]
    total = math.fsum(weights)
    return RowAdvice(
        tuple(round(math.log(weight / total), 6) if weight else -math.inf for weight in weights), 1.5, 0.25
    )


class Network:
    """Prefers the same actions in every row; remembers what it was asked."""

    def __init__(self, **scores: float) -> None:
        names = {"wait": WAIT, "norm": NORM, "attention": ATTENTION, "fossilize": FOSSILIZE, "cull": CULL}
        self.scores = {names[name]: score for name, score in scores.items()}
        self.asked: list[Question] = []

    def advise(self, questions: Sequence[Question]) -> Advice:
        self.asked += questions
        return tuple(advice_row(question.mask, self.scores) for question in questions)


def learned(config: RunConfig) -> LearnedPolicy:
    return LearnedPolicy(config, version="test-1", sha256="0" * 64, observation=TENSOR)


def rehearse(network: Network | None = None, **config: Any) -> Rehearsal:
    checked = RunConfig.model_validate(config)
    return Rehearsal(checked, learned(checked), None if network is None else network.advise)


class TestWithANetwork(PolicyConformance):
    def make_policy(self, config: RunConfig) -> Policy:
        return learned(config)

    def advise(self, questions: Sequence[Question]) -> Advice:
        """Prefers what the features hash to: different actions in different situations."""
        return tuple(
            advice_row(question.mask, {int(sum(map(abs, question.features))) % len(question.mask): 3.0})
            for question in questions
        )


class TestWithoutANetwork(PolicyConformance):
    def make_policy(self, config: RunConfig) -> Policy:
        return learned(config)


class TestSampling(TestWithANetwork):
    def config(self) -> RunConfig:
        return RunConfig.model_validate(
            {
                "heuristic": {"max_concurrent_seeds": 3},
                "learned": {"deterministic": False, "temperature": 2.0},
            }
        )


def germination(step: Step) -> Decision:
    return step.decisions[-1]


def test_the_most_probable_action_is_taken_with_its_numbers() -> None:
    step = rehearse(Network(norm=3.0, attention=2.0)).report(10, val_accuracy=50.0)
    decision = germination(step)
    assert decision.action.name == "GERMINATE_NORM"
    assert decision.runner_up is not None
    assert decision.runner_up.name == "GERMINATE_ATTENTION"
    assert decision.probabilities is not None
    assert math.fsum(decision.probabilities) == pytest.approx(1.0)
    assert decision.confidence == max(decision.probabilities) == decision.probabilities[NORM]
    assert (decision.value, decision.uncertainty) == (1.5, 0.25)
    told = [chance for chance in decision.probabilities if chance > 0.0]
    assert decision.entropy == pytest.approx(-sum(chance * math.log(chance) for chance in told))
    assert "GERMINATE_NORM" in decision.reason
    assert decision.fallback is None


def test_only_slots_with_a_choice_are_asked_about() -> None:
    network = Network()
    rehearse(network).report(10, val_accuracy=50.0, available_slots=0)
    assert network.asked == []
    rehearse(network).report(10, seed("s", "TRAINING"), val_accuracy=50.0)
    (question,) = network.asked
    assert [number for number, legal in enumerate(question.mask) if legal] == [WAIT, CULL]


def test_each_slot_is_asked_about_itself() -> None:
    network = Network(cull=-9.0)
    run = rehearse(network, heuristic={"max_concurrent_seeds": 3})
    run.report(10, seed("a", "TRAINING"), seed("b", "PROBATIONARY", alpha=1.0), val_accuracy=50.0)
    stages = [question.features[22] for question in network.asked]
    assert stages[0] != stages[1]
    assert stages[2] == 0.0, "the row about germination speaks of no seed"
    assert network.asked[1].mask[FOSSILIZE]
    assert not network.asked[0].mask[FOSSILIZE]


def test_a_cull_of_this_very_reply_leaves_no_germination() -> None:
    run = rehearse(Network(cull=9.0, norm=9.0), heuristic={"max_concurrent_seeds": 3})
    step = run.report(10, seed("s", "TRAINING"), val_accuracy=50.0, available_slots=2)
    assert [decision.action.name for decision in step.decisions] == ["CULL", "WAIT"]
    assert germination(step).reason == "a cull is pending"


def test_without_an_embargo_a_cull_leaves_it_open() -> None:
    run = rehearse(
        Network(cull=9.0, norm=9.0), heuristic={"max_concurrent_seeds": 3, "embargo_epochs_after_cull": 0}
    )
    step = run.report(10, seed("s", "TRAINING"), val_accuracy=50.0, available_slots=2)
    assert [decision.action.name for decision in step.decisions] == ["CULL", "GERMINATE_NORM"]


@pytest.mark.parametrize(
    "advice",
    [
        "the network is too slow",
        (),
        (RowAdvice((-0.1,), 0.0, 0.0),),
        (advice_row([True] * 7, {}),),
        (advice_row([True, True, True, True, True, False, False], {}),) * 2,
    ],
    ids=["none", "no row", "too few actions", "other actions", "too many rows"],
)
def test_unusable_advice_lets_the_heuristic_decide_and_say_so(advice: Advice) -> None:
    checked = RunConfig()
    run = Rehearsal(checked, learned(checked), lambda _questions: advice)
    heuristic = Rehearsal(checked)
    actions = []
    for epoch in range(9):
        step, other = (one.report(epoch, val_accuracy=50.0) for one in (run, heuristic))
        actions.append(step.action)
        assert germination(step).action == germination(other).action
        assert germination(step).reason.startswith(germination(other).reason)
        told = [event for event in step.events if event.type is TelemetryEventType.POLICY_FALLBACK]
        asked = germination(step).fallback is not None
        assert len(told) == asked
        if asked:
            assert told[0].message == germination(step).fallback
            assert told[0].message in step.commands[0].reason
    assert "GERMINATE_NORM" in actions


def test_one_row_that_is_missing_leaves_the_whole_report_to_the_heuristic() -> None:
    network = Network(cull=9.0)
    checked = RunConfig.model_validate({"heuristic": {"max_concurrent_seeds": 3}})
    run = Rehearsal(checked, learned(checked), lambda questions: network.advise(questions[:-1]))
    step = run.report(10, seed("a", "TRAINING"), seed("b", "TRAINING"), val_accuracy=50.0)
    assert {decision.action.name for decision in step.decisions} == {"WAIT"}
    assert all(decision.fallback is not None for decision in step.decisions)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"available_slots": 0}, "no free slot"),
        ({"val_loss": "NaN"}, "training diverged: no germination"),
    ],
)
def test_where_nothing_may_germinate_it_says_what_forbids_it(fields: dict[str, Any], reason: str) -> None:
    step = rehearse(Network(norm=5.0)).report(10, val_accuracy=50.0, **fields)
    assert (germination(step).action.name, germination(step).reason) == ("WAIT", reason)


def test_the_heuristic_knows_the_run_when_it_has_to_decide() -> None:
    sick = {"gradient_norm": 50.0, "gradient_health": 0.1, "has_exploding": True}
    advice = [True]
    network = Network(cull=-9.0)
    checked = RunConfig()
    run = Rehearsal(
        checked, learned(checked), lambda questions: network.advise(questions) if advice[0] else "gone"
    )
    assert run.report(1, seed("s", "TRAINING", telemetry=sick)).action == "WAIT"
    advice[0] = False
    step = run.report(2, seed("s", "TRAINING", telemetry=sick))
    assert step.action == "CULL", "the unhealthy report that the network decided about counts"


def test_under_a_hold_it_tells_what_it_would_have_done() -> None:
    step = rehearse(Network(norm=5.0)).report(10, val_accuracy=50.0, hold="maintenance")
    decision = germination(step)
    assert decision.action.name == "WAIT"
    assert decision.runner_up is not None
    assert decision.runner_up.name == "GERMINATE_NORM"


def test_samples_follow_the_tempered_probabilities_and_repeat() -> None:
    network = Network(norm=2.0)
    learned_config = {"deterministic": False, "temperature": 2.0}
    taken: Counter[str] = Counter()
    probabilities: tuple[float, ...] | None = None
    for number in range(4000):
        draw = uniform_draw(f"run-{number}", 0, 1, "exploration")
        first, again = (
            rehearse(network, learned=learned_config).report(10, val_accuracy=50.0, draw=draw)
            for _ in range(2)
        )
        assert germination(first) == germination(again)
        probabilities = germination(first).probabilities
        taken[germination(first).action.name] += 1
    assert probabilities is not None
    tempered = [math.exp(score / 2.0) for score in (0.0, 2.0, 0.0, 0.0, 0.0)]
    assert probabilities[:5] == pytest.approx([weight / sum(tempered) for weight in tempered], abs=1e-6)
    assert taken["GERMINATE_NORM"] / 4000 == pytest.approx(probabilities[NORM], abs=0.03)
    assert taken["WAIT"] / 4000 == pytest.approx(probabilities[WAIT], abs=0.03)


def test_slots_are_sampled_independently() -> None:
    run_config = {"heuristic": {"max_concurrent_seeds": 3}, "learned": {"deterministic": False}}
    seeds = [seed("a", "TRAINING"), seed("b", "TRAINING")]
    pairs: Counter[tuple[str, str]] = Counter()
    for number in range(400):
        draw = uniform_draw(f"run-{number}", 0, 1, "exploration")
        step = rehearse(Network(), **run_config).report(10, *seeds, draw=draw, available_slots=0)
        pairs[step.decisions[0].action.name, step.decisions[1].action.name] += 1
    assert set(pairs) == {(one, other) for one in ("WAIT", "CULL") for other in ("WAIT", "CULL")}
    assert min(pairs.values()) > 60


def test_only_sampling_needs_a_draw() -> None:
    assert not rehearse().engine.needs_draw
    assert rehearse(learned={"deterministic": False}).engine.needs_draw
