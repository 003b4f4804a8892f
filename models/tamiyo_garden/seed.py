"""One growing seed: its record, its module in a slot, its optimizer.

How a seed learns before the network listens to it: in TRAINING its input is cut off from the host's
gradients and its output from the network's value, so its weights follow the loss's gradient at "the seed
adds nothing". That is one step of boosting in function space (Friedman, 2001), and holds only for small
changes: nothing tells the seed when it has gone far enough. Isolated seeds therefore take smaller steps.
"""

import math
from typing import Any, Final

import torch
from tamiyo_leyline import SeedStage, SeedStateReport
from torch import nn

from tamiyo_garden.data import Split
from tamiyo_garden.evaluation import Evaluation, evaluate
from tamiyo_garden.gradients import GradientMeter, gradient_norm
from tamiyo_garden.lifecycle import FAILURE_PATH, Gates, alpha_on_ramp, stage_after_epoch
from tamiyo_garden.record import SeedRecord
from tamiyo_garden.slot import SeedSlot

BLENDED_STAGES: Final = (SeedStage.BLENDING, SeedStage.SHADOWING, SeedStage.PROBATIONARY)
"""Live stages in which the network's output depends on the seed."""

MIN_HEALTHY_SHARE: Final = 0.5
"""Share of healthy optimizer steps from which the garden calls a seed healthy."""


class Seed:
    """A seed in its slot. The bed tells it when an epoch begins and ends, a command what else is wanted.

    Args:
        record: what is known of it.
        slot: where `module` is planted.
        module: what it grows into.
        isolated_rate_share: share of its learning rate that it learns with while isolated, 0–1.
    """

    def __init__(
        self, record: SeedRecord, slot: SeedSlot, module: nn.Module, isolated_rate_share: float
    ) -> None:
        self.record = record
        self._slot = slot
        self._parameters = list(module.parameters())
        self._isolated_rate_share = isolated_rate_share
        self._optimizer = torch.optim.Adam(self._parameters, lr=record.learning_rate, fused=True)
        self._meter = GradientMeter()
        record.parameters = sum(parameter.numel() for parameter in self._parameters)
        slot.plant(module)

    @property
    def in_network(self) -> bool:
        """Whether its module is in its slot still."""
        return self.record.stage.is_live or self.record.stage is SeedStage.FOSSILIZED

    def begin_epoch(self, score: Evaluation) -> None:
        """Moves that ask for nothing but time; `score` is the network as it is."""
        self._meter = GradientMeter()
        stage = self.record.stage
        if stage is SeedStage.GERMINATED and not self.record.paused:
            self.record.enter(SeedStage.TRAINING, score)
        elif stage in FAILURE_PATH and self.record.epochs_in_stage > 0:
            self.record.enter(FAILURE_PATH[stage], self.record.current)
        share = self._isolated_rate_share if self.record.stage is SeedStage.TRAINING else 1.0
        self._optimizer.param_groups[0]["lr"] = share * self.record.learning_rate

    def follow_ramp(self, progress: float, gates: Gates) -> None:
        """In BLENDING, set alpha for when `progress`, 0–1, of the epoch will have passed."""
        if self.record.stage is SeedStage.BLENDING and not self.record.paused:
            self.blend(alpha_on_ramp(self.record.epochs_in_stage + progress, gates.ramp_epochs))

    def blend(self, alpha: float) -> None:
        """Let the network listen with weight `alpha`, 0–1."""
        self.record.alpha = alpha
        self._slot.blend(alpha)

    def clear_gradients(self) -> None:
        """Forget the last step's gradients."""
        self._optimizer.zero_grad()

    def step(self) -> None:
        """One optimizer step on the gradients at hand; not if they are not finite, nor while paused."""
        norm = gradient_norm(self._parameters)
        self._meter.record(norm)
        if math.isfinite(norm) and not self.record.paused:
            self._optimizer.step()

    def measure(self, network: nn.Module, validation: Split, score: Evaluation) -> None:
        """Validate once more with the seed switched the other way round than it is.

        In TRAINING the network does not listen to the seed, so the seed's accuracy is that of the network
        with the seed switched on (alpha 1), and the network as it is the counterfactual. Once it blends,
        the network as it is shows the seed's accuracy, and the counterfactual is the network with the
        seed's alpha at 0. `score` is the network as it is.
        """
        if self.record.stage is SeedStage.TRAINING:
            self.record.measured(self._switched(1.0, network, validation), score)
        elif self.record.stage in BLENDED_STAGES:
            self.record.measured(score, self._switched(0.0, network, validation))
        elif self.in_network:
            self.record.measured(score, None)

    def end_epoch(self, score: Evaluation, gates: Gates, max_epochs: int) -> None:
        """Count the epoch and go through the gate if it is open; `score` is the network as it is."""
        if self.record.paused:
            return
        self.record.tick()
        stage = stage_after_epoch(self.record.standing, gates, max_epochs)
        if stage is self.record.stage:
            return
        self.record.enter(stage, score)
        self.blend(0.0 if stage is SeedStage.BLENDING else 1.0)

    def fossilize(self) -> None:
        """Become part of the network for good; it goes on learning with it."""
        self.record.enter(SeedStage.FOSSILIZED, self.record.current)
        self.record.paused, self.record.counterfactual = False, None
        self.blend(1.0)

    def cull(self) -> None:
        """Leave the network at once; the slot is free again after EMBARGOED and RESETTING."""
        self.record.enter(SeedStage.CULLED, self.record.current)
        self.record.paused, self.record.counterfactual = False, None
        self.record.alpha = 0.0
        self._slot.clear()

    def report(self) -> SeedStateReport:
        """The seed on the wire."""
        telemetry = self._meter.telemetry()
        return SeedStateReport(
            seed_id=self.record.seed_id,
            slot_id=self.record.slot_id,
            blueprint_id=self.record.blueprint_id,
            stage=self.record.stage,
            previous_stage=self.record.previous_stage,
            alpha=self.record.alpha,
            metrics=self.record.metrics(self._meter.mean),
            telemetry=telemetry,
            is_healthy=None if telemetry is None else telemetry.gradient_health >= MIN_HEALTHY_SHARE,
            annotations={"paused": "true"} if self.record.paused else {},
        )

    def state_dict(self) -> dict[str, Any]:
        """Record and optimizer, for a checkpoint; the module's weights are the network's."""
        return {"record": self.record.to_dict(), "optimizer": self._optimizer.state_dict()}

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Take the optimizer up where a checkpoint left it, and the slot as the record has it."""
        self._optimizer.load_state_dict(state)
        if not self.in_network:
            self._slot.clear()
        elif self.record.stage not in (SeedStage.GERMINATED, SeedStage.TRAINING):
            self._slot.blend(self.record.alpha)

    def _switched(self, alpha: float, network: nn.Module, validation: Split) -> Evaluation:
        with self._slot.blended_at(alpha):
            return evaluate(network, validation)
