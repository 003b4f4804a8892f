from __future__ import annotations

import math

import pytest
import torch
from tamiyo_garden import SeedSlot, SlotMode
from torch import Tensor, nn


class Scale(nn.Module):
    """Multiplies by one learned number: a seed whose gradients can be written down."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor


def planted(factor: float) -> tuple[SeedSlot, Scale]:
    slot, seed = SeedSlot("slot-0", 2), Scale(factor)
    slot.plant(seed)
    return slot, seed


def features() -> Tensor:
    return torch.tensor([[1.0, -0.0, 3.0, -4.0]])


def same_bits(first: Tensor, second: Tensor) -> bool:
    return first.detach().numpy().tobytes() == second.detach().numpy().tobytes()


def test_an_empty_slot_hands_its_input_on() -> None:
    x = features()
    assert SeedSlot("slot-0", 2)(x) is x


@pytest.mark.parametrize("factor", [2.0, 1e30, math.nan, math.inf])
def test_an_isolated_seed_changes_no_bit_of_the_output(factor: float) -> None:
    slot, _ = planted(factor)
    assert same_bits(slot(features()), features())


def test_an_isolated_seed_gets_the_gradient_it_would_get_if_it_were_added() -> None:
    slot, seed = planted(2.0)
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    (slot(features()) * weights).sum().backward()
    assert seed.factor.grad == (features() * weights).sum()


def test_an_isolated_seed_leaves_the_hosts_gradient_as_it_is_without_it() -> None:
    slot, _ = planted(2.0)
    x = features().requires_grad_()
    weights = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    (slot(x) * weights).sum().backward()
    assert x.grad is not None
    assert same_bits(x.grad, weights)


@pytest.mark.parametrize(("alpha", "factor"), [(0.25, 1.5), (0.5, 2.0), (1.0, 3.0)])
def test_blending_interpolates_between_host_and_seed(alpha: float, factor: float) -> None:
    slot, _ = planted(3.0)
    slot.blend(alpha)
    torch.testing.assert_close(slot(features()), features() * factor)


def test_a_blended_seed_with_alpha_0_is_not_heard_even_if_it_is_not_finite() -> None:
    slot, _ = planted(math.nan)
    slot.blend(0.0)
    assert same_bits(slot(features()), features())


def test_asking_what_if_leaves_the_slot_as_it_was() -> None:
    slot, _ = planted(3.0)
    with slot.blended_at(1.0):
        torch.testing.assert_close(slot(features()), features() * 3.0)
    assert slot.mode is SlotMode.ISOLATED
    assert slot.alpha == 0.0


def test_a_cleared_slot_forgets_its_seed() -> None:
    slot, _ = planted(3.0)
    slot.blend(1.0)
    slot.clear()
    assert same_bits(slot(features()), features())
    assert list(slot.parameters()) == []
