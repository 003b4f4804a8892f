"""What the trainer remembers of one seed: its stage, its clock and its scores."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from tamiyo_leyline import SeedMetrics, SeedStage

from tamiyo_garden.evaluation import Evaluation
from tamiyo_garden.lifecycle import Standing


class IllegalTransitionError(RuntimeError):
    """A seed was told to move along no legal transition: a fault in the trainer, not in its input."""


@dataclass
class SeedRecord:
    """The life of one seed so far. Scores are those on the validation set.

    Attributes:
        seed_id: unique within a training.
        slot_id: where it grows.
        blueprint_id: what it grows into.
        generation: how many seeds had germinated before it.
        learning_rate: of its optimizer.
        initial: of the network at germination.
        current: with the seed switched on in TRAINING, of the network as it is later.
        at_stage_start: of the network when the stage began.
        best_accuracy: best of the current ones, percent.
        counterfactual: with this seed's alpha at 0; None where there is no such network.
        alpha: blending weight, 0–1.
        parameters: of its module.
        paused: whether its weights and its clock stand still.
    """

    seed_id: str
    slot_id: str
    blueprint_id: str
    generation: int
    learning_rate: float
    initial: Evaluation
    current: Evaluation
    at_stage_start: Evaluation
    best_accuracy: float
    stage: SeedStage = SeedStage.GERMINATED
    previous_stage: SeedStage = SeedStage.DORMANT
    epochs_total: int = 0
    epochs_in_stage: int = 0
    counterfactual: Evaluation | None = None
    alpha: float = 0.0
    parameters: int = 0
    paused: bool = False

    @property
    def total_improvement(self) -> float:
        """Percentage points since germination."""
        return self.current.accuracy - self.initial.accuracy

    @property
    def standing(self) -> Standing:
        """What the gates look at."""
        return Standing(
            self.stage, self.epochs_in_stage, self.current.accuracy - self.at_stage_start.accuracy, self.alpha
        )

    def enter(self, stage: SeedStage, score: Evaluation) -> None:
        """Move to `stage`, which begins with `score`.

        Raises:
            IllegalTransitionError: the move is not one of leyline's legal transitions.
        """
        if stage is self.stage or not self.stage.may_become(stage):
            raise IllegalTransitionError(f"{self.seed_id}: {self.stage.name} → {stage.name}")
        self.previous_stage, self.stage = self.stage, stage
        self.epochs_in_stage = 0
        self.at_stage_start = self.current = score

    def measured(self, score: Evaluation, counterfactual: Evaluation | None) -> None:
        """Take in an epoch's scores."""
        self.current = score
        self.best_accuracy = max(self.best_accuracy, score.accuracy)
        self.counterfactual = counterfactual

    def tick(self) -> None:
        """An epoch has passed."""
        self.epochs_total += 1
        self.epochs_in_stage += 1

    def metrics(self, gradient_norm: float | None) -> SeedMetrics:
        """The record on the wire; improvements are derived from the accuracies there."""
        counterfactual = self.counterfactual
        return SeedMetrics(
            epochs_total=self.epochs_total,
            epochs_in_current_stage=self.epochs_in_stage,
            initial_val_accuracy=self.initial.accuracy,
            current_val_accuracy=self.current.accuracy,
            best_val_accuracy=self.best_accuracy,
            accuracy_at_stage_start=self.at_stage_start.accuracy,
            counterfactual_val_accuracy=None if counterfactual is None else counterfactual.accuracy,
            initial_val_loss=self.initial.loss,
            current_val_loss=self.current.loss,
            loss_at_stage_start=self.at_stage_start.loss,
            counterfactual_val_loss=None if counterfactual is None else counterfactual.loss,
            gradient_norm_avg=gradient_norm,
            current_alpha=self.alpha,
            alpha_ramp_step=self.epochs_in_stage if self.stage is SeedStage.BLENDING else None,
            parameters=self.parameters,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {**asdict(self), "stage": int(self.stage), "previous_stage": int(self.previous_stage)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        stages = {name: SeedStage(values[name]) for name in ("stage", "previous_stage")}
        scores = {name: values[name] and Evaluation(**values[name]) for name in _SCORES}
        return cls(**{**values, **stages, **scores})


_SCORES: Final = ("initial", "current", "at_stage_start", "counterfactual")
