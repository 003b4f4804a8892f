from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tamiyo_garden import Evaluation, GardenConfig, GardenTrainer, evaluate
from tamiyo_leyline import CommandStatus, CommandType, SeedStage

EXECUTED, REFUSED, EXPIRED = CommandStatus.EXECUTED, CommandStatus.REFUSED, CommandStatus.EXPIRED
FOSSILIZE: dict[str, Any] = {"target_seed_id": "seed-1", "target_stage": SeedStage.FOSSILIZED}


def stages(trainer: GardenTrainer) -> dict[str, SeedStage]:
    return {seed.record.seed_id: seed.record.stage for seed in trainer.bed}


def test_request_state_does_nothing_and_is_executed(trainer: Any, command: Any) -> None:
    assert trainer.apply(command(CommandType.REQUEST_STATE)).status is EXECUTED
    assert stages(trainer) == {}
    assert trainer.train_epoch().outcomes == ()


def test_germinate_plants_a_seed_in_the_first_free_slot(trainer: Any, germinate: Any) -> None:
    assert trainer.apply(germinate("norm")).status is EXECUTED
    assert stages(trainer) == {"seed-1": SeedStage.GERMINATED}
    report = trainer.train_epoch()
    assert (report.seeds[0].slot_id, report.seeds[0].blueprint_id) == ("slot-0", "norm")
    assert report.available_slots == 1


def test_germinate_takes_the_slot_it_names(trainer: Any, command: Any) -> None:
    trainer.apply(command(CommandType.GERMINATE, blueprint_id="norm", target_slot_id="slot-1"))
    assert trainer.train_epoch().seeds[0].slot_id == "slot-1"


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"blueprint_id": "lora"}, "unknown blueprint 'lora'"),
        ({}, "names no blueprint"),
        ({"blueprint_id": "norm", "target_slot_id": "slot-9"}, "slot 'slot-9' is not free"),
    ],
)
def test_germinate_is_refused_for_what_is_not_there(
    trainer: Any, command: Any, fields: dict[str, str], detail: str
) -> None:
    outcome = trainer.apply(command(CommandType.GERMINATE, **fields))
    assert outcome.status is REFUSED
    assert detail in outcome.detail
    assert stages(trainer) == {}


def test_germinate_is_refused_when_every_slot_is_taken(trainer: Any, germinate: Any) -> None:
    for _ in range(2):
        assert trainer.apply(germinate("norm")).status is EXECUTED
    outcome = trainer.apply(germinate("norm"))
    assert (outcome.status, outcome.detail) == (REFUSED, "no free slot")


def test_a_command_is_not_applied_after_it_expired(trainer: Any, command: Any) -> None:
    trainer.train_epoch()
    trainer.train_epoch()
    late = command(CommandType.GERMINATE, blueprint_id="norm", expires_after_epoch=2)
    assert trainer.apply(late).status is EXPIRED
    assert stages(trainer) == {}
    on_time = command(CommandType.GERMINATE, blueprint_id="norm", expires_after_epoch=3)
    assert trainer.apply(on_time).status is EXECUTED


