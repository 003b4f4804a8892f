"""DeployedNetwork: an ActorCritic as it is shipped, the heads fused into two layers.

The hidden layers of all actors and the critic read the same trunk, so they are one matrix; their outputs are
one block-diagonal matrix; what normalises the features and the value is part of the first and the last
matrix. Four matrix products and little else, the same function.
"""

import math
from typing import Final

import torch
from torch import Tensor, nn

from tamiyo_models.network import FEATURE_BOUND, MASKED, ActorCritic

RAREST: Final = 1e-30
"""No legal action is less likely: its logarithm stays finite."""
Layer = tuple[Tensor, Tensor]
"""Weight [out,in] and bias [out]."""


class DeployedNetwork(nn.Module):
    """What an artifact holds: `ActorCritic.forward` of a trained network, with constant weights.

    Args:
        network: trained; it is copied.
    """

    # TorchScript reads annotations as they are: this file must not have them as strings.
    lowest: Tensor
    highest: Tensor
    masked: Tensor
    nothing: Tensor
    share: Tensor
    weight_1: Tensor
    weight_2: Tensor
    weight_3: Tensor
    weight_4: Tensor
    bias_1: Tensor
    bias_2: Tensor
    bias_3: Tensor
    bias_4: Tensor

    def __init__(self, network: ActorCritic) -> None:
        super().__init__()
        shape = network.shape
        self.actors = shape.actors
        self.actions = shape.actions
        self.rarest = RAREST
        lowest, highest = feature_bounds(network)
        self.register_buffer("lowest", lowest)
        self.register_buffer("highest", highest)
        self.register_buffer("masked", torch.tensor(MASKED))
        self.register_buffer("nothing", torch.tensor(-math.inf))
        self.register_buffer("share", torch.tensor(1.0 / shape.actors))
        for number, (weight, bias) in enumerate(fused_layers(network), start=1):
            self.register_buffer(f"weight_{number}", weight.T.contiguous())
            self.register_buffer(f"bias_{number}", bias)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `ActorCritic.forward`: features[B,F], mask[B,A] to log_probs[B,A], value[B], uncertainty[B].

        A legal action is never less likely than `RAREST`.
        """
        x = torch.clamp(features, self.lowest, self.highest)
        x = torch.relu(torch.addmm(self.bias_1, x, self.weight_1))
        x = torch.relu(torch.addmm(self.bias_2, x, self.weight_2))
        x = torch.relu(torch.addmm(self.bias_3, x, self.weight_3))
        x = torch.addmm(self.bias_4, x, self.weight_4)
        logits = x[:, : self.actors * self.actions].view(-1, self.actors, self.actions)
        each = torch.softmax(torch.where(mask.unsqueeze(1), logits, self.masked), -1)
        mixed = each.sum(1) * self.share
        log_probs = torch.where(mask, mixed.clamp_min(self.rarest).log(), self.nothing)
        # Σ p ln p of the members, on average, less that of the mixture: their mutual information.
        uncertainty = torch.xlogy(each, each).sum((1, 2)) * self.share - torch.xlogy(mixed, mixed).sum(-1)
        return log_probs, x[:, self.actors * self.actions], uncertainty


def feature_bounds(network: ActorCritic) -> Layer:
    """Where features are cut off, in their own units; a feature that weighs nothing is not."""
    mean, scale = network.feature_mean.double(), network.feature_scale.double()
    reach = torch.where(scale > 0.0, FEATURE_BOUND / scale, math.inf)
    limit = torch.finfo(torch.float32).max
    return (mean - reach).clamp(min=-limit).float(), (mean + reach).clamp(max=limit).float()


def fused_layers(network: ActorCritic) -> tuple[Layer, Layer, Layer, Layer]:
    """The four layers of a network: two of the trunk, the heads' hidden ones, and their outputs.

    The normalisation of the features is part of the first layer. Outputs are the logits of actor 1, of
    actor 2, …, then the value in its own unit.
    """
    heads = [*network.actors, network.critic]
    hidden = [_layer(head[0]) for head in heads]
    outputs = [_layer(head[2]) for head in heads]
    weight, bias = outputs[-1]
    outputs[-1] = weight * network.value_scale, bias * network.value_scale + network.value_mean
    fused = (
        torch.cat([weight for weight, _ in hidden]),
        torch.cat([bias for _, bias in hidden]),
    )
    diagonal = (
        torch.block_diag(*(weight for weight, _ in outputs)),  # type: ignore[no-untyped-call]  # torch's own
        torch.cat([bias for _, bias in outputs]),
    )
    return _first_layer(network), _layer(network.trunk[2]), fused, diagonal


def _first_layer(network: ActorCritic) -> Layer:
    weight, bias = _layer(network.trunk[0])
    scaled = weight.double() * network.feature_scale.double()
    return scaled.float(), (bias.double() - scaled @ network.feature_mean.double()).float()


def _layer(linear: nn.Module) -> Layer:
    assert isinstance(linear, nn.Linear)
    return linear.weight.detach().clone(), linear.bias.detach().clone()
