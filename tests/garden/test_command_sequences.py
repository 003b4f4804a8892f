"""Whatever commands come, in whatever order: every report is valid and every move is legal."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tamiyo_garden import GardenConfig, GardenTrainer, blueprint_names
from tamiyo_leyline import CommandStatus, CommandType, EpochReport, SeedStage


def random_fields(draw: random.Random, trainer: GardenTrainer) -> dict[str, Any]:
    seeds = [seed.record.seed_id for seed in trainer.bed] or ["nobody"]
    return {
        "command_type": draw.choice(list(CommandType)),
        "target_seed_id": draw.choice(seeds),
        "blueprint_id": draw.choice([*blueprint_names(), "lora", None]),
        "target_stage": draw.choice([SeedStage.FOSSILIZED, SeedStage.FOSSILIZED, SeedStage.BLENDING, None]),
        "alpha_value": draw.choice([0.0, 0.5, 1.0, None]),
        "learning_rate": draw.choice([0.0, 0.01, 1.0, None]),
        "expected_stage": draw.choice([None, None, *SeedStage]),
        "expires_after_epoch": trainer.epoch + draw.choice([0, 1, 1, 1]),
    }


def check_moves(before: dict[str, SeedStage], report: EpochReport) -> dict[str, SeedStage]:
    after = {seed.seed_id: seed.stage for seed in report.seeds}
    for seed_id, stage in after.items():
        if seed_id in before:
            assert before[seed_id].may_become(stage), f"{seed_id}: {before[seed_id].name} → {stage.name}"
    gone = before.keys() - after.keys()
    assert all(before[seed_id] is SeedStage.DORMANT for seed_id in gone)
    return after


@pytest.mark.parametrize("seed", range(4))
def test_every_report_is_valid_and_every_move_legal(config: GardenConfig, command: Any, seed: int) -> None:
    draw = random.Random(seed)
    trainer = GardenTrainer(config, seed=seed)
    stages: dict[str, SeedStage] = {}
    statuses = set()
    for _ in range(40):
        expected = []
        for _ in range(draw.choice([0, 0, 1, 1, 2, 3])):
            wanted = command(**random_fields(draw, trainer))
            outcome = trainer.apply(wanted)
            if wanted.command_type is not CommandType.REQUEST_STATE:
                expected.append(outcome)
        report = trainer.train_epoch()
        assert EpochReport.model_validate_json(report.model_dump_json()) == report
        assert list(report.outcomes) == expected
        held = sum(seed.stage is not SeedStage.DORMANT for seed in report.seeds)
        assert report.available_slots == 2 - held
        stages = check_moves(stages, report)
        statuses |= {outcome.status for outcome in expected}
    assert statuses == {CommandStatus.EXECUTED, CommandStatus.REFUSED, CommandStatus.EXPIRED}
