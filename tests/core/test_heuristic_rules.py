"""The thirteen decision paths by name, each on both sides of its boundary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tamiyo_core import Decision, DecisionContext, HeuristicPolicy
from tamiyo_core.rehearsal import Rehearsal, seed
from tamiyo_leyline import RiskLevel, RunConfig, SeedSignals, TrainingSignals

Decide = Callable[..., tuple[Decision, ...]]
MakeSeed = Callable[..., SeedSignals]
MakeSignals = Callable[..., TrainingSignals]
MakeContext = Callable[..., DecisionContext]

SICK: dict[str, Any] = {"gradient_norm": 1.0, "gradient_health": 0.9, "has_exploding": True}


def test_rule_01_germinated_waits_whatever_else_holds(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    seedling = make_seed("GERMINATED", improvement_since_stage_start=-50.0, epochs_since_best=99)
    decision = decide(make_signals(seedling, diverged=True))[0]
    assert decision.action.name == "WAIT"
    assert "germinated" in decision.reason


def test_rule_02_divergence_culls_the_seed_blended_last(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    blending = make_seed("BLENDING", blended_epoch=20)
    assert decide(make_signals(blending, diverged=False))[0].action.name == "WAIT"
    decision = decide(make_signals(blending, diverged=True))[0]
    assert (decision.action.name, decision.risk_level) == ("CULL", RiskLevel.RED)
    assert decision.confidence == 1.0


def test_rule_02_spares_a_seed_that_never_blended(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    assert decide(make_signals(make_seed("TRAINING"), diverged=True))[0].action.name == "WAIT"


@pytest.mark.parametrize(
    ("first", "second", "culled"),
    [
        ({"blended_epoch": 20}, {"blended_epoch": 21}, "s2"),
        ({"blended_epoch": 21}, {"blended_epoch": 20}, "s1"),
        ({"blended_epoch": 20, "alpha": 0.6}, {"blended_epoch": 20, "alpha": 0.5}, "s1"),
        ({"blended_epoch": 20, "alpha": 0.5}, {"blended_epoch": 20, "alpha": 0.5}, "s2"),
    ],
    ids=["latest", "latest in the first slot", "higher alpha", "greater seed_id"],
)
def test_rule_02_names_one_culprit(
    decide: Decide,
    make_seed: MakeSeed,
    make_signals: MakeSignals,
    first: dict[str, float],
    second: dict[str, float],
    culled: str,
) -> None:
    one = make_seed("SHADOWING", **first)
    two = make_seed("SHADOWING", seed_id="s2", slot_id="b", **second)
    decisions = decide(make_signals(one, two, diverged=True), max_concurrent_seeds=2)
    assert [d.seed.seed_id for d in decisions if d.seed and d.action.name == "CULL"] == [culled]
    assert {d.confidence for d in decisions if d.action.name == "CULL"} == {0.5}


@pytest.mark.parametrize("stage", ["TRAINING", "BLENDING", "SHADOWING"])
@pytest.mark.parametrize(
    ("improvement", "epochs", "action"),
    [(-2.01, 5, "CULL"), (-2.0, 5, "WAIT"), (-2.01, 4, "WAIT"), (None, 50, "WAIT")],
    ids=["beyond", "exactly the threshold", "too early", "not measured"],
)
def test_rule_03_a_drop_of_more_than_two_points_culls(
    decide: Decide,
    make_seed: MakeSeed,
    make_signals: MakeSignals,
    stage: str,
    improvement: float | None,
    epochs: int,
    action: str,
) -> None:
    falling = make_seed(
        stage, improvement_since_stage_start=improvement, epochs_in_stage=epochs, epochs_since_settled=3
    )
    assert decide(make_signals(falling))[0].action.name == action


def test_rule_03_does_not_judge_probation(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    falling = make_seed("PROBATIONARY", improvement_since_stage_start=-50.0, attributed_improvement=None)
    assert decide(make_signals(falling))[0].action.name == "WAIT"


@pytest.mark.parametrize(("settled", "action"), [(None, "WAIT"), (2, "WAIT"), (3, "CULL")])
def test_rule_03_lets_blending_settle_first(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, settled: int | None, action: str
) -> None:
    falling = make_seed("BLENDING", improvement_since_stage_start=-9.0, epochs_since_settled=settled)
    assert decide(make_signals(falling))[0].action.name == action


def test_rule_03_without_settling_time_judges_the_ramp_too(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    falling = make_seed("BLENDING", improvement_since_stage_start=-9.0, epochs_since_settled=None)
    assert decide(make_signals(falling), blend_settle_epochs=None)[0].action.name == "CULL"


def test_rule_03_takes_thresholds_by_stage(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    drops = {"SHADOWING": 1.0}
    patience = {"SHADOWING": 2}
    early = {"improvement_since_stage_start": -1.5, "epochs_in_stage": 2}
    settings = {"cull_if_accuracy_drops_by": drops, "cull_after_epochs_without_improvement": patience}
    assert decide(make_signals(make_seed("SHADOWING", **early)), **settings)[0].action.name == "CULL"
    assert decide(make_signals(make_seed("TRAINING", **early)), **settings)[0].action.name == "WAIT"


def test_rule_03_grows_surer_with_the_drop(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    drops = (-2.1, -3.0, -40.0)
    chances = [
        decide(make_signals(make_seed(improvement_since_stage_start=drop)))[0].confidence for drop in drops
    ]
    assert chances == pytest.approx([2.1 / 4.0, 3.0 / 4.0, 1.0])


@pytest.mark.parametrize("stage", ["TRAINING", "BLENDING", "SHADOWING"])
@pytest.mark.parametrize(("epochs", "action"), [(19, "WAIT"), (20, "CULL")])
def test_rule_04_a_stage_without_a_new_best_for_twenty_epochs_is_culled(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, stage: str, epochs: int, action: str
) -> None:
    decision = decide(make_signals(make_seed(stage, epochs_since_best=epochs)))[0]
    assert decision.action.name == action
    assert ("stalled" in decision.reason) is (action == "CULL")


def test_rule_04_can_be_disabled(decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals) -> None:
    stalled = make_signals(make_seed(epochs_since_best=500))
    assert decide(stalled, cull_after_stalled_epochs=None)[0].action.name == "WAIT"


def test_rule_04_spares_a_stage_that_was_never_measured(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    unmeasured = make_seed(
        epochs_in_stage=100, improvement_since_stage_start=None, best_stage_improvement=None
    )
    assert decide(make_signals(unmeasured))[0].action.name == "WAIT"


def test_rule_04_counts_epoch_numbers_since_the_best_not_reports() -> None:
    run = Rehearsal({"heuristic": {"cull_after_epochs_without_improvement": 1000}})
    run.report(10, seed("s1", "TRAINING", improvement_since_stage_start=1.0))
    run.report(12, seed("s1", "TRAINING", improvement_since_stage_start=1.5))
    assert run.report(31, seed("s1", "TRAINING", improvement_since_stage_start=1.5)).action == "WAIT"
    assert run.report(32, seed("s1", "TRAINING", improvement_since_stage_start=1.4)).action == "CULL"


def test_rule_04_starts_anew_in_every_stage() -> None:
    run = Rehearsal({"heuristic": {"cull_after_epochs_without_improvement": 1000}})
    run.report(10, seed("s1", "TRAINING", improvement_since_stage_start=5.0))
    run.report(20, seed("s1", "BLENDING", improvement_since_stage_start=-1.0))
    assert run.report(39, seed("s1", "BLENDING", improvement_since_stage_start=-1.5)).action == "WAIT"
    assert run.report(40, seed("s1", "BLENDING", improvement_since_stage_start=-1.5)).action == "CULL"


@pytest.mark.parametrize("stage", ["TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY"])
def test_rule_05_two_reports_of_exploding_gradients_cull(stage: str) -> None:
    run = Rehearsal()
    assert run.report(10, seed("s1", stage, telemetry=SICK)).action == "WAIT"
    assert run.report(11, seed("s1", stage, telemetry=SICK)).action == "CULL"


@pytest.mark.parametrize(
    ("telemetry", "stage", "action"),
    [
        ({"gradient_health": 0.29}, "TRAINING", "CULL"),
        ({"gradient_health": 0.3}, "TRAINING", "WAIT"),
        ({"gradient_health": 0.29}, "BLENDING", "CULL"),
        ({"has_vanishing": True}, "TRAINING", "CULL"),
        ({"has_vanishing": True}, "BLENDING", "WAIT"),
        ({}, "TRAINING", "WAIT"),
    ],
)
def test_rule_05_knows_what_is_unhealthy(telemetry: dict[str, object], stage: str, action: str) -> None:
    run = Rehearsal()
    run.report(10, seed("s1", stage, telemetry=telemetry))
    assert run.report(11, seed("s1", stage, telemetry=telemetry)).action == action


@pytest.mark.parametrize("between", [None, {"gradient_health": 1.0}], ids=["no telemetry", "healthy"])
def test_rule_05_counts_reports_running(between: dict[str, object] | None) -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING", telemetry=SICK))
    run.report(11, seed("s1", "TRAINING", telemetry=between))
    assert run.report(12, seed("s1", "TRAINING", telemetry=SICK)).action == "WAIT"
    assert run.report(13, seed("s1", "TRAINING", telemetry=SICK)).action == "CULL"


def test_rule_05_counts_late_reports_too() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING", telemetry=SICK))
    run.report(11, seed("s1", "TRAINING", telemetry={"gradient_health": 1.0}), backfill=True)
    assert run.report(12, seed("s1", "TRAINING", telemetry=SICK)).action == "WAIT"


def test_rule_05_counts_reports_across_gaps_of_epochs() -> None:
    run = Rehearsal()
    run.report(10, seed("s1", "TRAINING", telemetry=SICK))
    assert run.report(90, seed("s1", "TRAINING", telemetry=SICK)).action == "CULL"


def test_rule_05_can_be_disabled() -> None:
    run = Rehearsal({"heuristic": {"unhealthy_epochs_to_cull": None}})
    run.report(10, seed("s1", "TRAINING", telemetry=SICK))
    assert run.report(11, seed("s1", "TRAINING", telemetry=SICK)).action == "WAIT"


@pytest.mark.parametrize(
    ("worth", "epochs", "action"),
    [
        (0.26, 1, "FOSSILIZE"),
        (0.25, 1, "WAIT"),
        (0.0, 1, "WAIT"),
        (-0.25, 1, "WAIT"),
        (-0.26, 1, "CULL"),
        (9.0, 0, "WAIT"),
        (-9.0, 0, "WAIT"),
        (0.25, 4, "WAIT"),
        (0.25, 5, "FOSSILIZE"),
        (0.01, 5, "FOSSILIZE"),
        (0.0, 5, "CULL"),
        (-0.25, 5, "CULL"),
        (None, 500, "WAIT"),
    ],
)
def test_rule_06_probation_ends_by_the_attributed_improvement(
    decide: Decide,
    make_seed: MakeSeed,
    make_signals: MakeSignals,
    worth: float | None,
    epochs: int,
    action: str,
) -> None:
    probationer = make_seed("PROBATIONARY", attributed_improvement=worth, epochs_in_stage=epochs)
    assert decide(make_signals(probationer))[0].action.name == action


def test_rule_06_moves_its_band_with_the_minimum(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    settings = {"min_improvement_to_fossilize": 2.0, "probation_dead_band": 0.5}
    actions = [
        decide(make_signals(make_seed("PROBATIONARY", attributed_improvement=worth)), **settings)[
            0
        ].action.name
        for worth in (2.51, 1.49)
    ]
    assert actions == ["FOSSILIZE", "CULL"]


def test_rule_06_reads_the_total_improvement_where_asked(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    probationer = make_seed("PROBATIONARY", attributed_improvement=-3.0, total_improvement=3.0)
    decision = decide(make_signals(probationer), improvement_measure="total")[0]
    assert decision.action.name == "FOSSILIZE"


@pytest.mark.parametrize(("worth", "confidence"), [(1.0, 0.2), (-2.5, 0.5), (5.0, 1.0), (40.0, 1.0)])
def test_rule_06_is_as_sure_as_a_fifth_of_the_points(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, worth: float, confidence: float
) -> None:
    probationer = make_seed("PROBATIONARY", attributed_improvement=worth)
    assert decide(make_signals(probationer))[0].confidence == pytest.approx(confidence)


def test_rule_07_otherwise_waits_and_says_where_the_seed_stands(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    shadow = make_seed("SHADOWING", improvement_since_stage_start=1.25, alpha=0.5)
    decision = decide(make_signals(shadow))[0]
    assert decision.action.name == "WAIT"
    assert decision.reason == "seed s1 in SHADOWING: improvement +1.25 points, alpha 0.50"


@pytest.mark.parametrize(("slots", "action"), [(0, "WAIT"), (1, "GERMINATE_NORM")])
def test_rule_08_needs_a_free_slot(
    decide: Decide, make_signals: MakeSignals, slots: int, action: str
) -> None:
    decision = decide(make_signals(available_slots=slots, plateau_epochs=9))[-1]
    assert decision.action.name == action


@pytest.mark.parametrize(("limit", "action"), [(1, "WAIT"), (2, "GERMINATE_NORM")])
def test_rule_08_keeps_to_the_limit_of_live_seeds(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, limit: int, action: str
) -> None:
    decisions = decide(make_signals(make_seed(), plateau_epochs=9), max_concurrent_seeds=limit)
    assert decisions[-1].action.name == action


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_rule_08_waits_for_a_pending_germination(
    decide: Decide, make_signals: MakeSignals, make_context: MakeContext, limit: int
) -> None:
    pending = make_context(germination_pending=True)
    decision = decide(make_signals(plateau_epochs=9), pending, max_concurrent_seeds=limit)[-1]
    assert decision.action.name == "WAIT"
    assert "pending" in decision.reason


@pytest.mark.parametrize("stage", ["UNKNOWN", "DORMANT", "FOSSILIZED", "CULLED", "EMBARGOED", "RESETTING"])
def test_rule_08_ignores_seeds_that_are_not_live(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, stage: str
) -> None:
    decisions = decide(make_signals(make_seed(stage), plateau_epochs=9))
    assert [decision.action.name for decision in decisions] == ["GERMINATE_NORM"]


@pytest.mark.parametrize(
    ("elapsed", "action"), [(0, "WAIT"), (4, "WAIT"), (5, "GERMINATE_NORM"), (None, "GERMINATE_NORM")]
)
def test_rule_09_waits_five_epochs_after_a_cull(
    decide: Decide, make_signals: MakeSignals, make_context: MakeContext, elapsed: int | None, action: str
) -> None:
    context = make_context(epochs_since_cull=elapsed)
    decision = decide(make_signals(plateau_epochs=9), context)[-1]
    assert decision.action.name == action
    if action == "WAIT":
        assert decision.reason == f"embargo {elapsed}/5"


def test_rule_09_waits_while_a_cull_is_pending(
    decide: Decide, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    decision = decide(make_signals(plateau_epochs=9), make_context(cull_pending=True))[-1]
    assert (decision.action.name, decision.reason) == ("WAIT", "a cull is pending")


def test_rule_09_counts_a_cull_of_this_very_reply(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals
) -> None:
    falling = make_seed(improvement_since_stage_start=-9.0)
    decisions = decide(make_signals(falling, plateau_epochs=9), max_concurrent_seeds=2)
    assert [decision.action.name for decision in decisions] == ["CULL", "WAIT"]


def test_rule_09_is_off_at_zero_even_with_a_cull_pending(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    context = make_context(cull_pending=True, epochs_since_cull=0)
    falling = make_seed(improvement_since_stage_start=-9.0)
    signals = make_signals(falling, plateau_epochs=9)
    decisions = decide(signals, context, embargo_epochs_after_cull=0, max_concurrent_seeds=2)
    assert [decision.action.name for decision in decisions] == ["CULL", "GERMINATE_NORM"]


def test_rule_10_never_germinates_into_a_diverged_training(decide: Decide, make_signals: MakeSignals) -> None:
    assert decide(make_signals(plateau_epochs=9, diverged=True))[-1].action.name == "WAIT"


@pytest.mark.parametrize(("epoch", "action"), [(4, "WAIT"), (5, "GERMINATE_NORM")])
def test_rule_11_waits_for_the_first_epochs(
    decide: Decide, make_signals: MakeSignals, epoch: int, action: str
) -> None:
    assert decide(make_signals(plateau_epochs=9, epoch=epoch))[-1].action.name == action


@pytest.mark.parametrize(("plateau", "action"), [(2, "WAIT"), (3, "GERMINATE_NORM")])
def test_rule_12_a_plateau_of_three_reports_germinates(
    decide: Decide, make_signals: MakeSignals, plateau: int, action: str
) -> None:
    assert decide(make_signals(plateau_epochs=plateau))[-1].action.name == action


@pytest.mark.parametrize(("plateau", "confidence"), [(3, 0.6), (4, 0.8), (5, 1.0), (50, 1.0)])
def test_rule_12_is_as_sure_as_a_fifth_of_the_plateau(
    decide: Decide, make_signals: MakeSignals, plateau: int, confidence: float
) -> None:
    assert decide(make_signals(plateau_epochs=plateau))[-1].confidence == pytest.approx(confidence)


def test_rule_13_otherwise_says_that_the_training_progresses(
    decide: Decide, make_signals: MakeSignals
) -> None:
    decision = decide(make_signals(plateau_epochs=1))[-1]
    assert decision.action.name == "WAIT"
    assert "progressing" in decision.reason
    assert decision.runner_up is not None
    assert decision.runner_up.name == "GERMINATE_NORM"


def test_rules_8_to_13_match_in_that_order(
    decide: Decide, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    context = make_context(epochs_since_cull=1)
    everything = {"plateau_epochs": 9, "diverged": True, "epoch": 1}
    reasons = [
        decide(make_signals(available_slots=0, **everything), context)[-1].reason,
        decide(make_signals(**everything), context)[-1].reason,
        decide(make_signals(**everything))[-1].reason,
        decide(make_signals(plateau_epochs=9, epoch=1))[-1].reason,
    ]
    assert reasons == [
        "no free slot",
        "embargo 1/5",
        "training diverged: no germination",
        "too early: epoch 1 of 5",
    ]


def test_every_live_seed_is_decided_in_order_of_slots_then_germination_once(
    make_seed: MakeSeed, make_signals: MakeSignals, decide: Decide
) -> None:
    seeds = [make_seed(seed_id=f"s{3 - n}", slot_id=slot) for n, slot in enumerate("abc")]
    decisions = decide(make_signals(seeds[0], make_seed("FOSSILIZED", seed_id="f"), *seeds[1:]))
    assert [d.seed and d.seed.seed_id for d in decisions] == ["s3", "s2", "s1", None]


def test_a_seed_whose_end_is_executed_waits(
    decide: Decide, make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    falling = make_seed(improvement_since_stage_start=-9.0)
    settled = make_context(settled_seeds=frozenset({"s1"}))
    assert decide(make_signals(falling), settled)[0].action.name == "WAIT"


def test_decide_leaves_its_arguments_unchanged(
    make_seed: MakeSeed, make_signals: MakeSignals, make_context: MakeContext
) -> None:
    policy = HeuristicPolicy(RunConfig())
    signals, context = make_signals(make_seed(has_exploding=True, gradient_health=0.1)), make_context()
    state = policy.initial()
    before = (repr(state), repr(signals), repr(context))
    assert policy.decide(state, signals, context) == policy.decide(state, signals, context)
    assert (repr(state), repr(signals), repr(context)) == before
