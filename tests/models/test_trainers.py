"""Trainers that measure less, tell it otherwise, or do not do as they are told."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime

import pytest
from tamiyo_garden import GardenConfig, GardenTrainer, HostConfig
from tamiyo_leyline import (
    ActionKind,
    AdaptationCommand,
    CommandStatus,
    EpochReport,
    SeedMetrics,
    SeedStage,
    SeedStateReport,
    SeedTelemetry,
    command_for,
)
from tamiyo_models.trainers import OMITTABLE, Acting, Hands, Reporting

MOMENT = datetime(2026, 1, 31, tzinfo=UTC)
REPORT = EpochReport(
    epoch=3,
    global_step=30,
    val_loss=1.0,
    val_accuracy=50.0,
    train_loss=0.9,
    train_accuracy=55.0,
    grad_norm_host=1.0,
    available_slots=1,
    seeds=(
        SeedStateReport(
            seed_id="s",
            slot_id="a",
            blueprint_id="norm",
            stage=SeedStage.BLENDING,
            metrics=SeedMetrics(
                initial_val_accuracy=40.0,
                accuracy_at_stage_start=45.0,
                current_val_accuracy=50.0,
                counterfactual_val_accuracy=48.0,
                loss_at_stage_start=1.2,
                current_val_loss=1.0,
                counterfactual_val_loss=1.1,
            ),
            telemetry=SeedTelemetry(),
        ),
    ),
)


def only_seed(report: EpochReport) -> SeedStateReport:
    [seed] = report.seeds
    return seed


def metrics_of(report: EpochReport) -> SeedMetrics:
    metrics = only_seed(report).metrics
    assert metrics is not None
    return metrics


def test_a_trainer_without_habits_tells_it_as_it_is() -> None:
    assert Reporting().told(REPORT) == REPORT


@pytest.mark.parametrize("name", [*OMITTABLE, "val_loss", "val_accuracy"])
def test_what_is_omitted_is_not_told_and_the_rest_is(name: str) -> None:
    told = Reporting(omitted=frozenset({name})).told(REPORT)
    assert getattr(told, name) == (0 if name == "global_step" else None)
    assert told.model_copy(update={name: getattr(REPORT, name)}) == REPORT


def test_of_a_seed_each_kind_of_measurement_can_be_omitted() -> None:
    assert only_seed(Reporting(omitted=frozenset({"telemetry"})).told(REPORT)).telemetry is None
    assert only_seed(Reporting(omitted=frozenset({"metrics"})).told(REPORT)).metrics is None
    metrics = metrics_of(Reporting(omitted=frozenset({"counterfactual"})).told(REPORT))
    assert (metrics.counterfactual_val_accuracy, metrics.counterfactual_val_loss) == (None, None)
    assert metrics.improvement_since_stage_start == 5.0


def test_epochs_that_are_not_validated_measure_nothing_of_it() -> None:
    rare = Reporting(validate_every=2)
    told = rare.told(REPORT)
    assert (told.val_loss, told.val_accuracy, only_seed(told).metrics) == (None, None, None)
    assert told.train_loss == 0.9
    fourth = REPORT.model_copy(update={"epoch": 4})
    assert rare.told(fourth) == fourth


def test_losses_that_are_no_numbers_and_gradients_that_are_unhealthy_come_in_their_epochs() -> None:
    ill = Reporting(diverged=frozenset({3}), unhealthy=frozenset({3, 4, 5}))
    assert math.isnan(ill.told(REPORT).val_loss or 0.0)
    told = [only_seed(ill.told(REPORT.model_copy(update={"epoch": epoch}))).telemetry for epoch in (3, 4, 5)]
    assert all(health is not None for health in told)
    assert {(health.has_vanishing, health.has_exploding) for health in told if health is not None} == {
        (False, False),
        (True, False),
        (False, True),
    }
    later = REPORT.model_copy(update={"epoch": 6})
    assert ill.told(later) == later


def test_an_error_moves_where_improvements_begin_and_stays_the_same_within_a_stage() -> None:
    erring = Reporting(error=4.0, seed=5)
    one = metrics_of(erring.told(REPORT))
    later = metrics_of(erring.told(REPORT.model_copy(update={"epoch": 4})))
    assert one == later
    assert one.current_val_accuracy == 50.0
    assert one.accuracy_at_stage_start not in (None, 45.0)
    assert one.improvement_since_stage_start == 50.0 - (one.accuracy_at_stage_start or 0.0)
    assert one.total_improvement != 10.0
    # What is better by its accuracy is better by its loss.
    assert (one.accuracy_at_stage_start or 0.0) < 45.0 if (one.loss_at_stage_start or 0.0) > 1.2 else True
    assert metrics_of(Reporting(error=4.0, seed=6).told(REPORT)) != one


@pytest.fixture
def trainer() -> GardenTrainer:
    config = GardenConfig(
        dataset="digits",
        host=HostConfig(dimensions=2, widths=(4, 4), strides=(2, 2), slots=1),
        train_examples=40,
        validation_examples=40,
        max_epochs=10,
    )
    return GardenTrainer(config, seed=0)


def germinate(epoch: int) -> AdaptationCommand:
    return command_for(
        ActionKind.GERMINATE,
        command_id=f"germinate-{epoch}",
        issued_at=MOMENT,
        epoch=epoch,
        reason="a test",
        confidence=1.0,
        blueprint_id="norm",
    )


def played(trainer: GardenTrainer, acting: Acting) -> list[tuple[int, list[CommandStatus]]]:
    """Seeds and answers in the three reports after a germination that was asked for after the first."""
    hands = Hands(trainer, acting, random.Random(0))
    first = hands.train_epoch()
    hands.take([germinate(first.epoch)])
    told = []
    for _ in range(3):
        report = hands.train_epoch()
        told.append((len(report.seeds), [outcome.status for outcome in report.outcomes]))
        hands.take([])
    return told


@pytest.mark.parametrize(
    ("acting", "expected"),
    [
        (Acting(), [(1, [CommandStatus.EXECUTED]), (1, []), (1, [])]),
        (Acting(late=True), [(0, []), (1, [CommandStatus.EXECUTED]), (1, [])]),
        (Acting(told_late=True), [(1, []), (1, [CommandStatus.EXECUTED]), (1, [])]),
        (Acting(silent=True), [(1, []), (1, []), (1, [])]),
        (Acting(deaf=True), [(0, []), (0, []), (0, [])]),
        (Acting(refused=1.0), [(0, [CommandStatus.REFUSED]), (0, []), (0, [])]),
        (Acting(failed=1.0), [(0, [CommandStatus.FAILED]), (0, []), (0, [])]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Acting) else "",
)
def test_a_command_is_carried_out_and_answered_as_the_habits_say(
    trainer: GardenTrainer, acting: Acting, expected: list[tuple[int, list[CommandStatus]]]
) -> None:
    assert played(trainer, acting) == expected
