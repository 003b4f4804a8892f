from __future__ import annotations

from typing import Any

import pytest
import torch
from tamiyo_garden import ConvHost, HostConfig, build_host
from tamiyo_garden.initialisation import generator_for


def host(config: HostConfig, seed: int = 0) -> ConvHost:
    return build_host(config, generator_for(seed))


@pytest.mark.parametrize(("dimensions", "shape"), [(1, (5, 1, 40)), (2, (5, 1, 8, 8))])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_host_scores_every_class(
    dimensions: int, shape: tuple[int, ...], normalised: bool, slots: int
) -> None:
    network = host(HostConfig(dimensions, (4, 5, 6), (1, 2, 2), slots, normalised))
    assert network(torch.zeros(shape)).shape == (5, 10)
    assert [slot.channels for slot in network.slots] == [4, 5, 6][-slots:]


def test_a_generator_decides_the_weights() -> None:
    config = HostConfig(2, (4, 4), (2, 2), 2)
    first, same, other = (host(config, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_host_parameters_are_all_but_the_seeds() -> None:
    network = host(HostConfig(2, (4, 4), (2, 2), 2))
    before = len(list(network.parameters()))
    network.slots[0].plant(torch.nn.Conv2d(4, 4, 1))
    assert len(network.host_parameters()) == before == len(list(network.parameters())) - 2


@pytest.mark.parametrize(
    "shape",
    [
        {"dimensions": 3},
        {"slots": 0},
        {"slots": 3},
        {"strides": (2,)},
        {"widths": (), "strides": ()},
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        HostConfig(**{"dimensions": 2, "widths": (4, 4), "strides": (2, 2), "slots": 2, **shape})
