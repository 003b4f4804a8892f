from __future__ import annotations

import pytest
import torch
from tamiyo_garden import UnknownBlueprintError, blueprint_names, build_blueprint
from tamiyo_leyline import TOPOLOGIES
from torch import nn

SHAPES = {1: (4, 6, 10), 2: (4, 6, 5, 5)}


def built(name: str, dimensions: int, seed: int = 0) -> nn.Module:
    return build_blueprint(name, 6, dimensions, torch.Generator().manual_seed(seed))


def features(dimensions: int) -> torch.Tensor:
    return torch.randn(SHAPES[dimensions], generator=torch.Generator().manual_seed(7))


def test_the_blueprints_are_those_of_the_cnn_topology() -> None:
    assert blueprint_names() == TOPOLOGIES["cnn"].names


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("name", blueprint_names())
def test_a_blueprint_keeps_the_shape(name: str, dimensions: int) -> None:
    assert built(name, dimensions)(features(dimensions)).shape == SHAPES[dimensions]


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("name", blueprint_names())
def test_a_blueprint_begins_as_the_identity(name: str, dimensions: int) -> None:
    torch.testing.assert_close(built(name, dimensions)(features(dimensions)), features(dimensions))


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("name", blueprint_names())
def test_every_parameter_of_a_blueprint_learns(name: str, dimensions: int) -> None:
    module = built(name, dimensions)
    before = [parameter.detach().clone() for parameter in module.parameters()]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    target = torch.randn(SHAPES[dimensions], generator=torch.Generator().manual_seed(8))
    for _ in range(3):
        optimizer.zero_grad()
        (module(features(dimensions)) - target).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("name", blueprint_names())
def test_weights_come_from_the_generator_and_leave_torchs_own_alone(name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, same = built(name, 2, seed=5).state_dict(), built(name, 2, seed=5).state_dict()
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], same[key]) for key in first)


@pytest.mark.parametrize(
    ("name", "dimensions", "parameters"),
    [
        ("norm", 1, 18),
        ("norm", 2, 18),
        ("attention", 1, 2 * 6 * 2 + 6 + 2),
        ("depthwise", 1, 6 * 3 + 36 + 12),
        ("depthwise", 2, 6 * 9 + 36 + 12),
        ("conv_enhance", 1, 2 * 36 * 3 + 12),
        ("conv_enhance", 2, 2 * 36 * 9 + 12),
    ],
)
def test_a_blueprint_has_the_parameters_its_table_says(name: str, dimensions: int, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in built(name, dimensions).parameters()) == parameters


def test_an_unknown_blueprint_is_refused_with_the_valid_names() -> None:
    with pytest.raises(UnknownBlueprintError, match="norm, attention, depthwise, conv_enhance"):
        built("lora", 1)
