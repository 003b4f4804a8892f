"""Loss and accuracy of a network on a set of examples."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from tamiyo_garden.data import Split

BATCH_EXAMPLES: Final = 2_000


@dataclass(frozen=True)
class Evaluation:
    """What a network scored.

    Attributes:
        loss: mean cross-entropy in nats; NaN or infinite when the network has diverged.
        accuracy: percent, always finite: an example whose outputs are not finite counts as wrong.
    """

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(network: nn.Module, split: Split) -> Evaluation:
    """Score `network` in evaluation mode; its mode is put back afterwards."""
    was_training = network.training
    network.eval()
    loss, correct = 0.0, 0
    for batch in split.batches(BATCH_EXAMPLES):
        outputs = network(batch.inputs)
        loss += functional.cross_entropy(outputs, batch.labels, reduction="sum").item()
        correct += correct_predictions(outputs, batch.labels)
    network.train(was_training)
    return Evaluation(loss / len(split), 100.0 * correct / len(split))


def correct_predictions(outputs: Tensor, labels: Tensor) -> int:
    """How many rows of `outputs` (N, classes) are finite and highest at their label (N,)."""
    right = (outputs.argmax(1) == labels) & outputs.isfinite().all(1)
    return int(right.sum())
