from __future__ import annotations

import copy
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from tamiyo_garden import CheckpointError, Evaluation, GardenConfig, GardenTrainer, Gates, HostConfig
from tamiyo_leyline import CommandType, EpochReport, SeedStage
from torch import nn


def accuracy_of(network: nn.Module, trainer: GardenTrainer) -> float:
    """An independent computation: one example at a time, by hand."""
    network.eval()
    data = trainer.data.validation
    right = 0
    with torch.no_grad():
        for image, label in zip(data.inputs, data.labels, strict=True):
            scores = network(image[None])[0].tolist()
            right += scores.index(max(scores)) == int(label)
    return 100.0 * right / len(data)


def loss_of(network: nn.Module, trainer: GardenTrainer) -> float:
    """An independent computation: minus the mean log of the softmax at the label, in double precision."""
    network = network.double().eval()
    data = trainer.data.validation
    with torch.no_grad():
        scores = network(data.inputs.double())
    likelihoods = scores.exp() / scores.exp().sum(1, keepdim=True)
    return float(-likelihoods[torch.arange(len(data)), data.labels].log().mean())


def host_weights(trainer: GardenTrainer) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.network.host_parameters()]


def grown(config: GardenConfig, germinate: Any, epochs: int, seed: int = 1) -> list[EpochReport]:
    """A run with two seeds, the first fossilized or culled as its figures say."""
    trainer = GardenTrainer(config, seed=seed)
    reports = []
    for epoch in range(1, epochs + 1):
        reports.append(trainer.train_epoch())
        if epoch in (1, 3):
            trainer.apply(germinate("conv_enhance" if epoch == 1 else "norm"))
    return reports


def test_epochs_are_numbered_from_1_and_steps_counted(trainer: GardenTrainer) -> None:
    reports = [trainer.train_epoch() for _ in range(3)]
    assert [(report.epoch, report.global_step) for report in reports] == [(1, 2), (2, 4), (3, 6)]


def test_a_report_tells_what_was_measured(trainer: GardenTrainer) -> None:
    report = trainer.train_epoch()
    assert report.val_accuracy == pytest.approx(accuracy_of(trainer.network, trainer))
    assert report.available_slots == 2
    assert report.seeds == ()
    assert report.grad_norm_host is not None
    assert report.grad_norm_host > 0.0
    assert report.epoch_duration_ms is not None
    assert report.epoch_duration_ms > 0.0


