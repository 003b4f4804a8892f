from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tamiyo_core.observation import GARDEN, OBSERVATIONS, TENSOR, ObservationSchema
from tamiyo_core.policy import DecisionContext
from tamiyo_core.rehearsal import Rehearsal
from tamiyo_leyline import (
    FEATURE_NAMES,
    RunConfig,
    SeedSignals,
    SeedStage,
    SeedTelemetry,
    TrainingSignals,
    action_layout,
    telemetry_features,
)
from tamiyo_leyline.signals import MISSING_LOSS

CONFIG = RunConfig()
LAYOUT = CONFIG.topology.layout
SCHEMAS = pytest.mark.parametrize("schema", OBSERVATIONS.values(), ids=OBSERVATIONS)

configs = st.builds(
    lambda objective, epochs, host: RunConfig.model_validate(
        {"objective": objective, "max_epochs": epochs, "host": host}
    ),
    st.sampled_from(["val_accuracy", "val_loss"]),
    st.integers(1, 1_000_000_000),
    st.fixed_dictionaries(
        {},
        optional={
            "parameters": st.integers(0, 2**53 - 1),
            "train_examples": st.integers(0, 2**53 - 1),
            "normalised": st.booleans(),
        },
    ),
)
contexts = st.builds(
    DecisionContext,
    layout=st.just(LAYOUT),
    penalties=st.dictionaries(st.sampled_from([*LAYOUT.blueprints, "other"]), st.floats(0.0, 1e9)),
    cursor=st.integers(0, 1000),
    epochs_since_cull=st.none() | st.integers(0, 2**53 - 1),
    cull_pending=st.booleans(),
    germination_pending=st.booleans(),
    settled_seeds=st.just(frozenset[str]()),
    held=st.booleans(),
    draw=st.floats(0.0, 1.0),
)


def named(schema: ObservationSchema, row: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(schema.feature_names, row, strict=True))


def is_finite_in_32_bits(value: float) -> bool:
    return math.isfinite(struct.unpack("f", struct.pack("f", value))[0])


@SCHEMAS
@given(signals=st.from_type(TrainingSignals), context=contexts, config=configs)
def test_every_feature_is_a_float_that_is_finite_in_32_bits(
    schema: ObservationSchema, signals: TrainingSignals, context: DecisionContext, config: RunConfig
) -> None:
    for row in schema.rows(signals, (None, *signals.seeds), context, config):
        assert len(row) == len(schema.feature_names)
        assert all(type(value) is float and is_finite_in_32_bits(value) for value in row)


@given(signals=st.from_type(TrainingSignals), context=contexts, config=configs)
def test_what_garden_adds_is_bounded(
    signals: TrainingSignals, context: DecisionContext, config: RunConfig
) -> None:
    for row in GARDEN.rows(signals, (None, *signals.seeds), context, config):
        assert all(-10.0 <= value <= 10.0 for value in row[len(FEATURE_NAMES) :])


@SCHEMAS
@given(signals=st.from_type(TrainingSignals), context=contexts)
def test_rows_of_a_report_equal_the_rows_one_by_one(
    schema: ObservationSchema, signals: TrainingSignals, context: DecisionContext
) -> None:
    seeds = (*signals.seeds, None)
    one_by_one = tuple(schema.extract(signals, seed, context, CONFIG) for seed in seeds)
    assert schema.rows(signals, seeds, context, CONFIG) == one_by_one


@SCHEMAS
@given(signals=st.from_type(TrainingSignals), context=contexts)
def test_a_row_about_the_summary_seed_begins_with_the_27_features(
    schema: ObservationSchema, signals: TrainingSignals, context: DecisionContext
) -> None:
    row = schema.extract(signals, signals.summary_seed, context, CONFIG)
    assert row[:27] == signals.to_fast()


