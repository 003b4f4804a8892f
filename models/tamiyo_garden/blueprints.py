"""The modules a seed can grow into: shape-preserving, (B, C, L) → (B, C, L) or (B, C, H, W) → (B, C, H, W).

Every blueprint begins as the identity, so that what it adds is what it has learned:

| name         | module                                                   | parameters, k = 3 or 9     |
|--------------|----------------------------------------------------------|----------------------------|
| norm         | gated step from the features towards their batch norm    | 3C                         |
| attention    | channel weights from the pooled features                 | 2Ch + C + h, h = max(2, C/4) |
| depthwise    | residual: one filter per channel, then a mix of channels | Ck + C² + 2C               |
| conv_enhance | residual: two full convolutions                          | 2C²k + 2C                  |
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tamiyo_garden.initialisation import initialised, zero_at_first


class UnknownBlueprintError(ValueError):
    """No blueprint of that name. Germinate one of `blueprint_names()`."""


def blueprint_names() -> tuple[str, ...]:
    """The cnn topology's blueprints, smallest first."""
    return tuple(_BLUEPRINTS)


def build_blueprint(name: str, channels: int, dimensions: int, generator: torch.Generator) -> nn.Module:
    """A fresh module of that blueprint.

    Args:
        name: one of `blueprint_names()`.
        channels: channels C of the features it is fed.
        dimensions: 1 for features (B, C, L), 2 for (B, C, H, W).
        generator: where the weights are drawn from.

    Raises:
        UnknownBlueprintError: the name is not registered.
    """
    if name not in _BLUEPRINTS:
        raise UnknownBlueprintError(f"unknown blueprint {name!r}; choose one of {', '.join(_BLUEPRINTS)}")
    return initialised(lambda: _BLUEPRINTS[name](channels, dimensions), generator)


class Norm(nn.Module):
    """x + g · (norm(x) − x) with one gate per channel, zero at first: a learned step towards batch norm."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        self.norm = (nn.BatchNorm1d if dimensions == 1 else nn.BatchNorm2d)(channels)
        self.gate = nn.Parameter(torch.zeros(channels, *[1] * dimensions))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …)."""
        normalised: Tensor = self.norm(features)
        return features + self.gate * (normalised - features)


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu et al., 2018): channels weighted by 2σ(·), one at first.

    SiLU stands where the paper has ReLU: with a hidden layer of two units, ReLU often begins with both dead.
    """

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        hidden = max(2, channels // 4)
        self.spatial = tuple(range(2, 2 + dimensions))
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = zero_at_first(nn.Linear(hidden, channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …)."""
        weights = 2.0 * torch.sigmoid(self.excite(functional.silu(self.squeeze(features.mean(self.spatial)))))
        return features * weights.reshape(*weights.shape, *[1] * len(self.spatial))


class Depthwise(nn.Module):
    """x + mix(relu(filter(x))): a depthwise-separable residual branch (Howard et al., MobileNets, 2017)."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        convolution = _convolution(dimensions)
        self.filter = convolution(channels, channels, 3, padding=1, groups=channels)
        self.mix = zero_at_first(convolution(channels, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …)."""
        branch: Tensor = self.mix(torch.relu(self.filter(features)))
        return features + branch


class ConvEnhance(nn.Module):
    """x + conv(relu(conv(x))): a residual block (He et al., 2016) whose second convolution starts at zero."""

    def __init__(self, channels: int, dimensions: int) -> None:
        super().__init__()
        convolution = _convolution(dimensions)
        self.first = convolution(channels, channels, 3, padding=1)
        self.second = zero_at_first(convolution(channels, channels, 3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, …) → (B, C, …)."""
        branch: Tensor = self.second(torch.relu(self.first(features)))
        return features + branch


def _convolution(dimensions: int) -> type[nn.Conv1d] | type[nn.Conv2d]:
    return nn.Conv1d if dimensions == 1 else nn.Conv2d


_BLUEPRINTS: Final[dict[str, Callable[[int, int], nn.Module]]] = {
    "norm": Norm,
    "attention": ChannelAttention,
    "depthwise": Depthwise,
    "conv_enhance": ConvEnhance,
}
