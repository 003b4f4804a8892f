"""PolicyConformance: the tests every policy passes, built in or a third party's.

Subclass it in your own tests, say how your policy is made, and pytest (or any runner of ``test_`` methods)
does the rest::

    from tamiyo_core.conformance import PolicyConformance

    class TestMine(PolicyConformance):
        def make_policy(self, config):
            return MyPolicy(config)

Each test plays the same scripted trainings to the policy: a plateau, seeds through every stage, several at
once, unmeasured and diverged epochs, refused and ignored commands, a hold, a late report. Nothing is random.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tamiyo_leyline import ActionKind, RunConfig, TrainingSignals

from tamiyo_core.engine import Step
from tamiyo_core.policy import Advice, Decision, DecisionContext, Policy, Question
from tamiyo_core.rehearsal import Rehearsal, no_advice, seed

_STAGES: Final = ("GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY")
_SICK: Final = {"gradient_norm": 50.0, "gradient_health": 0.1, "has_exploding": True}


class _Report(NamedTuple):
    """One report of a script: seeds, other fields, and how it is told."""

    seeds: tuple[Mapping[str, Any], ...] = ()
    fields: Mapping[str, Any] = {}
    hold: str | None = None
    backfill: bool = False
    answer: str | None = None
    """What the trainer says of the commands of the reply before: an outcome's status; None: nothing."""


