"""What the tests of the core share: signals and contexts made by hand, and a fixed hypothesis profile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from tamiyo_core import Decision, DecisionContext, HeuristicPolicy
from tamiyo_leyline import (
    RunConfig,
    SeedSignals,
    SeedStage,
    TrainingMetrics,
    TrainingSignals,
    action_layout,
)

# The same examples in every run: a failure is a change of the code, never of the dice.
settings.register_profile(
    "core", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("core")

CNN = action_layout(("norm", "attention", "depthwise", "conv_enhance"))

METRICS = TrainingMetrics(
    epoch=30,
    global_step=3000,
    train_loss=0.5,
    val_loss=0.6,
    loss_delta=0.0,
    train_accuracy=80.0,
    val_accuracy=75.0,
    accuracy_delta=0.0,
    smoothed_accuracy_delta=0.1,
    plateau_epochs=0,
    best_val_accuracy=75.0,
    best_val_loss=0.6,
    grad_norm_host=None,
    diverged=False,
    measured=True,
)
SEED = SeedSignals(
    seed_id="s1",
    slot_id="a",
    blueprint_id="norm",
    stage=SeedStage.TRAINING,
    is_live=True,
    alpha=0.0,
    epochs_in_stage=10,
    improvement_since_stage_start=1.0,
    total_improvement=1.0,
    attributed_improvement=1.0,
    expected_drift=0.0,
    best_stage_improvement=1.0,
    epochs_since_best=0,
    epochs_since_settled=None,
    blended_epoch=None,
    accuracy_history=(),
    gradient_norm=None,
    gradient_health=None,
    has_vanishing=False,
    has_exploding=False,
)
CONTEXT = DecisionContext(
    layout=CNN,
    penalties={},
    cursor=0,
    epochs_since_cull=None,
    cull_pending=False,
    germination_pending=False,
    settled_seeds=frozenset(),
    held=False,
    draw=1.0,
)


@pytest.fixture
def make_seed() -> Callable[..., SeedSignals]:
    """A live seed in TRAINING that nothing speaks against, with some fields changed."""

    def build(stage: str = "TRAINING", **fields: Any) -> SeedSignals:
        member = SeedStage[stage]
        return SEED._replace(stage=member, is_live=member.is_live, **fields)

    return build


@pytest.fixture
def make_signals() -> Callable[..., TrainingSignals]:
    """Signals of epoch 30 with one free slot and no plateau, with some metrics changed."""

    def build(*seeds: SeedSignals, available_slots: int = 1, **metrics: Any) -> TrainingSignals:
        return TrainingSignals(METRICS._replace(**metrics), seeds, available_slots, (), ())

    return build


@pytest.fixture
def make_context() -> Callable[..., DecisionContext]:
    """A run that was never culled and waits for nothing, with some fields changed."""

    def build(**fields: Any) -> DecisionContext:
        return CONTEXT._replace(**fields)

    return build


@pytest.fixture
def decide(
    make_context: Callable[..., DecisionContext],
) -> Callable[..., tuple[Decision, ...]]:
    """The heuristic's decisions about signals, from its initial state."""

    def ask(
        signals: TrainingSignals, context: DecisionContext | None = None, **heuristic: Any
    ) -> tuple[Decision, ...]:
        policy = HeuristicPolicy(RunConfig.model_validate({"heuristic": heuristic}))
        return policy.decide(policy.initial(), signals, context or make_context())[1]

    return ask
