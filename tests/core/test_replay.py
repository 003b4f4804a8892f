"""Replay: what another policy agrees to, where it parts ways, and what is open-loop from there on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from tamiyo_core import Engine, RunState, Step, build_policy, decision_id
from tamiyo_core.rehearsal import MOMENT, Rehearsal, seed
from tamiyo_core.replay import Logged, Replay, Replayed, ReplayState
from tamiyo_leyline import CommandOutcome, CommandStatus, EpochReport, RunConfig

from tests.core.test_properties import Trainer, Turn, configs, scripts, strict

CAME_TO_NOTHING = (CommandStatus.REFUSED, CommandStatus.FAILED)


class Scene(NamedTuple):
    """One report of a run, with where it began."""

    after: int
    """Number of the scene it goes on from; −1: the beginning."""
    logged: Logged
    step: Step


def play(config: RunConfig, script: list[Turn], back: list[int], *, wild: bool) -> list[Scene]:
    """A run whose trainer tells outcomes with reports or between them, and now and then goes back.

    Args:
        config: of the run.
        script: what the trainer does.
        back: for each turn the number of scenes to go back before it.
        wild: whether seeds jump between stages.
    """
    engine = Engine(config, build_policy(config))
    scenes: list[Scene] = []
    saved: list[tuple[RunState, Trainer]] = []
    state, trainer, after = engine.initial(), Trainer(wild=wild), -1
    for number, (turn, steps) in enumerate(zip(script, back, strict=True)):
        if 0 < steps <= len(saved):
            after = number - steps
            state, trainer = saved[after][0], copy.deepcopy(saved[after][1])
        logged = log(trainer, turn, number)
        step = take(engine, state, logged)
        scenes.append(Scene(after, logged._replace(commands=step.commands), step))
        trainer.inbox, state, after = list(step.commands), step.state, number
        saved.append((state, copy.deepcopy(trainer)))
    return scenes


def log(trainer: Trainer, turn: Turn, number: int) -> Logged:
    report = trainer.play(turn)
    told: tuple[CommandOutcome, ...] = ()
    if turn.choices[1] % 2:
        told, report = report.outcomes, report.model_copy(update={"outcomes": ()})
    hold = "audit" if turn.hold else None
    # Ids of scenes that a trainer discarded are never used again.
    name = decision_id("run", number, report.epoch)
    return Logged(report, name, MOMENT, (), told, frozenset(), hold, turn.draw, turn.backfill)


def take(engine: Engine, state: RunState, logged: Logged) -> Step:
    for outcome in logged.told:
        state = engine.queue_outcome(state, outcome)
    return engine.step(
        state,
        logged.report,
        decision_id=logged.decision_id,
        now=logged.now,
        hold=logged.hold,
        draw=logged.draw,
        backfill=logged.backfill,
    )


def with_fates(scenes: list[Scene]) -> list[Scene]:
    """The scenes, with what came of their commands in the end."""
    fates = {told.command_id: told.status for scene in scenes for told in scene.step.outcomes}
    futile = frozenset(name for name, fate in fates.items() if fate in CAME_TO_NOTHING)
    return [scene._replace(logged=scene.logged._replace(futile=futile)) for scene in scenes]


def replayed(config: RunConfig, scenes: list[Scene]) -> Iterator[tuple[Scene, Replayed]]:
    replay = Replay(Engine(config, build_policy(config)))
    states: list[ReplayState] = []
    for scene in scenes:
        before = replay.initial() if scene.after < 0 else states[scene.after]
        one = replay.step(before, scene.logged)
        states.append(one.state)
        yield scene, one


going_back = st.lists(st.sampled_from([0] * 6 + [1, 2, 5]), min_size=25, max_size=25)


@given(configs, scripts, going_back, st.booleans())
@settings(max_examples=120)
def test_the_same_policy_and_configuration_agree_everywhere(
    config: RunConfig, script: list[Turn], back: list[int], wild: bool
) -> None:
    engine = Engine(config, build_policy(config))
    scenes = with_fates(play(config, script, back[: len(script)], wild=wild))
    for scene, one in replayed(config, scenes):
        assert one.agrees
        assert not one.open_loop
        assert not one.diverges_structurally
        assert one.step.commands == scene.step.commands
        assert repr(one.step.decisions) == repr(scene.step.decisions)
        assert one.logged_action == one.step.action == scene.step.action
        assert strict(engine, one.state.run) == strict(engine, scene.step.state)


@given(configs, configs, scripts, st.booleans())
@settings(max_examples=120)
def test_until_the_two_part_ways_it_decides_as_if_it_had_been_in_charge(
    config: RunConfig, other: RunConfig, script: list[Turn], wild: bool
) -> None:
    other = other.model_copy(update={"objective": config.objective})
    stay = [0] * len(script)
    scenes = with_fates(play(config, script, stay, wild=wild))
    in_charge = play(other, script, stay, wild=wild)
    for (_, one), real in zip(replayed(other, scenes), in_charge, strict=True):
        if one.open_loop:
            break
        assert repr(one.step.decisions) == repr(real.step.decisions)


@given(configs, configs, scripts, st.booleans())
@settings(max_examples=60)
def test_a_replay_that_has_parted_stays_open_loop_and_follows_the_trainers_ledger(
    config: RunConfig, other: RunConfig, script: list[Turn], wild: bool
) -> None:
    scenes = with_fates(play(config, script, [0] * len(script), wild=wild))
    parted = False
    for scene, one in replayed(other, scenes):
        assert one.open_loop is parted
        assert one.diverges_structurally <= (not one.agrees)
        parted = one.state.open_loop
        if parted and not scene.logged.backfill:
            acting = {c.command_id for c in scene.logged.commands if c.command_type != "REQUEST_STATE"}
            assert {c.command_id for c in one.state.run.ledger.open} >= acting


def plateau(*, germinate_after: int, **fields: Any) -> Rehearsal:
    heuristic = {"plateau_epochs_to_germinate": germinate_after, "min_epochs_before_germinate": 0}
    return Rehearsal({"heuristic": heuristic, "tracker": {"plateau_smoothing": 0.0}} | fields)


def logs(rehearsal: Rehearsal, reports: list[dict[str, Any]]) -> list[Logged]:
    """What a run of these reports would leave."""
    found = []
    for fields in reports:
        seeds, epoch = fields.pop("seeds", []), fields["epoch"]
        step = rehearsal.report(*[epoch], *seeds, **{k: v for k, v in fields.items() if k != "epoch"})
        content = {"available_slots": 1} | fields | {"seeds": seeds}
        report = EpochReport.model_validate(content)
        found.append(Logged(report, decision_id("rehearsal", 0, epoch), MOMENT, step.commands))
    return found


FLAT = [{"epoch": epoch, "val_accuracy": 50.0} for epoch in range(4)]


def test_a_germination_that_only_one_commands_parts_them() -> None:
    shy, bold = plateau(germinate_after=3), plateau(germinate_after=2)
    logged = logs(shy, [dict(one) for one in FLAT])
    replay = Replay(bold.engine)
    state, seen = replay.initial(), []
    for one in logged:
        again = replay.step(state, one)
        seen.append((again.agrees, again.diverges_structurally, again.open_loop))
        state = again.state
    # Its own germination never happened: in the trainer's world it commands it with the other one.
    assert seen == [(True, False, False)] * 2 + [(False, True, False), (True, False, True)]


def test_a_command_that_was_refused_leaves_the_same_world() -> None:
    bold, shy = plateau(germinate_after=2), plateau(germinate_after=9)
    logged = logs(bold, [dict(one) for one in FLAT[:3]])
    (germinate,) = logged[-1].commands
    refused = CommandOutcome(command_id=germinate.command_id, status=CommandStatus.REFUSED, detail="no room")
    (answer,) = logs(bold, [{"epoch": 3, "val_accuracy": 50.0, "outcomes": [refused.model_dump()]}])
    logged[-1] = logged[-1]._replace(futile=frozenset({germinate.command_id}))
    replay = Replay(shy.engine)
    state = replay.initial()
    for one in logged:
        again = replay.step(state, one)
        state = again.state
    assert not again.agrees
    assert not again.diverges_structurally
    last = replay.step(state, answer)
    assert not last.open_loop
    # It never commanded it: neither is the refusal told, nor has the rotation moved on.
    assert "refused" not in last.step.commands[0].reason
    assert last.state.run.ledger.cursor == 0


def test_after_the_divergence_the_ledger_has_the_trainers_culls() -> None:
    harsh = Rehearsal({"heuristic": {"cull_after_epochs_without_improvement": 1}})
    mild = Rehearsal({"heuristic": {"cull_after_epochs_without_improvement": 50}})
    bad = seed("s1", "TRAINING", improvement_since_stage_start=-9.0, epochs_in_current_stage=9)
    logged = logs(
        harsh,
        [
            {"epoch": 10, "val_accuracy": 50.0, "seeds": [bad], "available_slots": 0},
            {"epoch": 11, "val_accuracy": 50.0},
        ],
    )
    assert logged[0].commands[0].command_type == "CULL"
    replay = Replay(mild.engine)
    first = replay.step(replay.initial(), logged[0])
    assert first.diverges_structurally
    assert [(slot.logged_action, slot.decision.action.name) for slot in first.slots] == [
        ("CULL", "WAIT"),
        ("WAIT", "WAIT"),
    ]
    after = replay.step(first.state, logged[1])
    assert after.open_loop
    assert after.step.context.epochs_since_cull == 0
    assert after.step.context.penalties == {"norm": 2.0}


def test_replaying_leaves_its_state_and_twice_gives_the_same() -> None:
    bold = plateau(germinate_after=2)
    logged = logs(plateau(germinate_after=3), [dict(one) for one in FLAT])
    replay = Replay(bold.engine)
    state = replay.initial()
    for one in logged:
        before = repr(state)
        again = replay.step(state, one)
        assert repr(replay.step(state, one)) == repr(again)
        assert repr(state) == before
        state = again.state
