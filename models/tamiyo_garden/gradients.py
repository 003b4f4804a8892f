"""How healthy gradients are, measured at every optimizer step."""

import math
from collections.abc import Iterable
from typing import Final

import torch
from tamiyo_leyline import SeedTelemetry
from torch import nn

VANISHING_NORM: Final = 1e-6
"""A step whose gradient's L2 norm is below this teaches nothing."""
EXPLODING_NORM: Final = 100.0
"""A step whose gradient's L2 norm is above this, or not finite, is thrown about more than taught."""


def gradient_norm(parameters: Iterable[nn.Parameter]) -> float:
    """L2 norm of all gradients together; 0.0 where there are none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


class GradientMeter:
    """Gradient norms of one epoch's optimizer steps."""

    def __init__(self) -> None:
        self._norms: list[float] = []

    def record(self, norm: float) -> None:
        """Take in one step's L2 norm; NaN and infinity are data."""
        self._norms.append(norm)

    @property
    def mean(self) -> float | None:
        """Mean over the steps with a finite norm; None without any."""
        finite = [norm for norm in self._norms if math.isfinite(norm)]
        return sum(finite) / len(finite) if finite else None

    @property
    def health(self) -> float:
        """Share of steps whose norm lies between vanishing and exploding, 0–1."""
        healthy = sum(VANISHING_NORM <= norm <= EXPLODING_NORM for norm in self._norms)
        return healthy / len(self._norms)

    def telemetry(self) -> SeedTelemetry | None:
        """The epoch on the wire; None if no step was taken."""
        if not self._norms:
            return None
        mean = self.mean
        return SeedTelemetry(
            gradient_norm=0.0 if mean is None else mean,
            gradient_health=self.health,
            has_vanishing=mean is not None and mean < VANISHING_NORM,
            has_exploding=any(not norm <= EXPLODING_NORM for norm in self._norms),
        )