def test_a_report_travels_unchanged(trainer: GardenTrainer, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    report = trainer.train_epoch()
    assert EpochReport.model_validate_json(report.model_dump_json()) == report


def test_training_learns(config: GardenConfig) -> None:
    trainer = GardenTrainer(replace(config, learning_rate=0.02), seed=0)
    losses = [trainer.train_epoch().train_loss for _ in range(25)]
    assert losses[0] is not None
    assert losses[-1] is not None
    assert losses[-1] < 0.7 * losses[0]


def test_an_isolated_seed_leaves_the_hosts_training_untouched_bit_by_bit(
    config: GardenConfig, germinate: Any
) -> None:
    never = replace(config, gates=Gates(min_training_improvement=1_000.0))
    static, growing = GardenTrainer(never, seed=1), GardenTrainer(never, seed=1)
    growing.apply(germinate("conv_enhance"))
    growing.apply(germinate("norm"))
    for _ in range(6):
        alone, beside = static.train_epoch(), growing.train_epoch()
        assert (alone.train_loss, alone.val_loss) == (beside.train_loss, beside.val_loss)
    assert [seed.stage for seed in beside.seeds] == [SeedStage.TRAINING] * 2
    assert all(torch.equal(a, b) for a, b in zip(host_weights(static), host_weights(growing), strict=True))


def test_an_isolated_seed_learns_all_the_same(config: GardenConfig, germinate: Any) -> None:
    trainer = GardenTrainer(config, seed=1)
    trainer.apply(germinate("conv_enhance"))
    before = [parameter.detach().clone() for parameter in trainer.network.slots[0].parameters()]
    trainer.train_epoch()
    after = list(trainer.network.slots[0].parameters())
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_static_and_growing_runs_of_one_seed_begin_alike(config: GardenConfig, germinate: Any) -> None:
    static, growing = GardenTrainer(config, seed=4), GardenTrainer(config, seed=4)
    growing.apply(germinate("conv_enhance"))
    assert all(torch.equal(a, b) for a, b in zip(host_weights(static), host_weights(growing), strict=True))
    assert torch.equal(static.data.train.inputs, growing.data.train.inputs)


def test_a_seeds_way_through_its_stages(trainer: GardenTrainer, germinate: Any) -> None:
    trainer.apply(germinate("conv_enhance"))
    seeds = [trainer.train_epoch().seeds[0] for _ in range(11)]
    assert [seed.stage.name for seed in seeds] == [
        *["TRAINING"] * 2,
        *["BLENDING"] * 5,
        "SHADOWING",
        *["PROBATIONARY"] * 3,
    ]
    assert seeds[0].previous_stage is SeedStage.GERMINATED
    assert [seed.metrics and seed.metrics.epochs_total for seed in seeds] == list(range(1, 12))
    assert [seed.metrics and seed.metrics.epochs_in_current_stage for seed in seeds] == [
        *[1, 2],
        *[0, 1, 2, 3, 4],
        0,
        *[0, 1, 2],
    ]


def test_alpha_ramps_up_over_five_epochs(trainer: GardenTrainer, germinate: Any) -> None:
    trainer.apply(germinate("norm"))
    alphas = [trainer.train_epoch().seeds[0].alpha for _ in range(10)]
    assert alphas[:3] == [0.0, 0.0, 0.0]
    expected = [1 / (1 + math.exp(-8 * (epoch / 5 - 0.5))) for epoch in (1, 2, 3, 4)]
    assert alphas[3:7] == pytest.approx(expected)
    assert alphas[7:] == [1.0, 1.0, 1.0]


def test_in_training_the_seeds_accuracy_is_that_of_the_network_with_it_switched_on(
    trainer: GardenTrainer, germinate: Any
) -> None:
    trainer.apply(germinate("conv_enhance"))
    trainer.train_epoch()
    report = trainer.train_epoch()
    metrics = report.seeds[0].metrics
    assert metrics is not None
    network = copy.deepcopy(trainer.network)
    network.slots[0].blend(1.0)
    assert metrics.current_val_accuracy == pytest.approx(accuracy_of(network, trainer))
    assert metrics.current_val_loss == pytest.approx(loss_of(network, trainer), rel=1e-4)
    assert metrics.counterfactual_val_accuracy == report.val_accuracy
    assert metrics.counterfactual_val_loss == report.val_loss


@pytest.mark.parametrize("stage", [SeedStage.BLENDING, SeedStage.SHADOWING, SeedStage.PROBATIONARY])
def test_the_counterfactual_is_the_network_without_the_seed(
    trainer: GardenTrainer, germinate: Any, until: Any, stage: SeedStage
) -> None:
    trainer.apply(germinate("conv_enhance"))
    until(trainer, stage)
    report = trainer.train_epoch()
    metrics = report.seeds[0].metrics
    assert metrics is not None
    network = copy.deepcopy(trainer.network)
    network.slots[0].clear()
    assert metrics.counterfactual_val_accuracy == pytest.approx(accuracy_of(network, trainer))
    assert metrics.counterfactual_val_loss == pytest.approx(loss_of(network, trainer), rel=1e-4)
    assert (metrics.current_val_accuracy, metrics.current_val_loss) == (report.val_accuracy, report.val_loss)


def test_the_same_seed_and_commands_give_the_same_reports(
    config: GardenConfig, germinate: Any, comparable: Any
) -> None:
    first = [comparable(report) for report in grown(config, germinate, 12)]
    # Other users of torch's global generator must not matter, and command ids differ on purpose.
    torch.manual_seed(99)
    second = [comparable(report) for report in grown(config, germinate, 12)]
    for report in (*first, *second):
        del report["outcomes"]
    assert first == second


def test_another_seed_is_another_run(config: GardenConfig, germinate: Any, comparable: Any) -> None:
    first = [comparable(report) for report in grown(config, germinate, 3, seed=1)]
    assert first != [comparable(report) for report in grown(config, germinate, 3, seed=2)]


@pytest.mark.parametrize("normalised", [False, True])
def test_a_training_that_diverges_reports_it_and_goes_on(
    config: GardenConfig, germinate: Any, normalised: bool
) -> None:
    host = replace(config.host, normalised=normalised)
    trainer = GardenTrainer(replace(config, host=host, learning_rate=1e30), seed=1)
    trainer.apply(germinate("norm"))
    reports = [trainer.train_epoch() for _ in range(8)]
    assert any(not math.isfinite(report.train_loss or 0.0) for report in reports)
    for report in reports:
        assert report.train_accuracy is not None
        assert report.val_accuracy is not None
        assert EpochReport.model_validate_json(report.model_dump_json()).epoch == report.epoch


def test_outputs_that_are_not_finite_count_as_wrong(trainer: GardenTrainer) -> None:
    with torch.no_grad():
        trainer.network.readout.bias.fill_(math.nan)
    report = trainer.train_epoch()
    assert (report.train_accuracy, report.val_accuracy) == (0.0, 0.0)
    assert math.isnan(report.train_loss or 0.0)
    assert math.isnan(report.val_loss or 0.0)
    assert report.grad_norm_host is None


def test_culling_a_seed_that_broke_the_training_saves_the_host(
    trainer: GardenTrainer, command: Any, germinate: Any, until: Any
) -> None:
    trainer.apply(germinate("conv_enhance"))
    until(trainer, SeedStage.PROBATIONARY)
    with torch.no_grad():
        next(trainer.network.slots[0].parameters()).fill_(math.nan)
    broken = trainer.train_epoch()
    assert math.isnan(broken.val_loss or 0.0)
    assert broken.seeds[0].telemetry is not None
    assert broken.seeds[0].telemetry.has_exploding
    assert broken.seeds[0].is_healthy is False
    trainer.apply(command(CommandType.CULL, target_seed_id="seed-1"))
    healed = trainer.train_epoch()
    assert math.isfinite(healed.val_loss or math.nan)
    assert math.isfinite(healed.train_loss or math.nan)


def test_a_seed_that_is_not_finite_hurts_nobody_while_isolated(config: GardenConfig, germinate: Any) -> None:
    static, growing = GardenTrainer(config, seed=1), GardenTrainer(config, seed=1)
    growing.apply(germinate("conv_enhance"))
    with torch.no_grad():
        next(growing.network.slots[0].parameters()).fill_(math.nan)
    alone, beside = static.train_epoch(), growing.train_epoch()
    assert (alone.train_loss, alone.val_loss) == (beside.train_loss, beside.val_loss)
    assert beside.seeds[0].metrics is not None
    assert beside.seeds[0].metrics.current_val_accuracy == 0.0


def test_a_checkpoint_goes_on_as_if_nothing_had_happened(
    config: GardenConfig, germinate: Any, comparable: Any
) -> None:
    """Taken after every epoch of a life, through a file, with an outcome still untold."""
    wanted = GardenTrainer(config, seed=1)
    resumed = GardenTrainer(config, seed=1)
    for epoch in range(1, 14):
        if epoch in (2, 5):
            command = germinate("norm" if epoch == 2 else "attention")
            wanted.apply(command)
            resumed.apply(command)
        file = io.BytesIO()
        torch.save(resumed.state_dict(), file)
        file.seek(0)
        resumed = GardenTrainer(config, seed=1)
        resumed.load_state_dict(torch.load(file, weights_only=True))
        assert comparable(resumed.train_epoch()) == comparable(wanted.train_epoch())


def test_a_checkpoint_holds_failed_and_fossilized_seeds(
    config: GardenConfig, command: Any, germinate: Any, comparable: Any, until: Any
) -> None:
    trainer = GardenTrainer(config, seed=1)
    trainer.apply(germinate("norm"))
    trainer.apply(germinate("depthwise"))
    until(trainer, SeedStage.PROBATIONARY)
    first, second = trainer.bed
    first.record.initial = Evaluation(loss=3.0, accuracy=0.0)
    trainer.apply(command(CommandType.CULL, target_seed_id=second.record.seed_id))
    fossilize = {"target_seed_id": first.record.seed_id, "target_stage": SeedStage.FOSSILIZED}
    trainer.apply(command(CommandType.ADVANCE_STAGE, **fossilize))
    resumed = GardenTrainer(config, seed=1)
    resumed.load_state_dict(trainer.state_dict())
    reports = [(trainer.train_epoch(), resumed.train_epoch()) for _ in range(5)]
    assert all(comparable(wanted) == comparable(got) for wanted, got in reports)
    assert [seed.stage.name for seed in reports[0][0].seeds] == ["FOSSILIZED", "CULLED"]


def test_going_back_to_a_checkpoint_forgets_what_grew_since_and_can_be_done_again(
    trainer: GardenTrainer, germinate: Any, comparable: Any
) -> None:
    trainer.train_epoch()
    before = trainer.state_dict()
    wanted = [comparable(trainer.train_epoch()) for _ in range(2)]
    for _ in range(2):
        trainer.apply(germinate("conv_enhance"))
        trainer.train_epoch()
        trainer.load_state_dict(before)
        assert [comparable(trainer.train_epoch()) for _ in range(2)] == wanted
        assert trainer.added_parameters == 0


def test_a_checkpoint_of_another_training_is_refused(config: GardenConfig) -> None:
    with pytest.raises(CheckpointError, match="seed 2"):
        GardenTrainer(config, seed=1).load_state_dict(GardenTrainer(config, seed=2).state_dict())


def test_parameters_are_counted_apart(trainer: GardenTrainer, germinate: Any) -> None:
    assert trainer.host_parameters == (9 * 3 + 3) + (9 * 9 + 3) + (3 * 10 + 10)
    assert trainer.added_parameters == 0
    trainer.apply(germinate("norm"))
    assert trainer.added_parameters == 9


def test_a_one_dimensional_host_grows_too(germinate: Any) -> None:
    config = GardenConfig(
        dataset="mnist1d",
        host=HostConfig(dimensions=1, widths=(3, 3), strides=(4, 2), slots=2),
        train_examples=64,
        validation_examples=64,
        max_epochs=10,
    )
    trainer = GardenTrainer(config, seed=0)
    trainer.apply(germinate("conv_enhance"))
    trainer.apply(germinate("attention"))
    report = trainer.train_epoch()
    assert [seed.blueprint_id for seed in report.seeds] == ["conv_enhance", "attention"]
    assert trainer.evaluate_test().accuracy > 0.0