class PolicyConformance:
    """Checks a policy against the contract that `tamiyo_core.policy.Policy` states.

    Override `make_policy`, `config` where the policy needs settings of its own, and `advise` where it asks a
    network.
    """

    def make_policy(self, config: RunConfig) -> Policy:
        """The policy under test, as a run with this configuration would get it."""
        raise TypeError(f"{type(self).__name__} must say how its policy is made: override make_policy")

    def config(self) -> RunConfig:
        """The configuration of the scripted runs; several seeds at once must be allowed."""
        return RunConfig.model_validate({"heuristic": {"max_concurrent_seeds": 3}})

    def advise(self, questions: Sequence[Question]) -> Advice:
        """What the network says, for a policy that asks one; default: there is none."""
        return no_advice(questions)

    def test_it_says_who_it_is(self) -> None:
        """A name and a version, which every decision record carries."""
        policy = self.make_policy(self.config())
        assert isinstance(policy.name, str), "name must be a string"
        assert policy.name, "name must not be empty"
        assert isinstance(policy.version, str), "version must be a string"
        assert policy.version, "version must not be empty"

    def test_every_live_seed_gets_a_decision_and_germination_one(self) -> None:
        """In the order of the signals; for seeds that are not live, none."""
        for step in self._steps():
            live = [one for one in step.signals.seeds if one.is_live]
            decided = [decision.seed for decision in self._asked(step)]
            assert decided == [*live, None], f"epoch {step.signals.metrics.epoch}: decided about {decided}"

    def test_its_decisions_are_legal(self) -> None:
        """FOSSILIZE only in PROBATIONARY, CULL only of live seeds, GERMINATE only while that is open."""
        for step in self._steps():
            for decision in step.decisions:
                _require_allowed(decision, step)

    def test_every_decision_says_why_and_how_sure_it_is(self) -> None:
        """A reason in words, a confidence from 0 to 1; probabilities, where there are any, sum to 1."""
        for step in self._steps():
            for decision in self._asked(step):
                told = f"epoch {step.signals.metrics.epoch}, {decision.action.name}"
                assert decision.reason.strip(), f"{told}: no reason"
                assert 0.0 <= decision.confidence <= 1.0, f"{told}: confidence {decision.confidence}"
                if decision.probabilities is not None:
                    _require_distribution(decision, step.context, told)

    def test_deciding_changes_none_of_its_arguments(self) -> None:
        """State, signals and context are as they were."""
        policy = self.make_policy(self.config())
        state = policy.initial()
        for signals, context in self._scenes():
            before = repr((policy.snapshot(state), signals, context))
            after, _ = policy.decide(state, signals, context)
            assert repr((policy.snapshot(state), signals, context)) == before, "decide changed its arguments"
            state = after

    def test_the_same_arguments_give_the_same_answer(self) -> None:
        """Asked twice, and asked of another instance."""
        policy, other = self.make_policy(self.config()), self.make_policy(self.config())
        state = policy.initial()
        for signals, context in self._scenes():
            answers = [repr(one.decide(state, signals, context)) for one in (policy, policy, other)]
            assert len(set(answers)) == 1, f"epoch {signals.metrics.epoch}: three answers differ"
            state, _ = policy.decide(state, signals, context)

    def test_a_restart_changes_no_later_decision(self) -> None:
        """Its state survives a snapshot written as strict JSON, before every report."""
        policy = self.make_policy(self.config())
        state = policy.initial()
        for signals, context in self._scenes():
            text = json.dumps(policy.snapshot(state), allow_nan=False)
            restored = self.make_policy(self.config()).restore(json.loads(text))
            state, decisions = policy.decide(state, signals, context)
            again = policy.decide(restored, signals, context)[1]
            assert repr(again) == repr(decisions), f"epoch {signals.metrics.epoch}: a restart shows"

    def test_its_state_stays_small(self) -> None:
        """It keeps no history: after ten times as many reports its snapshot is no larger than twice."""
        policy = self.make_policy(self.config())
        state, sizes = policy.initial(), []
        for _ in range(10):
            for signals, context in self._scenes():
                state, _ = policy.decide(state, signals, context)
            sizes.append(len(json.dumps(policy.snapshot(state))))
        assert sizes[-1] <= 2 * sizes[0] + 64, f"the snapshot grew from {sizes[0]} to {sizes[-1]} characters"

    def test_a_hold_lets_only_waits_through(self) -> None:
        """Whatever it decides; and it must not fail on signals of a held run."""
        held = [step for step in self._steps() if step.context.held]
        assert held, "the script must hold the run at least once"
        assert all(step.action == "WAIT" for step in held), "a hold must end in WAIT"

    def _steps(self) -> Iterator[Step]:
        """Every script played through the engine, which checks each answer too."""
        for script in (_single(), _several(), _troubled()):
            run = Rehearsal(self.config(), self.make_policy(self.config()), self.advise)
            before: Step | None = None
            for number, report in enumerate(script):
                outcomes = _outcomes(before, report.answer)
                before = run.report(
                    2 * number,
                    *report.seeds,
                    hold=report.hold,
                    backfill=report.backfill,
                    draw=(number * 7 % 10) / 10,
                    **{"outcomes": outcomes, **report.fields},
                )
                yield before

    def _scenes(self) -> list[tuple[TrainingSignals, DecisionContext]]:
        """What the policy is asked in the scripts."""
        return [(step.signals, step.context) for step in self._steps()]

    def _asked(self, step: Step) -> tuple[Decision, ...]:
        """The step's decisions; a late report's answer is none of the policy's."""
        late = len(step.decisions) == 1 and step.decisions[0].reason.startswith("late report")
        if not late:
            return step.decisions
        policy = self.make_policy(self.config())
        return policy.decide(policy.initial(), step.signals, step.context)[1]


def _require_allowed(decision: Decision, step: Step) -> None:
    told = f"epoch {step.signals.metrics.epoch}: {decision.action.name}"
    match decision.kind:
        case ActionKind.CULL:
            assert decision.seed is not None, f"{told} without a seed"
            assert decision.seed.is_live, f"{told} of a seed that is not live"
        case ActionKind.FOSSILIZE:
            assert decision.seed is not None, f"{told} without a seed"
            assert decision.seed.stage.name == "PROBATIONARY", f"{told} in {decision.seed.stage.name}"
        case ActionKind.GERMINATE:
            assert decision.seed is None, f"{told} in the slot of a seed"
            assert step.signals.available_slots > 0, f"{told} without a free slot"
            assert not step.signals.metrics.diverged, f"{told} into a diverged training"


