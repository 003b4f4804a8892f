"""The preset `report` against a small implementation of what the earlier version did, after its review.

What the tracker and the ledger put right stays right under the preset: surgery is no plateau, and embargo,
penalty and cursor follow what the trainer did rather than what was decided.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from tamiyo_core.rehearsal import Rehearsal, seed

ROTATION = ("norm", "attention", "depthwise", "conv_enhance")
STAGES = ("GERMINATED", "TRAINING", "BLENDING", "SHADOWING", "PROBATIONARY")


class EarlierVersion:
    """Plateau by raw deltas, one seed, fixed thresholds, penalties halved at every epoch."""

    def __init__(self) -> None:
        self.previous: float | None = None
        self.plateau = 0
        self.index = 0
        self.last_cull: int | None = None
        self.penalties: dict[str, float] = {}

    def observe(self, accuracy: float, *, surgery: bool) -> None:
        if self.previous is not None:
            self.plateau = 0 if accuracy - self.previous >= 0.5 else self.plateau + 1
        if surgery:
            self.plateau = 0
        self.previous = accuracy
        self.penalties = {name: p * 0.5 for name, p in self.penalties.items() if p * 0.5 >= 0.1}

    def culled(self, epoch: int, blueprint: str) -> None:
        self.last_cull = epoch
        self.penalties[blueprint] = self.penalties.get(blueprint, 0.0) + 2.0

    def decide(self, epoch: int, one: dict[str, Any] | None) -> str:
        return self.germination(epoch) if one is None else self.management(one)

    def germination(self, epoch: int) -> str:
        if self.last_cull is not None and epoch - self.last_cull < 5:
            return "WAIT"
        if epoch < 5 or self.plateau < 3:
            return "WAIT"
        return "GERMINATE_" + self.next_blueprint().upper()

    def next_blueprint(self) -> str:
        for _ in ROTATION:
            name = ROTATION[self.index % len(ROTATION)]
            self.index += 1
            if self.penalties.get(name, 0.0) < 3.0:
                return name
        return min(ROTATION, key=lambda name: self.penalties.get(name, 0.0))

    def management(self, one: dict[str, Any]) -> str:
        stage, metrics = one["stage"], one["metrics"]
        if stage == "GERMINATED":
            return "WAIT"
        if stage == "PROBATIONARY":
            return "FOSSILIZE" if metrics["total_improvement"] > 0.0 else "CULL"
        dropped = metrics["improvement_since_stage_start"] < -2.0
        return "CULL" if dropped and metrics["epochs_in_current_stage"] >= 5 else "WAIT"


class Trainer:
    """Obeys every command before its next report; seeds move on at random."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.accuracy = 40.0
        self.live: dict[str, Any] | None = None
        self.born = 0
        self.surgery = False
        self.lost: str | None = None

    def obey(self, action: str) -> None:
        self.surgery, self.lost = False, None
        if action.startswith("GERMINATE_"):
            self.born += 1
            name = action.removeprefix("GERMINATE_").lower()
            self.live = seed(f"s{self.born}", "GERMINATED", blueprint_id=name, epochs_in_current_stage=0)
            self.surgery = True
        elif action in ("CULL", "FOSSILIZE") and self.live is not None:
            self.lost = self.live["blueprint_id"] if action == "CULL" else None
            self.live, self.surgery = None, True
        elif self.live is not None:
            self.grow(self.live)

    def grow(self, one: dict[str, Any]) -> None:
        place = STAGES.index(one["stage"])
        epochs = one["metrics"]["epochs_in_current_stage"] + 1
        if place < 4 and self.dice.random() < 0.15:
            one["stage"], epochs = STAGES[place + 1], 1
            self.surgery = one["stage"] in ("TRAINING", "BLENDING")
        one["metrics"] = {
            "epochs_in_current_stage": epochs,
            "improvement_since_stage_start": self.dice.gauss(0.0, 1.0),
            "total_improvement": self.dice.gauss(0.0, 2.0),
        }
        one["telemetry"] = {"has_exploding": self.dice.random() < 0.3}

    def measure(self) -> float:
        self.accuracy = min(100.0, max(0.0, self.accuracy + self.dice.gauss(0.2, 0.6)))
        return self.accuracy


@pytest.mark.parametrize("number", range(20))
def test_the_preset_decides_as_the_earlier_version_did(number: int) -> None:
    trainer, earlier = Trainer(random.Random(number)), EarlierVersion()
    run = Rehearsal({"heuristic": {"preset": "report"}})
    actions = ["WAIT"]
    for epoch in range(300):
        trainer.obey(actions[-1])
        accuracy = trainer.measure()
        earlier.observe(accuracy, surgery=trainer.surgery)
        if trainer.lost is not None:
            earlier.culled(epoch, trainer.lost)
        seeds = [] if trainer.live is None else [trainer.live]
        step = run.report(epoch, *seeds, val_accuracy=accuracy, available_slots=1 - len(seeds))
        actions.append(step.action)
        assert step.action == earlier.decide(epoch, trainer.live), f"epoch {epoch}: {step.commands[0].reason}"
    assert {action.split("_")[0] for action in actions} == {"WAIT", "GERMINATE", "CULL", "FOSSILIZE"}


def test_under_the_preset_one_cull_never_bars_a_blueprint() -> None:
    run = Rehearsal({"heuristic": {"preset": "report", "blueprint_rotation": ["norm"]}})
    for epoch in range(10):
        run.report(epoch, val_accuracy=50.0, available_slots=0)
    run.report(10, seed("s1", "TRAINING"), val_accuracy=50.0)
    step = run.report(11, val_accuracy=50.0)
    threshold = run.config.heuristic.blueprint_penalty_threshold
    assert step.context.penalties == {"norm": 2.0}
    assert step.context.penalties["norm"] < threshold
    assert run.report(16, val_accuracy=50.0).context.penalties == {}


def test_explicit_settings_win_over_the_preset() -> None:
    run = Rehearsal({"heuristic": {"preset": "report", "cull_after_stalled_epochs": 3}})
    run.report(10, seed("s1", "TRAINING", improvement_since_stage_start=1.0))
    assert run.report(13, seed("s1", "TRAINING", improvement_since_stage_start=1.0)).action == "CULL"
