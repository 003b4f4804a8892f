"""What holds for every run: a simulated trainer obeys, refuses, ignores, lies, is late, and reports anything.

A script is a list of turns drawn by hypothesis; `Trainer` plays it against the engine's own commands. Legal
scripts move seeds along the transition table; wild ones jump between any stages, which is accepted too.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tamiyo_core import Engine, Override, RunState, Step, build_policy, decision_id
from tamiyo_core.rehearsal import MOMENT
from tamiyo_leyline import (
    LEGAL_TRANSITIONS,
    AdaptationCommand,
    CommandType,
    EpochReport,
    RunConfig,
    SeedStage,
)

SLOTS = ("a", "b", "c", "d")
OBEDIENCE = ("obey", "obey", "obey silently", "refuse", "fail", "ignore", "late", "lie")
EMBARGO = 5


class Turn(NamedTuple):
    """What the trainer does in one epoch, as plain numbers."""

    gap: int
    obedience: str
    losses: tuple[float | None, float | None]
    accuracy: float | None
    choices: tuple[int, int, int, int]
    seed_accuracies: tuple[float | None, float | None, float | None]
    seed_losses: tuple[float | None, float | None]
    health: float | None
    hold: bool
    backfill: bool
    draw: float
    override: Override | None = None


losses = st.none() | st.floats() | st.floats(0.0, 5.0) | st.sampled_from([0.0, 1e308, -1e308, 5e-324])
accuracies = st.none() | st.floats(0.0, 100.0)
orders = st.builds(
    Override,
    st.sampled_from(RunConfig().topology.layout.names),
    st.none() | st.sampled_from([f"seed-{number}" for number in range(1, 5)]),
    st.just("an order"),
)
turns = st.builds(
    Turn,
    gap=st.integers(1, 3) | st.sampled_from([1, 50, 10**6]),
    obedience=st.sampled_from(OBEDIENCE),
    losses=st.tuples(losses, losses),
    accuracy=accuracies | st.floats(50.0, 51.0),
    choices=st.tuples(*[st.integers(0, 10)] * 4),
    seed_accuracies=st.tuples(accuracies, accuracies, accuracies),
    seed_losses=st.tuples(losses, losses),
    health=st.none() | st.floats(0.0, 1.0),
    hold=st.sampled_from([False] * 9 + [True]),
    backfill=st.sampled_from([False] * 9 + [True]),
    draw=st.floats(0.0, 1.0, exclude_max=True),
    override=st.sampled_from([None] * 4 + ["ordered"]).flatmap(
        lambda one: st.none() if one is None else orders
    ),
)
scripts = st.lists(turns, min_size=1, max_size=25)
configs = st.builds(
    lambda objective, limit, exploration, preset, plateau, window: RunConfig.model_validate(
        {
            "objective": objective,
            "heuristic": {
                "preset": preset,
                "max_concurrent_seeds": limit,
                "blueprint_exploration": exploration,
                "plateau_epochs_to_germinate": plateau,
                "min_epochs_before_germinate": 1,
            },
            "tracker": {"history_window": window},
        }
    ),
    st.sampled_from(["val_accuracy", "val_loss"]),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([None, None, "report"]),
    st.integers(0, 3),
    st.integers(1, 10),
)


class Seedling:
    """A seed as the trainer holds it."""

    def __init__(self, seed_id: str, blueprint_id: str) -> None:
        self.seed_id = seed_id
        self.blueprint_id = blueprint_id
        self.stage = SeedStage.GERMINATED


class Trainer:
    """Plays turns; remembers in which report it last showed the loss of a live seed."""

    def __init__(self, *, wild: bool) -> None:
        self.wild = wild
        self.epoch = -1
        self.slots: dict[str, Seedling | None] = dict.fromkeys(SLOTS)
        self.born = 0
        self.inbox: list[AdaptationCommand] = []
        self.postponed: list[AdaptationCommand] = []
        self.last_loss: int | None = None

    def play(self, turn: Turn) -> EpochReport:
        """The next report, as JSON would bring it."""
        self.epoch += turn.gap
        before = {one.seed_id for one in self.seeds() if one.stage.is_live}
        spared: set[str] = set()
        outcomes = list(self.answer(turn, spared))
        for slot, choice in zip(SLOTS, turn.choices, strict=True):
            self.move(slot, choice)
        still = {one.seed_id for one in self.seeds() if one.stage.is_live or one.stage == 7}
        if before - still - spared:
            self.last_loss = self.epoch
        return EpochReport.model_validate_json(json.dumps(self.body(turn) | {"outcomes": outcomes}))

    def seeds(self) -> list[Seedling]:
        return [one for one in self.slots.values() if one is not None]

    def answer(self, turn: Turn, spared: set[str]) -> Iterator[dict[str, str]]:
        commands, self.postponed = [*self.postponed, *self.inbox], []
        for command in commands:
            if command.command_type is CommandType.REQUEST_STATE or turn.obedience == "ignore":
                continue
            if turn.obedience == "late":
                self.postponed.append(command)
                continue
            status = {"refuse": "REFUSED", "fail": "FAILED"}.get(turn.obedience, "EXECUTED")
            if turn.obedience.startswith("obey"):
                self.execute(command, turn, spared)
            elif turn.obedience == "lie" and command.command_type is CommandType.CULL:
                self.last_loss = self.epoch
            if turn.obedience != "obey silently":
                yield {"command_id": command.command_id, "status": status, "detail": "as it is"}

    def execute(self, command: AdaptationCommand, turn: Turn, spared: set[str]) -> None:
        if command.command_type is CommandType.GERMINATE:
            free = next((slot for slot, one in self.slots.items() if one is None), None)
            if free is not None and command.blueprint_id is not None:
                self.born += 1
                self.slots[free] = Seedling(f"seed-{self.born}", command.blueprint_id)
            return
        for slot, one in self.slots.items():
            if one is None or one.seed_id != command.target_seed_id or not one.stage.is_live:
                continue
            vanishes = turn.choices[0] % 2 == 0
            fossil = command.command_type is CommandType.ADVANCE_STAGE
            if fossil:
                spared.add(one.seed_id)
            one.stage = SeedStage.FOSSILIZED if fossil else SeedStage.CULLED
            if vanishes:
                self.slots[slot] = None

    def move(self, slot: str, choice: int) -> None:
        one = self.slots[slot]
        if one is None:
            if self.wild and choice == 10:
                self.born += 1
                self.slots[slot] = Seedling(f"seed-{self.born}", "norm")
        elif self.wild:
            one.stage = SeedStage(choice) if choice > 0 else one.stage
        elif one.stage is SeedStage.FOSSILIZED and choice > 5:
            self.slots[slot] = None
        else:
            options = sorted(LEGAL_TRANSITIONS[one.stage])
            if choice < len(options) or (choice > 6 and options):
                one.stage = options[choice % len(options)]

    def body(self, turn: Turn) -> dict[str, Any]:
        seeds = [self.seed(one, slot, turn) for slot, one in self.slots.items() if one is not None]
        free = sum(one is None for one in self.slots.values())
        return {
            "epoch": self.epoch,
            "train_loss": turn.losses[0],
            "val_loss": turn.losses[1],
            "val_accuracy": turn.accuracy,
            "available_slots": free,
            "seeds": seeds,
        }

    def seed(self, one: Seedling, slot: str, turn: Turn) -> dict[str, Any]:
        current, reference, counterfactual = turn.seed_accuracies
        loss, earlier = turn.seed_losses
        metrics = {
            "current_val_accuracy": current,
            "accuracy_at_stage_start": reference,
            "initial_val_accuracy": reference,
            "counterfactual_val_accuracy": counterfactual,
            "current_val_loss": loss,
            "initial_val_loss": earlier,
            "loss_at_stage_start": earlier,
        }
        return {
            "seed_id": one.seed_id,
            "slot_id": slot,
            "blueprint_id": one.blueprint_id,
            "stage": one.stage.name,
            "alpha": turn.choices[3] / 10.0,
            "metrics": metrics,
            "telemetry": None if turn.health is None else {"gradient_health": turn.health},
        }


class Input(NamedTuple):
    """What is stored of one report: enough to replay it."""

    report: str
    decision_id: str
    hold: str | None
    draw: float
    backfill: bool
    override: Override | None


def take(engine: Engine, state: RunState, told: Input, report: EpochReport | None = None) -> Step:
    """Step through a stored input, or through the same with its seeds in another order."""
    return engine.step(
        state,
        EpochReport.model_validate_json(told.report) if report is None else report,
        decision_id=told.decision_id,
        now=MOMENT,
        hold=told.hold,
        draw=told.draw,
        backfill=told.backfill,
        override=told.override,
    )


class Scene(NamedTuple):
    """One report of a run: what was before, what was told, what came of it."""

    before: RunState
    told: Input
    report: EpochReport
    step: Step
    last_loss: int | None


def play(config: RunConfig, script: list[Turn], *, wild: bool) -> Iterator[Scene]:
    """A whole run."""
    engine = Engine(config, build_policy(config))
    trainer, state = Trainer(wild=wild), engine.initial()
    for turn in script:
        report = trainer.play(turn)
        told = Input(
            report.model_dump_json(),
            decision_id("run", 0, report.epoch),
            "audit" if turn.hold else None,
            turn.draw,
            turn.backfill,
            turn.override,
        )
        step = take(engine, state, told)
        yield Scene(state, told, report, step, trainer.last_loss)
        trainer.inbox, state = list(step.commands), step.state


def strict(engine: Engine, state: RunState) -> str:
    return json.dumps(engine.snapshot(state), allow_nan=False)


@given(configs, scripts, st.booleans())
@settings(max_examples=120)
def test_every_answer_is_well_formed(config: RunConfig, script: list[Turn], wild: bool) -> None:
    for scene in play(config, script, wild=wild):
        step = scene.step
        assert all(decision.reason and 0.0 <= decision.confidence <= 1.0 for decision in step.decisions)
        assert all(command.reason and 0.0 <= command.confidence <= 1.0 for command in step.commands)
        assert all(math.isfinite(value) for value in step.signals.to_vector())
        waits = [c.command_type is CommandType.REQUEST_STATE for c in step.commands]
        assert waits == [True] or not any(waits)
        seeds = [one for one in step.signals.seeds if one.is_live]
        if not scene.told.backfill:
            assert [decision.seed for decision in step.decisions] == [*seeds, None]


@given(configs, scripts, st.booleans())
@settings(max_examples=120)
def test_commands_are_legal_for_the_report_they_answer(
    config: RunConfig, script: list[Turn], wild: bool
) -> None:
    for scene in play(config, script, wild=wild):
        stages = {one.seed_id: one.stage for one in scene.report.seeds}
        for command in scene.step.commands:
            target = command.target_seed_id
            match command.command_type:
                case CommandType.CULL:
                    assert stages[target or ""].is_live
                case CommandType.ADVANCE_STAGE:
                    assert stages[target or ""] is SeedStage.PROBATIONARY
                case CommandType.GERMINATE:
                    assert target is None
                    assert command.blueprint_id in config.rotation
                    live = sum(stage.is_live for stage in stages.values())
                    assert live < config.heuristic.max_concurrent_seeds
                    assert scene.report.available_slots > 0
                    assert not scene.step.signals.metrics.diverged
            if scene.told.backfill or (scene.told.hold and scene.told.override is None):
                assert command.command_type is CommandType.REQUEST_STATE


def breaks_embargo(scene: Scene) -> bool:
    """Whether a germination is asked for too soon after the trainer, by its own books, lost a live seed."""
    asked = any(command.command_type is CommandType.GERMINATE for command in scene.step.commands)
    return asked and scene.last_loss is not None and scene.report.epoch - scene.last_loss < EMBARGO


@given(configs, scripts)
@settings(max_examples=120)
def test_nothing_germinates_within_the_embargo(config: RunConfig, script: list[Turn]) -> None:
    assert not [scene for scene in play(config, script, wild=False) if breaks_embargo(scene)]


@given(configs, scripts, st.booleans())
@settings(max_examples=60)
def test_restarting_anywhere_changes_no_later_decision(
    config: RunConfig, script: list[Turn], wild: bool
) -> None:
    other = Engine(config, build_policy(config))
    for scene in play(config, script, wild=wild):
        restored = other.restore(json.loads(strict(other, scene.before)))
        assert restored == scene.before
        assert repr(take(other, restored, scene.told)) == repr(scene.step)


@given(configs, scripts, st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_shuffling_the_seeds_of_a_report_changes_nothing(
    config: RunConfig, script: list[Turn], wild: bool, dice: random.Random
) -> None:
    engine = Engine(config, build_policy(config))
    for scene in play(config, script, wild=wild):
        seeds = list(scene.report.seeds)
        dice.shuffle(seeds)
        shuffled = scene.report.model_copy(update={"seeds": tuple(seeds)})
        assert repr(take(engine, scene.before, scene.told, shuffled)) == repr(scene.step)


@given(configs, scripts, st.booleans())
@settings(max_examples=60)
def test_replaying_the_stored_inputs_reproduces_every_decision(
    config: RunConfig, script: list[Turn], wild: bool
) -> None:
    scenes = list(play(config, script, wild=wild))
    stored = RunConfig.model_validate_json(config.model_dump_json())
    engine = Engine(stored, build_policy(stored))
    state = engine.initial()
    for scene in scenes:
        step = take(engine, state, scene.told)
        assert step.commands == scene.step.commands
        assert strict(engine, step.state) == strict(engine, scene.step.state)
        state = step.state


@given(configs, scripts, st.booleans())
@settings(max_examples=60)
def test_deciding_leaves_the_state_and_twice_gives_the_same(
    config: RunConfig, script: list[Turn], wild: bool
) -> None:
    engine = Engine(config, build_policy(config))
    for scene in play(config, script, wild=wild):
        before = repr(scene.before)
        assert repr(take(engine, scene.before, scene.told)) == repr(scene.step)
        assert repr(scene.before) == before


def long_script(dice: random.Random, length: int) -> list[Turn]:
    """A long run of random turns, with measurements near a plateau so that much germinates."""
    return [
        Turn(
            gap=1,
            obedience=dice.choice(OBEDIENCE),
            losses=(dice.random(), dice.random()),
            accuracy=50.0 + dice.random(),
            choices=(dice.randrange(11), dice.randrange(11), dice.randrange(11), dice.randrange(11)),
            seed_accuracies=(dice.uniform(0, 100), dice.uniform(0, 100), dice.uniform(0, 100)),
            seed_losses=(dice.random(), dice.random()),
            health=dice.random(),
            hold=False,
            backfill=dice.random() < 0.1,
            draw=dice.random(),
        )
        for _ in range(length)
    ]


@pytest.mark.parametrize("wild", [False, True])
def test_memory_is_bounded_over_long_runs(wild: bool) -> None:
    heuristic = {"max_concurrent_seeds": 4, "embargo_epochs_after_cull": 0, "blueprint_penalty_decay": 1.0}
    config = RunConfig.model_validate({"heuristic": heuristic})
    engine = Engine(config, build_policy(config))
    script = long_script(random.Random(7), 2_000)
    sizes = [len(strict(engine, scene.step.state)) for scene in play(config, script, wild=wild)]
    # Four seeds with full windows, every late command and every penalty; one number a report would be 10 000.
    assert max(sizes) <= 6_000


def test_nothing_germinates_within_the_embargo_of_a_long_run() -> None:
    heuristic = {"max_concurrent_seeds": 4, "plateau_epochs_to_germinate": 0}
    config = RunConfig.model_validate({"heuristic": heuristic})
    scenes = list(play(config, long_script(random.Random(2), 1_000), wild=False))
    assert not [scene.report.epoch for scene in scenes if breaks_embargo(scene)]
    soonest = [
        scene.report.epoch - scene.last_loss
        for scene in scenes
        if scene.step.action.startswith("GERMINATE") and scene.last_loss is not None
    ]
    assert min(soonest) == EMBARGO


def test_the_simulated_trainer_reaches_every_kind_of_command() -> None:
    config = RunConfig.model_validate({"heuristic": {"max_concurrent_seeds": 3}})
    kinds = {
        (command.command_type, transition.status)
        for scene in play(config, long_script(random.Random(1), 1_500), wild=False)
        for command in scene.step.commands
        for transition in scene.step.outcomes
    }
    assert {kind for kind, _ in kinds} >= {CommandType.GERMINATE, CommandType.CULL, CommandType.ADVANCE_STAGE}
    assert {status for _, status in kinds} == {"EXECUTED", "REFUSED", "FAILED", "EXPIRED"}
