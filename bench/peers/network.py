"""The network that the servers of others run, on plain torch: as large as Tamiyo's ActorCritic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

FEATURES: Final = 108
HIDDEN: Final = 256
HEAD: Final = 128
ACTIONS: Final = 7


class Network(torch.nn.Module):
    """An actor and a critic on a shared trunk: (B, F) to (B, A) logits and (B, 1) values."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.ReLU(),
        )
        self.actor = _head(ACTIONS)
        self.critic = _head(1)

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and values of a batch."""
        hidden = self.trunk(features)
        return self.actor(hidden), self.critic(hidden)


def _head(outputs: int) -> torch.nn.Sequential:
    layers = torch.nn.Linear(HIDDEN, HEAD), torch.nn.ReLU(), torch.nn.Linear(HEAD, outputs)
    return torch.nn.Sequential(*layers)


def network() -> Network:
    """The network, on one thread."""
    torch.set_num_threads(1)
    return Network().eval()


def features_of(report: Mapping[str, Any]) -> list[float]:
    """As many numbers as a decision is made from, taken from a report."""
    host = [report["epoch"], report["global_step"], report["train_loss"], report["val_loss"]]
    accuracies = [report["train_accuracy"], report["val_accuracy"], report["available_slots"]]
    seed = report["seeds"][0]["metrics"]
    known = [*host, *accuracies, seed["epochs_in_current_stage"], seed["current_val_accuracy"]]
    return [float(value) for value in known] + [0.0] * (FEATURES - len(known))


def decided(net: Network, features: torch.Tensor) -> dict[str, Any]:
    """The best action for one row of features, and its value."""
    with torch.inference_mode():
        logits, value = net(features.unsqueeze(0))
    probabilities = torch.softmax(logits[0], dim=0)
    action = int(torch.argmax(probabilities))
    return {"action": action, "confidence": float(probabilities[action]), "value": float(value)}