def test_a_command_is_refused_when_the_seed_has_moved_on(trainer: Any, command: Any, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    trainer.train_epoch()
    cull = command(CommandType.CULL, target_seed_id="seed-1", expected_stage=SeedStage.GERMINATED)
    outcome = trainer.apply(cull)
    assert outcome.status is REFUSED
    assert "is TRAINING, the command presumes GERMINATED" in outcome.detail
    assert stages(trainer) == {"seed-1": SeedStage.TRAINING}


@pytest.mark.parametrize(
    "command_type",
    [kind for kind in CommandType if kind not in (CommandType.GERMINATE, CommandType.REQUEST_STATE)],
)
def test_a_command_about_an_unknown_seed_is_refused(
    trainer: Any, command: Any, command_type: CommandType
) -> None:
    outcome = trainer.apply(command(command_type, target_seed_id="seed-7"))
    assert (outcome.status, outcome.detail) == (REFUSED, "no seed 'seed-7'")


def test_a_command_given_twice_is_carried_out_once(trainer: Any, germinate: Any) -> None:
    twice = germinate("norm")
    assert trainer.apply(twice) == trainer.apply(twice)
    assert list(stages(trainer)) == ["seed-1"]
    assert len(trainer.train_epoch().outcomes) == 1


def test_outcomes_are_told_in_the_next_report_and_only_there(
    trainer: Any, command: Any, germinate: Any
) -> None:
    done = [trainer.apply(germinate("norm")), trainer.apply(command(CommandType.CULL, target_seed_id="x"))]
    assert list(trainer.train_epoch().outcomes) == done
    assert trainer.train_epoch().outcomes == ()


@pytest.mark.parametrize(
    "stage",
    [
        SeedStage.TRAINING,
        SeedStage.BLENDING,
        SeedStage.SHADOWING,
        SeedStage.PROBATIONARY,
    ],
)
def test_a_live_seed_can_be_culled_and_its_slot_is_free_four_epochs_later(
    trainer: Any, command: Any, germinate: Any, until: Any, stage: SeedStage
) -> None:
    trainer.apply(germinate("norm"))
    until(trainer, stage)
    cull = command(CommandType.CULL, target_seed_id="seed-1", expected_stage=stage)
    assert trainer.apply(cull).status is EXECUTED
    reports = [trainer.train_epoch() for _ in range(5)]
    assert [[seed.stage.name for seed in report.seeds] for report in reports] == [
        ["CULLED"],
        ["EMBARGOED"],
        ["RESETTING"],
        ["DORMANT"],
        [],
    ]
    assert [report.available_slots for report in reports] == [1, 1, 1, 2, 2]


def test_a_seed_that_is_culled_before_it_trained_is_reported_culled(
    trainer: Any, command: Any, germinate: Any
) -> None:
    trainer.apply(germinate("norm"))
    assert trainer.apply(command(CommandType.CULL, target_seed_id="seed-1")).status is EXECUTED
    assert trainer.train_epoch().seeds[0].stage is SeedStage.CULLED


def test_a_culled_seed_leaves_the_network_as_its_counterfactual_was(
    trainer: Any, command: Any, germinate: Any, until: Any
) -> None:
    trainer.apply(germinate("conv_enhance"))
    seed = until(trainer, SeedStage.PROBATIONARY)
    trainer.apply(command(CommandType.CULL, target_seed_id="seed-1"))
    without = evaluate(trainer.network, trainer.data.validation).accuracy
    assert without == seed.metrics.counterfactual_val_accuracy


def test_a_culled_seed_takes_no_further_commands(trainer: Any, command: Any, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    for expected in (EXECUTED, REFUSED):
        assert trainer.apply(command(CommandType.CULL, target_seed_id="seed-1")).status is expected


@pytest.mark.parametrize("stage", [SeedStage.TRAINING, SeedStage.BLENDING, SeedStage.SHADOWING])
def test_only_a_seed_on_probation_fossilizes(
    trainer: Any, command: Any, germinate: Any, until: Any, stage: SeedStage
) -> None:
    trainer.apply(germinate("norm"))
    until(trainer, stage)
    outcome = trainer.apply(command(CommandType.ADVANCE_STAGE, **FOSSILIZE))
    assert (outcome.status, outcome.detail) == (REFUSED, f"seed-1 is {stage.name}, not PROBATIONARY")


def test_the_gates_alone_open_the_other_stages(trainer: Any, command: Any, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    advance = command(CommandType.ADVANCE_STAGE, target_seed_id="seed-1", target_stage=SeedStage.TRAINING)
    assert trainer.apply(advance).status is REFUSED
    assert stages(trainer) == {"seed-1": SeedStage.GERMINATED}


@pytest.mark.parametrize(("margin", "status"), [(-1.0, EXECUTED), (0.0, REFUSED), (1.0, REFUSED)])
def test_a_seed_fossilizes_only_if_it_has_improved_the_network(
    trainer: Any, command: Any, germinate: Any, until: Any, margin: float, status: CommandStatus
) -> None:
    trainer.apply(germinate("conv_enhance"))
    until(trainer, SeedStage.PROBATIONARY)
    (seed,) = trainer.bed
    seed.record.initial = replace(seed.record.current, accuracy=seed.record.current.accuracy + margin)
    outcome = trainer.apply(command(CommandType.ADVANCE_STAGE, **FOSSILIZE))
    assert outcome.status is status
    if status is EXECUTED:
        report = trainer.train_epoch()
        assert (report.seeds[0].stage, report.seeds[0].alpha) == (SeedStage.FOSSILIZED, 1.0)


def test_a_fossil_stays_and_takes_no_commands(trainer: Any, command: Any, germinate: Any, until: Any) -> None:
    trainer.apply(germinate("conv_enhance"))
    until(trainer, SeedStage.PROBATIONARY)
    (seed,) = trainer.bed
    seed.record.initial = Evaluation(loss=3.0, accuracy=0.0)
    trainer.apply(command(CommandType.ADVANCE_STAGE, **FOSSILIZE))
    assert trainer.apply(command(CommandType.CULL, target_seed_id="seed-1")).status is REFUSED
    report = trainer.train_epoch()
    assert report.seeds[0].stage is SeedStage.FOSSILIZED
    assert report.available_slots == 1
    assert trainer.added_parameters == seed.record.parameters > 0


def test_a_paused_seed_stands_still_until_it_is_resumed(trainer: Any, command: Any, germinate: Any) -> None:
    trainer.apply(germinate("conv_enhance"))
    trainer.train_epoch()
    trainer.apply(command(CommandType.PAUSE_SEED, target_seed_id="seed-1"))
    weights = {key: value.clone() for key, value in trainer.network.slots[0].state_dict().items()}
    for _ in range(5):
        report = trainer.train_epoch()
    assert report.seeds[0].stage is SeedStage.TRAINING
    assert report.seeds[0].metrics.epochs_in_current_stage == 1
    assert all((trainer.network.slots[0].state_dict()[key] == weights[key]).all() for key in weights)
    assert trainer.apply(command(CommandType.RESUME_SEED, target_seed_id="seed-1")).status is EXECUTED
    assert trainer.train_epoch().seeds[0].metrics.epochs_in_current_stage == 2
    assert not all((trainer.network.slots[0].state_dict()[key] == weights[key]).all() for key in weights)


def test_pausing_twice_and_resuming_what_runs_are_refused(trainer: Any, command: Any, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    kinds = [CommandType.RESUME_SEED, CommandType.PAUSE_SEED, CommandType.PAUSE_SEED]
    statuses = [trainer.apply(command(kind, target_seed_id="seed-1")).status for kind in kinds]
    assert statuses == [REFUSED, EXECUTED, REFUSED]


def test_a_learning_rate_of_0_stops_a_seed_from_learning(
    config: GardenConfig, command: Any, germinate: Any
) -> None:
    trainer = GardenTrainer(config, seed=1)
    trainer.apply(germinate("conv_enhance"))
    rate = command(CommandType.SET_LEARNING_RATE, target_seed_id="seed-1", learning_rate=0.0)
    assert trainer.apply(rate).status is EXECUTED
    before = [parameter.clone() for parameter in trainer.network.slots[0].parameters()]
    trainer.train_epoch()
    after = list(trainer.network.slots[0].parameters())
    assert all((old == new).all() for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("rate", [None, -0.1])
def test_a_learning_rate_that_is_none_or_negative_is_refused(
    trainer: Any, command: Any, germinate: Any, rate: float | None
) -> None:
    trainer.apply(germinate("norm"))
    change = command(CommandType.SET_LEARNING_RATE, target_seed_id="seed-1", learning_rate=rate)
    assert trainer.apply(change).status is REFUSED


def test_alpha_can_be_set_once_the_ramp_is_over(
    trainer: Any, command: Any, germinate: Any, until: Any
) -> None:
    trainer.apply(germinate("norm"))
    until(trainer, SeedStage.TRAINING)
    alpha = {"target_seed_id": "seed-1", "alpha_value": 0.25}
    assert trainer.apply(command(CommandType.SET_ALPHA, **alpha)).status is REFUSED
    until(trainer, SeedStage.PROBATIONARY)
    assert trainer.apply(command(CommandType.SET_ALPHA, **alpha)).status is EXECUTED
    assert trainer.train_epoch().seeds[0].alpha == 0.25
    assert trainer.network.slots[0].alpha == 0.25


def test_set_alpha_without_an_alpha_is_refused(trainer: Any, command: Any, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    assert trainer.apply(command(CommandType.SET_ALPHA, target_seed_id="seed-1")).status is REFUSED
