"""Data that needs no download: MNIST-1D, generated locally, and scikit-learn's handwritten digits.

A dataset is split once per seed: the same (name, seed, sizes) always gives the same tensors. What the
training and validation sets leave over is the test set, so that it is as large as the data allows.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

MNIST1D_POOL_SIZE: Final = 8_000
"""MNIST-1D examples generated per process (about five seconds on one core)."""

MNIST1D_POOL_SEED: Final = 42
"""The seed that MNIST-1D's authors publish their own set with."""


class DatasetError(ValueError):
    """No such dataset, or sizes it cannot serve. Choose another name, or smaller sets."""


@dataclass(frozen=True)
class Split:
    """Examples and their classes.

    Attributes:
        inputs: (N, 1, L) or (N, 1, H, W), float32, standardised with the training set's mean and deviation.
        labels: (N,), int64, classes counted from zero.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.labels)

    def batches(self, examples: int, order: Tensor | None = None) -> Iterator["Split"]:
        """Parts of at most that many examples, in the order of the indices (N,) given, else as they lie."""
        indices = torch.arange(len(self)) if order is None else order
        for start in range(0, len(indices), examples):
            part = indices[start : start + examples]
            yield Split(self.inputs[part], self.labels[part])


@dataclass(frozen=True)
class Dataset:
    """Three disjoint sets: one to train on, one for the policy to see, one to judge by at the end."""

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split

    @property
    def dimensions(self) -> int:
        """Spatial dimensions of one example: 1 for signals, 2 for images."""
        return self.train.inputs.dim() - 2


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows."""
    return tuple(_POOLS)


def load_dataset(name: str, *, seed: int, train_examples: int, validation_examples: int) -> Dataset:
    """Shuffle the pool of examples by `seed` and split it.

    Raises:
        DatasetError: the name is unknown, or the two sets would leave nothing to test on.
    """
    if name not in _POOLS:
        raise DatasetError(f"unknown dataset {name!r}; choose one of {', '.join(_POOLS)}")
    pool = _POOLS[name]()
    if min(train_examples, validation_examples) < 1 or train_examples + validation_examples >= len(pool):
        raise DatasetError(f"{name} has {len(pool)} examples: training and validation must leave a test set")
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed))
    train, validation, test = order.tensor_split((train_examples, train_examples + validation_examples))
    mean, deviation = _scale(pool.inputs[train])
    splits = (
        Split((pool.inputs[part] - mean) / deviation, pool.labels[part]) for part in (train, validation, test)
    )
    return Dataset(name, int(pool.labels.max()) + 1, *splits)


def _scale(inputs: Tensor) -> tuple[float, float]:
    return float(inputs.mean()), float(inputs.std())


@cache
def _digits() -> Split:
    """The 1 797 handwritten digits, 8×8 (UCI Optical Recognition of Handwritten Digits)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return _as_split(images.reshape(-1, 1, 8, 8), labels)


@cache
def _mnist1d() -> Split:
    """A pool of signals, generated once per process."""
    return generate_mnist1d(MNIST1D_POOL_SIZE)


def generate_mnist1d(examples: int) -> Split:
    """Signals (N, 1, 40) of ten classes; the same number of examples is always the same signals.

    Source: Greydanus and Kobak, "Scaling down deep learning with MNIST-1D" (2020); their code generates them
    here, and its download is never used.
    """
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples = examples
    arguments.seed = MNIST1D_POOL_SEED
    with _global_randomness_preserved():
        generated = make_dataset(arguments)
    signals = np.concatenate([generated["x"], generated["x_test"]])
    return _as_split(signals[:, None, :], np.concatenate([generated["y"], generated["y_test"]]))


def _as_split(inputs: np.ndarray, labels: np.ndarray) -> Split:
    return Split(
        torch.as_tensor(inputs, dtype=torch.float32).contiguous(), torch.as_tensor(labels, dtype=torch.int64)
    )


@contextmanager
def _global_randomness_preserved() -> Iterator[None]:
    """The generator of MNIST-1D seeds the interpreter's and numpy's global generators: put both back."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


_POOLS: Final[dict[str, Callable[[], Split]]] = {"digits": _digits, "mnist1d": _mnist1d}
