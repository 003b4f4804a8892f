from __future__ import annotations

import random
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tamiyo_garden import Dataset, DatasetError, dataset_names, load_dataset
from tamiyo_garden.data import generate_mnist1d


def digits(seed: int = 0) -> Dataset:
    return load_dataset("digits", seed=seed, train_examples=200, validation_examples=100)


def mnist1d(seed: int = 0) -> Dataset:
    return load_dataset("mnist1d", seed=seed, train_examples=1_000, validation_examples=1_000)


def test_both_tasks_can_be_loaded() -> None:
    assert dataset_names() == ("digits", "mnist1d")


def test_digits_leave_everything_unseen_for_the_test() -> None:
    data = digits()
    assert (len(data.train), len(data.validation), len(data.test)) == (200, 100, 1_797 - 300)
    assert data.test.inputs.shape == (1_497, 1, 8, 8)
    assert data.dimensions == 2
    assert data.classes == 10


def test_generating_mnist1d_touches_neither_network_nor_files() -> None:
    generate_mnist1d(10)  # imports what it needs
    events: list[str] = []
    listening = True

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event.startswith(("socket.", "open", "os.")):
            events.append(event)

    sys.addaudithook(listen)  # for the rest of the process: a hook cannot be taken back
    generate_mnist1d(100)
    heard, listening = list(events), False
    assert heard == []


def test_mnist1d_leaves_thousands_of_signals_for_the_test() -> None:
    data = mnist1d()
    assert data.test.inputs.shape == (6_000, 1, 40)
    assert data.dimensions == 1
    assert data.classes == 10


def test_generating_mnist1d_leaves_the_global_generators_alone() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.random()
    random.seed(5)
    np.random.seed(5)
    generate_mnist1d(100)
    assert (random.random(), np.random.random()) == expected


@pytest.mark.parametrize("load", [digits, mnist1d])
def test_a_seed_decides_the_split(load: Callable[[int], Dataset]) -> None:
    assert torch.equal(load(3).train.inputs, load(3).train.inputs)
    assert torch.equal(load(3).test.labels, load(3).test.labels)
    assert not torch.equal(load(3).train.inputs, load(4).train.inputs)


def test_no_example_is_in_two_sets() -> None:
    data = digits()
    sets = (data.train, data.validation, data.test)
    rows = [tuple(image.flatten().tolist()) for split in sets for image in split.inputs]
    assert len(rows) == 1_797
    assert len(set(rows)) == 1_797


def test_inputs_are_standardised_by_the_training_set() -> None:
    data = digits()
    assert float(data.train.inputs.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(data.train.inputs.std()) == pytest.approx(1.0, abs=1e-5)
    assert float(data.test.inputs.mean()) != pytest.approx(0.0, abs=1e-5)


def test_an_unknown_dataset_is_refused_with_the_valid_names() -> None:
    with pytest.raises(DatasetError, match="digits, mnist1d"):
        load_dataset("imagenet", seed=0, train_examples=10, validation_examples=10)


@pytest.mark.parametrize(("train", "validation"), [(0, 10), (10, 0), (1_000, 797)])
def test_sizes_that_leave_a_set_empty_are_refused(train: int, validation: int) -> None:
    with pytest.raises(DatasetError):
        load_dataset("digits", seed=0, train_examples=train, validation_examples=validation)


def test_batches_cover_every_example_once_in_the_given_order() -> None:
    split = digits().train
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    parts = list(split.batches(64, order))
    assert [len(part) for part in parts] == [64, 64, 64, 8]
    assert torch.equal(torch.cat([part.inputs for part in parts]), split.inputs[order])
