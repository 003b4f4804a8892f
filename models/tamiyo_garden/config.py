"""Every setting of a training in one place, and the two tasks that are known to reward growth."""

from dataclasses import dataclass, field

from tamiyo_garden.host import HostConfig
from tamiyo_garden.lifecycle import Gates


@dataclass(frozen=True)
class GardenConfig:
    """One training: data, host, optimizer, gates.

    Attributes:
        dataset: one of `dataset_names()`.
        host: shape of the network to begin with.
        train_examples: examples to train on.
        validation_examples: examples that reports, gates and policies see; the rest is the test set.
        max_epochs: length of the training.
        batch_size: examples per optimizer step.
        learning_rate: Adam's, for the host.
        seed_learning_rate: Adam's, for each seed.
        isolated_rate_share: share of it that a seed learns with in TRAINING, 0–1.
        gates: what a seed's moves ask for.
    """

    dataset: str
    host: HostConfig
    train_examples: int
    validation_examples: int
    max_epochs: int
    batch_size: int = 32
    learning_rate: float = 0.01
    seed_learning_rate: float = 0.01
    isolated_rate_share: float = 0.1
    gates: Gates = field(default_factory=Gates)