def test_a_row_speaks_of_its_own_seed_and_germination_of_none(
    make_seed: Callable[..., SeedSignals],
    make_signals: Callable[..., TrainingSignals],
    make_context: Callable[..., DecisionContext],
) -> None:
    early = make_seed("TRAINING", seed_id="early", epochs_in_stage=2)
    late = make_seed("PROBATIONARY", seed_id="late", epochs_in_stage=7, slot_id="b")
    signals = make_signals(early, late)
    rows = TENSOR.rows(signals, (early, late, None), make_context(), CONFIG)
    seeds = [row[21:26] for row in rows]
    assert [columns[:3] for columns in seeds] == [(1.0, 3.0, 2.0), (1.0, 6.0, 7.0), (0.0, 0.0, 0.0)]
    assert {row[:21] + row[26:] for row in rows} == {rows[0][:21] + rows[0][26:]}


def test_garden_begins_with_the_27_and_names_every_feature_once() -> None:
    assert GARDEN.feature_names[:27] == FEATURE_NAMES == TENSOR.feature_names
    assert len(set(GARDEN.feature_names)) == len(GARDEN.feature_names)


def test_schemas_are_found_by_name_and_version() -> None:
    assert set(OBSERVATIONS) == {"tensor/1", "garden/1"}
    assert all(OBSERVATIONS[schema.key] is schema for schema in OBSERVATIONS.values())


@given(seed=st.from_type(SeedSignals), signals=st.from_type(TrainingSignals), context=contexts)
def test_the_ten_telemetry_features_are_leylines(
    seed: SeedSignals, signals: TrainingSignals, context: DecisionContext
) -> None:
    row = named(GARDEN, GARDEN.extract(signals, healthy(seed), context, CONFIG))
    expected = telemetry_features(
        SeedTelemetry(gradient_norm=3.0, gradient_health=0.5, has_vanishing=True),
        stage=seed.stage,
        alpha=0.25,
        epochs_in_stage=seed.epochs_in_stage,
        accuracy=61.0,
        accuracy_delta=1.0,
        progress=signals.metrics.epoch / CONFIG.max_epochs,
    )
    ours = [value for name, value in row.items() if name.startswith("telemetry_") and "measured" not in name]
    assert ours == pytest.approx(expected)


def healthy(seed: SeedSignals) -> SeedSignals:
    return seed._replace(
        gradient_norm=3.0,
        gradient_health=0.5,
        has_vanishing=True,
        has_exploding=False,
        alpha=0.25,
        accuracy_history=(60.0, 61.0),
    )


def test_blueprints_go_by_their_position_in_the_topology(
    make_seed: Callable[..., SeedSignals],
    make_signals: Callable[..., TrainingSignals],
    make_context: Callable[..., DecisionContext],
) -> None:
    config = RunConfig.model_validate({"heuristic": {"blueprint_rotation": ["depthwise", "norm"]}})
    seed = make_seed(blueprint_id="attention")
    fossil = make_seed("FOSSILIZED", seed_id="f", slot_id="b", blueprint_id="conv_enhance")
    context = make_context(cursor=2, penalties={"norm": 2.0})
    row = named(GARDEN, GARDEN.extract(make_signals(seed, fossil), seed, context, config))
    assert {name for name, value in row.items() if name.startswith("blueprint_") and value} == {"blueprint_1"}
    assert {name: value for name, value in row.items() if name.startswith("fossils_") and value} == {
        "fossils_3": 0.25
    }
    assert {name: value for name, value in row.items() if name.startswith("penalty_") and value} == {
        "penalty_0": 0.5
    }
    assert {name for name, value in row.items() if name.startswith("next_") and value} == {"next_2"}
    assert row["live_seeds"] == 1 / 8


def test_blueprints_far_down_a_long_topology_count_as_the_last_place(
    make_seed: Callable[..., SeedSignals],
    make_signals: Callable[..., TrainingSignals],
    make_context: Callable[..., DecisionContext],
) -> None:
    blueprints = tuple(f"b{number}" for number in range(12))
    seed = make_seed(blueprint_id="b11")
    context = make_context(layout=action_layout(blueprints))
    row = named(GARDEN, GARDEN.extract(make_signals(seed), seed, context, CONFIG))
    assert row["blueprint_7"] == 1.0


