"""A seed slot: the place between two layers where a seed grows, and how far the network listens to it.

empty      out = h
ISOLATED   out = h, exactly; gradients flow to the seed as if out were h + seed(h)
BLENDED    out = (1 − alpha) · h + alpha · seed(h)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn


class SlotMode(Enum):
    """How the network listens to the slot's seed."""

    EMPTY = "empty"
    ISOLATED = "isolated"
    BLENDED = "blended"


class _StraightThrough(torch.autograd.Function):
    """h + (s − stop_gradient(s)), without the rounding and the NaN that subtraction could let in.

    The value is h itself, bit for bit, whatever the seed computes; the gradient reaches h and s alike.
    """

    @staticmethod
    def forward(ctx: Any, host: Tensor, seed: Tensor) -> Tensor:
        return host.view_as(host)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        return gradients[0], gradients[0]


class SeedSlot(nn.Module):
    """One slot. It holds a module and a mode; the lifecycle decides what they are.

    Attributes:
        slot_id: name of the slot on the wire.
        channels: channels C of the features that pass through.
        alpha: weight of the seed in BLENDED mode, 0–1.
    """

    seed: nn.Module | None

    def __init__(self, slot_id: str, channels: int) -> None:
        super().__init__()
        self.slot_id = slot_id
        self.channels = channels
        self.seed = None
        self.mode = SlotMode.EMPTY
        self.alpha = 0.0

    def plant(self, seed: nn.Module) -> None:
        """Put a module in, isolated: it learns, and the network's output does not change."""
        self.seed = seed
        self.mode, self.alpha = SlotMode.ISOLATED, 0.0

    def blend(self, alpha: float) -> None:
        """Let the network listen to the seed with weight `alpha`, 0–1."""
        self.mode, self.alpha = SlotMode.BLENDED, alpha

    def clear(self) -> None:
        """Remove the module: the features pass through untouched again."""
        self.seed = None
        self.mode, self.alpha = SlotMode.EMPTY, 0.0

    @contextmanager
    def blended_at(self, alpha: float) -> Iterator[None]:
        """What if the network listened with weight `alpha`? Within the context, it does."""
        mode, usual = self.mode, self.alpha
        self.mode, self.alpha = SlotMode.BLENDED, alpha
        try:
            yield
        finally:
            self.mode, self.alpha = mode, usual

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …)."""
        if self.seed is None:
            return features
        if self.mode is SlotMode.ISOLATED:
            return self._isolated(features)
        return self._blended(features)

    def _isolated(self, features: Tensor) -> Tensor:
        if self.seed is None or not torch.is_grad_enabled():
            return features
        grown: Tensor = _StraightThrough.apply(features, self.seed(features.detach()))  # type: ignore[no-untyped-call]  # torch leaves autograd.Function.apply untyped
        return grown

    def _blended(self, features: Tensor) -> Tensor:
        # At the ends of the ramp the other side is left out: 0 · NaN would be NaN.
        if self.seed is None or self.alpha == 0.0:
            return features
        grown: Tensor = self.seed(features)
        return grown if self.alpha == 1.0 else torch.lerp(features, grown, self.alpha)
