"""ActorCritic: the policy network, as it is trained.

::

    features[B,F] ─ normalise ─ trunk F→256→256 ─┬─ actor 1  256→128→A ─┐
                                                 ├─ …                   ├─ masked softmax each, their mixture
                                                 ├─ actor K  256→128→A ─┘
                                                 └─ critic  256→128→1 ─── value

The K actors are an ensemble on one trunk, each trained on its own resample of the data (Osband et al. 2016,
"Deep exploration via bootstrapped DQN"). The policy is their mixture. Its entropy does not tell "these
actions are equally good" from "this was never seen"; how far the actors disagree does: the uncertainty is
the mutual information between the action and the actor that chose it, which is the entropy of the mixture
less the mean entropy of the actors (Houlsby et al. 2011, "Bayesian active learning for classification and
preference learning"; of ensembles Depeweg et al. 2018, "Decomposition of uncertainty in Bayesian deep
learning").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

MASKED: Final = -1.0e9
"""Logit of an action that is not legal: its probability is exactly 0, and a row of them is no NaN."""
FEATURE_BOUND: Final = 10.0
"""Normalised features stay within ± this many standard deviations."""


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes of a network.

    Attributes:
        features: F, inputs of a row.
        actions: A.
        hidden: units of both layers of the trunk.
        head: units of each actor's and the critic's hidden layer.
        actors: K, size of the ensemble.
    """

    features: int
    actions: int
    hidden: int = 256
    head: int = 128
    actors: int = 3


class ActorCritic(nn.Module):
    """Actors and a critic on a shared trunk, normalisation included.

    Weights are orthogonal with gain √2, biases 0, the actors' outputs with gain 0.01, the critic's with
    gain 1 (Engstrom et al. 2020, "Implementation matters in deep policy gradients").

    Args:
        shape: sizes.
        generator: of the initial weights; None: torch's own.
    """

    feature_mean: Tensor
    feature_scale: Tensor
    value_mean: Tensor
    value_scale: Tensor

    def __init__(self, shape: NetworkShape, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.shape: Final = shape
        self.trunk = nn.Sequential(
            _linear(shape.features, shape.hidden, math.sqrt(2.0), generator),
            nn.ReLU(),
            _linear(shape.hidden, shape.hidden, math.sqrt(2.0), generator),
            nn.ReLU(),
        )
        heads = (_head(shape, shape.actions, 0.01, generator) for _ in range(shape.actors))
        self.actors = nn.ModuleList(heads)
        self.critic = _head(shape, 1, 1.0, generator)
        self.register_buffer("feature_mean", torch.zeros(shape.features))
        self.register_buffer("feature_scale", torch.ones(shape.features))
        self.register_buffer("value_mean", torch.zeros(()))
        self.register_buffer("value_scale", torch.ones(()))

    def hidden(self, features: Tensor) -> Tensor:
        """The trunk's output for features[B,F]: [B,hidden]."""
        normalised = (features - self.feature_mean) * self.feature_scale
        trunk: Tensor = self.trunk(normalised.clamp(-FEATURE_BOUND, FEATURE_BOUND))
        return trunk

    def actor_log_probs(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Each actor's log-probabilities, [K,B,A], close to `MASKED` where an action is not legal."""
        logits = torch.stack([actor(hidden) for actor in self.actors])
        return torch.where(mask, logits, MASKED).log_softmax(-1)

    def value(self, hidden: Tensor) -> Tensor:
        """The critic's estimate, [B]."""
        estimate: Tensor = self.critic(hidden).squeeze(-1) * self.value_scale + self.value_mean
        return estimate

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network says.

        Args:
            features: [B,F] float32, as the observation schema gives them.
            mask: [B,A] bool, True where an action is legal. A row without a legal action says nothing: its
                log-probabilities are all −inf, and nothing is NaN.

        Returns:
            log_probs [B,A] float32, natural logarithms, −inf where an action is not legal; value [B] float32;
            uncertainty [B] float32, nats, 0 to ln K.
        """
        hidden = self.hidden(features)
        log_probs, uncertainty = mixture(self.actor_log_probs(hidden, mask))
        return log_probs.masked_fill(~mask, -math.inf), self.value(hidden), uncertainty


def mixture(log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """The mixture of an ensemble's policies, and how far its members disagree.

    Args:
        log_probs: [K,…,A], finite.

    Returns:
        log-probabilities of the mixture, […,A], and the mutual information of action and member, […], in
        nats: the mean over the members of KL(member ‖ mixture), which loses less to rounding than
        a difference of entropies.
    """
    mixed = log_probs.logsumexp(0) - math.log(log_probs.shape[0])
    divergence = (log_probs.exp() * (log_probs - mixed)).sum(-1)
    return mixed, divergence.mean(0).clamp(min=0.0)


def _linear(inputs: int, outputs: int, gain: float, generator: torch.Generator | None) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain, generator)
    nn.init.zeros_(layer.bias)
    return layer


def _head(shape: NetworkShape, outputs: int, gain: float, generator: torch.Generator | None) -> nn.Sequential:
    return nn.Sequential(
        _linear(shape.hidden, shape.head, math.sqrt(2.0), generator),
        nn.ReLU(),
        _linear(shape.head, outputs, gain, generator),
    )
