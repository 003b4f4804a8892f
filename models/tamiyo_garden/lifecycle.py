"""When a seed moves on by itself. What a command decides (FOSSILIZED, CULLED) is not here.

::

    GERMINATED ─at once▶ TRAINING ─gate▶ BLENDING ─gate▶ SHADOWING ─gate▶ PROBATIONARY ─command▶ FOSSILIZED
    any live stage ─command▶ CULLED ─epoch▶ EMBARGOED ─epoch▶ RESETTING ─epoch▶ DORMANT
"""

import math
from dataclasses import dataclass
from typing import Final

from tamiyo_leyline import SeedStage


@dataclass(frozen=True)
class Gates:
    """What the gates between the stages ask for.

    Attributes:
        min_training_epochs: epochs a seed must have trained in isolation before it blends.
        dwell_fraction: share of the run's epochs that TRAINING and SHADOWING last at least.
        min_training_improvement: percentage points gained since TRAINING began before a seed blends.
        ramp_epochs: epochs over which alpha rises.
        min_blended_alpha: alpha at which BLENDING is over, 0–1.
    """

    min_training_epochs: int = 3
    dwell_fraction: float = 0.1
    min_training_improvement: float = 0.5
    ramp_epochs: int = 5
    min_blended_alpha: float = 0.95

    def dwell_epochs(self, max_epochs: int) -> int:
        """Epochs that TRAINING and SHADOWING last at least: max(1, ⌊dwell_fraction · max_epochs⌋)."""
        return max(1, math.floor(self.dwell_fraction * max_epochs + 1e-9))


@dataclass(frozen=True)
class Standing:
    """What the gates look at.

    Attributes:
        stage: the seed's stage.
        epochs_in_stage: epochs trained in this stage.
        improvement_since_stage_start: percentage points.
        alpha: 0–1.
    """

    stage: SeedStage
    epochs_in_stage: int
    improvement_since_stage_start: float
    alpha: float


FAILURE_PATH: Final = {
    SeedStage.CULLED: SeedStage.EMBARGOED,
    SeedStage.EMBARGOED: SeedStage.RESETTING,
    SeedStage.RESETTING: SeedStage.DORMANT,
}
"""Where a failed seed goes at the beginning of the next epoch."""


def stage_after_epoch(standing: Standing, gates: Gates, max_epochs: int) -> SeedStage:
    """The stage a live seed has after an epoch: the next one if its gate is open, else the one it has."""
    dwell = gates.dwell_epochs(max_epochs)
    match standing.stage:
        case SeedStage.TRAINING if (
            standing.epochs_in_stage >= max(gates.min_training_epochs, dwell)
            and standing.improvement_since_stage_start >= gates.min_training_improvement
        ):
            return SeedStage.BLENDING
        case SeedStage.BLENDING if standing.alpha >= gates.min_blended_alpha:
            return SeedStage.SHADOWING
        case SeedStage.SHADOWING if standing.epochs_in_stage >= dwell:
            return SeedStage.PROBATIONARY
        case _:
            return standing.stage


def alpha_on_ramp(epochs: float, ramp_epochs: int) -> float:
    """Blending weight after so many epochs on the ramp: a sigmoid, σ(8 · (epochs / ramp_epochs − 1/2)).

    The steepness makes the ramp cross the default gate (0.95) in its last epoch and not before:
    σ(2.4) = 0.917 after four of five epochs, σ(4) = 0.982 after five.
    """
    if epochs <= 0:
        return 0.0
    return 1.0 / (1.0 + math.exp(-8.0 * (min(epochs / ramp_epochs, 1.0) - 0.5)))