@pytest.mark.parametrize(
    ("epoch", "left", "beyond"), [(0, 1.0, 0.0), (25, 0.5, 0.0), (50, 0.0, 0.0), (51, 0.0, 1.0)]
)
def test_epochs_left_are_a_share_of_the_plan_and_unknown_beyond_it(
    epoch: int,
    left: float,
    beyond: float,
    make_signals: Callable[..., TrainingSignals],
    make_context: Callable[..., DecisionContext],
) -> None:
    row = named(GARDEN, GARDEN.extract(make_signals(epoch=epoch), None, make_context(), CONFIG))
    assert (row["epochs_left"], row["beyond_plan"]) == (left, beyond)


@pytest.mark.parametrize(
    ("attributed", "drift", "counterfactual"), [(2.0, 1.0, 0.0), (1.5, 1.0, 0.15), (None, 1.0, 0.0)]
)
def test_a_measured_counterfactual_is_told_from_a_total_less_drift(
    attributed: float | None,
    drift: float,
    counterfactual: float,
    make_seed: Callable[..., SeedSignals],
    make_signals: Callable[..., TrainingSignals],
    make_context: Callable[..., DecisionContext],
) -> None:
    seed = make_seed(total_improvement=3.0, attributed_improvement=attributed, expected_drift=drift)
    row = named(GARDEN, GARDEN.extract(make_signals(seed), seed, make_context(), CONFIG))
    assert row["counterfactual"] == pytest.approx(counterfactual)
    assert row["counterfactual_measured"] == float(counterfactual != 0.0)


@pytest.mark.parametrize("stage", [stage for stage in SeedStage if stage.is_live])
def test_a_live_stage_is_one_column(
    stage: SeedStage,
    make_seed: Callable[..., SeedSignals],
    make_signals: Callable[..., TrainingSignals],
    make_context: Callable[..., DecisionContext],
) -> None:
    seed = make_seed(stage.name)
    row = named(GARDEN, GARDEN.extract(make_signals(seed), seed, make_context(), CONFIG))
    stages = {f"stage_{live.name.lower()}": float(live is stage) for live in SeedStage if live.is_live}
    assert {name: row[name] for name in stages} == stages


@SCHEMAS
def test_every_feature_has_a_positive_scale(schema: ObservationSchema) -> None:
    assert len(schema.scales) == len(schema.feature_names)
    assert all(math.isfinite(scale) and scale > 0.0 for scale in schema.scales)


def test_what_is_measured_in_units_has_the_scale_of_its_unit() -> None:
    scales = named(TENSOR, TENSOR.scales)
    assert {name for name, scale in scales.items() if scale == 1.0} == {
        "has_active_seed",
        "seed_stage",
        "seed_alpha",
    }
    assert {scales[name] for name in scales if "loss" in name} == {MISSING_LOSS}
    assert {scales[name] for name in scales if "acc" in name} == {100.0}
    # The same units, in tens of points, and within bounds: none of these is ever far.
    added = dict(list(named(GARDEN, GARDEN.scales).items())[len(FEATURE_NAMES) :])
    assert set(added.values()) == {1.0, 10.0}
    assert added["loss_gap"] == added["below_best"] == added["stage_improvement"] == 10.0
    assert added["cull_pending"] == added["stage_improvement_measured"] == added["accuracy_gap"] == 1.0


@given(
    loss=st.floats(0.0, MISSING_LOSS),
    accuracy=st.floats(0.0, 100.0),
    objective=st.sampled_from(["val_accuracy", "val_loss"]),
)
def test_what_stands_for_not_measured_is_within_a_scale_of_what_was(
    loss: float, accuracy: float, objective: str
) -> None:
    full: dict[str, Any] = {
        "train_loss": loss,
        "val_loss": loss,
        "train_accuracy": accuracy,
        "val_accuracy": accuracy,
    }
    rows = []
    for fields in (full, {}):
        rehearsal = Rehearsal({"objective": objective})
        step = rehearsal.report(1, **fields)
        rows.append(GARDEN.extract(step.signals, None, step.context, rehearsal.config))
    for measured, missing, scale in zip(*rows, GARDEN.scales, strict=True):
        assert abs(measured - missing) <= scale
