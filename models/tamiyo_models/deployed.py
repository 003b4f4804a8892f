"""DeployedNetwork: an ActorCritic as it is shipped, the heads fused into two layers.

The hidden layers of all actors and the critic read the same trunk, so they are one matrix; their outputs are
one block-diagonal matrix. Four matrix products instead of ten, the same function.
"""

import math

import torch
from torch import Tensor, nn

from tamiyo_models.network import FEATURE_BOUND, MASKED, ActorCritic

Layer = tuple[Tensor, Tensor]
"""Weight [out,in] and bias [out]."""


class DeployedNetwork(nn.Module):
    """What an artifact holds: `ActorCritic.forward` of a trained network, with constant weights.

    Args:
        network: trained; it is copied.
    """

    # TorchScript reads annotations as they are: this file must not have them as strings.
    feature_mean: Tensor
    feature_scale: Tensor
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
        self.log_actors = math.log(shape.actors)
        self.masked = MASKED
        self.bound = FEATURE_BOUND
        self.nothing = -math.inf
        self.register_buffer("feature_mean", network.feature_mean.clone())
        self.register_buffer("feature_scale", network.feature_scale.clone())
        for number, (weight, bias) in enumerate(fused_layers(network), start=1):
            self.register_buffer(f"weight_{number}", weight)
            self.register_buffer(f"bias_{number}", bias)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `ActorCritic.forward`: features[B,F], mask[B,A] to log_probs[B,A], value[B], uncertainty[B]."""
        x = ((features - self.feature_mean) * self.feature_scale).clamp(-self.bound, self.bound)
        x = torch.relu(torch.nn.functional.linear(x, self.weight_1, self.bias_1))
        x = torch.relu(torch.nn.functional.linear(x, self.weight_2, self.bias_2))
        x = torch.relu(torch.nn.functional.linear(x, self.weight_3, self.bias_3))
        x = torch.nn.functional.linear(x, self.weight_4, self.bias_4)
        logits = x[:, : self.actors * self.actions].reshape(-1, self.actors, self.actions)
        each = torch.log_softmax(logits.masked_fill(~mask.unsqueeze(1), self.masked), -1)
        mixed = torch.logsumexp(each, 1, True) - self.log_actors
        uncertainty = (each.exp() * (each - mixed)).sum(-1).mean(-1).clamp(min=0.0)
        log_probs = mixed.squeeze(1).masked_fill(~mask, self.nothing)
        return log_probs, x[:, self.actors * self.actions], uncertainty


def fused_layers(network: ActorCritic) -> tuple[Layer, Layer, Layer, Layer]:
    """The four layers of a network: two of the trunk, the heads' hidden ones, and their outputs.

    Outputs are the logits of actor 1, of actor 2, …, then the value in its own unit.
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
    return _layer(network.trunk[0]), _layer(network.trunk[2]), fused, diagonal


def _layer(linear: nn.Module) -> Layer:
    assert isinstance(linear, nn.Linear)
    return linear.weight.detach().clone(), linear.bias.detach().clone()
