"""The host: a convolutional network too small for its task, with slots between its layers."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tamiyo_garden.initialisation import initialised
from tamiyo_garden.slot import SeedSlot


@dataclass(frozen=True)
class HostConfig:
    """Shape of a host.

    Attributes:
        dimensions: 1 for signals (B, 1, L), 2 for images (B, 1, H, W).
        widths: channels of each convolutional layer.
        strides: stride of each layer.
        slots: how many layers, counted from the last, are followed by a slot.
        normalised: whether each layer has batch norm.
        classes: outputs.
    """

    dimensions: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    slots: int
    normalised: bool = False
    classes: int = 10

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built.

        Raises:
            ValueError: dimensions not 1 or 2, unequal lengths, or more slots than layers.
        """
        if self.dimensions not in (1, 2):
            raise ValueError(f"dimensions must be 1 or 2, got {self.dimensions}")
        if not self.widths or len(self.widths) != len(self.strides):
            raise ValueError("widths and strides must name the same layers, at least one")
        if not 1 <= self.slots <= len(self.widths):
            raise ValueError(f"slots must be 1–{len(self.widths)}, got {self.slots}")


class ConvHost(nn.Module):
    """Convolutions of kernel 3 with ReLU, seed slots, mean over space, one linear layer.

    Attributes:
        slots: the seed slots, in the order the features pass them.
    """

    def __init__(self, config: HostConfig) -> None:
        super().__init__()
        inputs = (1, *config.widths[:-1])
        self.layers = nn.ModuleList(
            _layer(config, *shape) for shape in zip(inputs, config.widths, config.strides, strict=True)
        )
        self.slots = [
            SeedSlot(f"slot-{number}", width) for number, width in enumerate(config.widths[-config.slots :])
        ]
        self._after = nn.ModuleList([*_no_slots(config), *self.slots])
        self.readout = nn.Linear(config.widths[-1], config.classes)
        self._spatial = tuple(range(2, 2 + config.dimensions))

    def forward(self, inputs: Tensor) -> Tensor:
        """(B, 1, L) or (B, 1, H, W) → (B, classes)."""
        features = inputs
        for layer, slot in zip(self.layers, self._after, strict=True):
            features = slot(layer(features))
        outputs: Tensor = self.readout(features.mean(self._spatial))
        return outputs

    def host_parameters(self) -> list[nn.Parameter]:
        """The host's own parameters, without any seed's."""
        return [*self.layers.parameters(), *self.readout.parameters()]


def build_host(config: HostConfig, generator: torch.Generator) -> ConvHost:
    """A host with weights drawn from `generator`."""
    return initialised(lambda: ConvHost(config), generator)


def _layer(config: HostConfig, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv1d if config.dimensions == 1 else nn.Conv2d
    normalisation = nn.BatchNorm1d if config.dimensions == 1 else nn.BatchNorm2d
    layers: list[nn.Module] = [convolution(inputs, outputs, 3, stride=stride, padding=1)]
    if config.normalised:
        layers.append(normalisation(outputs))
    return nn.Sequential(*layers, nn.ReLU())


def _no_slots(config: HostConfig) -> list[nn.Module]:
    return [nn.Identity() for _ in range(len(config.widths) - config.slots)]
