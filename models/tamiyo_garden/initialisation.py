"""Weights drawn from a generator of our own, so that no network depends on torch's global random state."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def generator_for(*key: int) -> torch.Generator:
    """A generator that depends on every part of `key` (for instance seed and epoch), and on nothing else.

    The parts are folded with SplitMix64's constants (Steele, Lea, Flood, "Fast splittable pseudorandom
    number generators", 2014), so that neighbouring keys give unrelated streams.
    """
    state = 0
    for part in key:
        state = _splitmix64(state ^ (part & _MASK))
    return torch.Generator().manual_seed(state >> 1)


def initialised(build: Callable[[], Network], generator: torch.Generator) -> Network:
    """Build a network and draw its weights from `generator`; torch's global state is left as it was.

    Convolutions and linear layers: uniform in ±√(1/fan_in), weights and biases, as torch does by default.
    A layer marked by `zero_at_first` starts at zero instead.
    """
    with torch.random.fork_rng(devices=[]):
        network = build()
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            _draw(module, generator)
    return network


def zero_at_first(layer: Network) -> Network:
    """Mark a convolution or linear layer to start at zero, so that its branch begins by adding nothing."""
    layer.starts_at_zero = True  # type: ignore[assignment]  # torch types free attributes as tensors or modules
    return layer


@torch.no_grad()
def _draw(layer: nn.Conv1d | nn.Conv2d | nn.Linear, generator: torch.Generator) -> None:
    bound = 0.0 if getattr(layer, "starts_at_zero", False) else 1.0 / math.sqrt(layer.weight[0].numel())
    layer.weight.uniform_(-bound, bound, generator=generator)
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=generator)


_MASK = (1 << 64) - 1


def _splitmix64(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
