from __future__ import annotations

import math

import pytest
import torch
from tamiyo_models.deployed import DeployedNetwork
from tamiyo_models.network import ActorCritic, NetworkShape, mixture
from torch import Tensor, nn

SHAPE = NetworkShape(features=5, actions=4, hidden=16, head=8, actors=3)


def network(shape: NetworkShape = SHAPE) -> ActorCritic:
    return ActorCritic(shape, torch.Generator().manual_seed(3)).eval()


def opinionated(shape: NetworkShape = SHAPE) -> ActorCritic:
    made, dice = network(shape), torch.Generator().manual_seed(11)
    for actor in made.actors:
        torch.nn.init.normal_(actor[2].weight, std=1.0, generator=dice)  # type: ignore[index]  # a Sequential
    return made


def rows(count: int) -> Tensor:
    return torch.randn(count, SHAPE.features, generator=torch.Generator().manual_seed(5))


ALL = torch.ones(6, SHAPE.actions, dtype=torch.bool)


def test_layers_have_the_sizes_of_the_design() -> None:
    made = ActorCritic(NetworkShape(features=108, actions=7))
    linear = [tuple(layer.weight.shape) for layer in made.modules() if isinstance(layer, nn.Linear)]
    trunk, actor, critic = [(256, 108), (256, 256)], [(128, 256), (7, 128)], [(128, 256), (1, 128)]
    assert linear == [*trunk, *actor, *actor, *actor, *critic]


def test_weights_are_orthogonal_with_their_gains_and_biases_zero() -> None:
    made = network()
    first, second = made.trunk[0], made.trunk[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(second, nn.Linear)
    assert torch.allclose(first.weight.T @ first.weight, 2.0 * torch.eye(5), atol=1e-5)
    assert torch.allclose(second.weight.T @ second.weight, 2.0 * torch.eye(16), atol=1e-5)
    for head, gain in [(made.actors[0], 0.01), (made.critic, 1.0)]:
        output = head[2]  # type: ignore[index]  # a Sequential
        size = output.weight.shape[0]
        assert torch.allclose(output.weight @ output.weight.T, gain**2 * torch.eye(size), atol=1e-6)
    assert all(not layer.bias.any() for layer in made.modules() if isinstance(layer, nn.Linear))


def test_log_probabilities_are_a_distribution_over_the_legal_actions() -> None:
    mask = torch.tensor([[True, False, True, False]] * 6)
    log_probs, value, uncertainty = opinionated()(rows(6), mask)
    assert (log_probs.shape, value.shape, uncertainty.shape) == ((6, 4), (6,), (6,))
    assert torch.equal(log_probs == -math.inf, ~mask)
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(6))


def test_illegal_actions_do_not_shift_the_legal_ones() -> None:
    made = opinionated(NetworkShape(5, 4, 16, 8, actors=1))
    free, _, _ = made(rows(6), ALL)
    mask = torch.tensor([[True, True, False, False]] * 6)
    masked, _, _ = made(rows(6), mask)
    assert torch.allclose(masked[:, 0] - masked[:, 1], free[:, 0] - free[:, 1], atol=1e-5)


def test_a_row_without_a_legal_action_is_no_nan_and_leaves_its_neighbours() -> None:
    made = opinionated()
    mask = ALL.clone()
    mask[2] = False
    log_probs, value, uncertainty = made(rows(6), mask)
    assert (log_probs[2] == -math.inf).all()
    assert not any(answer.isnan().any() for answer in (log_probs, value, uncertainty))
    others = torch.arange(6) != 2
    assert torch.equal(log_probs[others], made(rows(6), ALL)[0][others])


def test_a_huge_logit_makes_no_legal_action_minus_infinity() -> None:
    made = network()
    for actor in made.actors:
        actor[2].bias.data[0] = 500.0  # type: ignore[index]  # a Sequential
    log_probs, _, uncertainty = made(rows(6), ALL)
    assert log_probs.isfinite().all()
    assert uncertainty.isfinite().all()


def test_uncertainty_tells_disagreement_from_indifference() -> None:
    sure_and_different = torch.tensor([[[0.98, 0.01, 0.01]], [[0.01, 0.98, 0.01]]]).log()
    unsure_together = torch.tensor([[[0.5, 0.5, 1e-6]], [[0.5, 0.5, 1e-6]]]).log()
    for members, disagree in [(sure_and_different, True), (unsure_together, False)]:
        mixed, uncertainty = mixture(members)
        entropy = -(mixed.exp() * mixed).sum(-1)
        assert entropy.item() == pytest.approx(math.log(2), abs=0.1)
        assert (uncertainty.item() > 0.5) is disagree


def test_uncertainty_is_the_entropy_of_the_mixture_less_the_mean_entropy() -> None:
    members = torch.randn(4, 10, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    mixed, uncertainty = mixture(members)
    total = -(mixed.exp() * mixed).sum(-1)
    expected = total + (members.exp() * members).sum(-1).mean(0)
    assert torch.allclose(uncertainty, expected, atol=1e-6)
    assert torch.allclose(mixed.exp(), members.exp().mean(0), atol=1e-6)


def test_one_actor_is_never_uncertain() -> None:
    made = opinionated(NetworkShape(5, 4, 16, 8, actors=1))
    assert torch.allclose(made(rows(6), ALL)[2], torch.zeros(6), atol=1e-6)


def test_statistics_inside_the_network_normalise_its_input() -> None:
    made = opinionated()
    expected = made(rows(6), ALL)
    made.feature_mean.fill_(7.0)
    made.feature_scale.fill_(0.5)
    shifted = made(rows(6) * 2.0 + 7.0, ALL)
    for one, other in zip(expected, shifted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("actors", [1, 3])
def test_the_deployed_form_is_the_same_function(actors: int) -> None:
    made = opinionated(NetworkShape(5, 4, 16, 8, actors=actors))
    made.value_mean.fill_(4.0)
    made.value_scale.fill_(3.0)
    mask = ALL.clone()
    mask[1, 2:] = False
    mask[2] = False
    with torch.no_grad():
        ours, theirs = made(rows(6), mask), DeployedNetwork(made)(rows(6), mask)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
        assert not other.isnan().any()