def _require_distribution(decision: Decision, context: DecisionContext, told: str) -> None:
    chances = decision.probabilities or ()
    assert len(chances) == len(context.layout.actions), f"{told}: one probability for each action"
    assert all(0.0 <= chance <= 1.0 for chance in chances), f"{told}: {chances}"
    assert abs(sum(chances) - 1.0) < 1e-6, f"{told}: probabilities sum to {sum(chances)}"
    assert chances[decision.action.number] > 0.0, f"{told}: chosen with probability 0"


def _outcomes(before: Step | None, status: str | None) -> list[dict[str, str]]:
    if before is None or status is None:
        return []
    return [{"command_id": command.command_id, "status": status} for command in before.commands]


def _metrics(epochs: int, gain: float) -> dict[str, Any]:
    """What a trainer measures of a seed worth `gain` points."""
    return {
        "epochs_in_current_stage": epochs,
        "initial_val_accuracy": 50.0,
        "accuracy_at_stage_start": 50.0,
        "current_val_accuracy": 50.0 + gain,
        "counterfactual_val_accuracy": 50.0,
    }


def _single() -> Iterator[_Report]:
    """A plateau, then one seed through its whole life, first a good one, then a bad one."""
    yield from (_Report((), {"val_accuracy": 50.0, "val_loss": 1.0}) for _ in range(12))
    for name, gain, end in (("good", 4.0, "FOSSILIZED"), ("bad", -6.0, "CULLED")):
        for stage in _STAGES:
            for epochs in range(8):
                one = seed(name, stage, alpha=min(1.0, epochs / 4), **_metrics(epochs, gain))
                yield _Report((one,), {"val_accuracy": 50.0 + gain, "val_loss": 0.9, "available_slots": 0})
        yield _Report((seed(name, end),), {"val_accuracy": 50.0, "val_loss": 0.9})
        yield from (_Report((), {"val_accuracy": 50.0, "val_loss": 0.9}) for _ in range(8))


def _several() -> Iterator[_Report]:
    """Three slots at different stages, sick gradients, a seed that left and one that was fossilised."""
    for number in range(20):
        stage = _STAGES[min(4, number // 4)]
        yield _Report(
            (
                seed("old", "FOSSILIZED", slot_id="z"),
                seed("first", stage, slot_id="c", alpha=0.5, **_metrics(number % 4, 1.0)),
                seed("second", "TRAINING", slot_id="a", telemetry=_SICK if number % 3 else None),
                *([seed("third", "BLENDING", slot_id="b", alpha=1.0)] if number % 5 else []),
            ),
            {"val_accuracy": 50.0 + 0.01 * number, "available_slots": number % 2},
            answer=("EXECUTED", "REFUSED", None, "FAILED")[number % 4],
        )


def _troubled() -> Iterator[_Report]:
    """Epochs that diverge, are not measured, come late, or fall into an operator's hold."""
    one = seed("one", "BLENDING", alpha=1.0, **_metrics(9, -9.0))
    yield _Report((one,), {"val_accuracy": 50.0, "val_loss": 1.0})
    yield _Report((one,), {"val_loss": "NaN", "train_loss": "Infinity"})
    yield _Report((one,), {}, hold="an audit")
    yield _Report((), {"val_accuracy": 50.0}, hold="an audit")
    yield _Report((one,), {"val_accuracy": 1.0}, backfill=True, answer="EXPIRED")
    yield from (_Report((), {"train_loss": 0.5}) for _ in range(3))
    yield from (_Report((), {"val_accuracy": 50.0, "val_loss": 0.0}) for _ in range(9))
    yield _Report((), {"val_loss": "-Infinity"}, answer="REFUSED")
