"""Penalties against autograd, torch's distributions and vector norms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal
from torch.distributions import kl_divergence as torch_divergence
from torch.func import jacrev, vmap

from tests.training.tensors import INPUTS, LATENT, ROWS, generator, normal
from training.networks import Dense, Shape, Tied
from training.networks.dense import ACTIVATIONS
from training.penalty import ActivityPenalty, GaussianCode, SparsityPenalty, jacobian_norm, kl_divergence

KINDS = [Dense, Tied]


def network_of(kind: type[Dense | Tied], hidden: tuple[int, ...], activation: str) -> Dense | Tied:
    """Return a network in float64 with random weights and biases; its outputs mirror its inputs."""
    shape = Shape(INPUTS, hidden, LATENT, LATENT, INPUTS, activation, activation)
    network: Dense | Tied = (Dense(shape) if kind is Dense else Tied(shape, torch.arange(INPUTS))).double()
    for seed, parameter in enumerate(network.parameters()):
        nn.init.constant_(parameter, 0.0)
        parameter.data += 0.6 * normal(*parameter.shape, seed=seed)
    return network


def exact_norm(network: Dense | Tied, inputs: Tensor) -> Tensor:
    """Return the squared Frobenius norm of the whole Jacobian, row by row, by autograd."""
    jacobian: Tensor = vmap(jacrev(network.encode))(inputs)
    return jacobian.square().sum(dim=(1, 2))


def encoder_weights(network: Dense | Tied) -> list[Tensor]:
    parts = network.encoder if isinstance(network, Dense) else network.layers
    return [part.weight for part in parts if isinstance(part, nn.Linear)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_norm_of_one_layer_is_exact(kind: type[Dense], activation: str) -> None:
    network, inputs = network_of(kind, (), activation), normal(ROWS, INPUTS, seed=9)
    found, expected = jacobian_norm(network, inputs, generator()), exact_norm(network, inputs)
    torch.testing.assert_close(found, expected)
    assert expected.min() > 0 or activation == "relu"
    slopes = [torch.autograd.grad(norm.sum(), encoder_weights(network)) for norm in (found, expected)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("activation", ["silu", "sigmoid", "tanh"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_estimated_norm_of_two_layers_and_its_gradient_are_unbiased(kind: type[Dense], activation: str) -> None:
    draws = 4000
    network, inputs = network_of(kind, (7,), activation), normal(ROWS, INPUTS, seed=9)
    estimates = jacobian_norm(network, inputs.repeat_interleave(draws, dim=0), generator()).unflatten(0, (ROWS, draws))
    expected = exact_norm(network, inputs)
    error = estimates.std(dim=1) / draws**0.5
    assert error.min() > 0
    assert torch.all((estimates.mean(dim=1) - expected).abs() < 4 * error)
    found_slope, expected_slope = (
        torch.cat([part.flatten() for part in torch.autograd.grad(norm, encoder_weights(network))])
        for norm in (estimates.mean(), expected.mean())
    )
    assert torch.nn.functional.cosine_similarity(found_slope, expected_slope, dim=0) > 0.999
    assert abs(float(found_slope.norm() / expected_slope.norm()) - 1) < 0.03


def test_the_divergence_from_the_prior_equals_torchs() -> None:
    mean, log_variance = normal(50, LATENT), 2 * normal(50, LATENT, seed=1)
    code = Independent(Normal(mean, torch.exp(log_variance / 2)), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(kl_divergence(GaussianCode(mean, log_variance)), torch_divergence(code, prior))


@pytest.mark.parametrize("target", [0.01, 0.05, 0.5])
def test_the_sparsity_penalty_is_a_divergence_of_bernoulli_distributions(target: float) -> None:
    code = torch.sigmoid(3 * normal(ROWS, LATENT)).requires_grad_()
    found = SparsityPenalty(target, 0.7)(network_of(Dense, (), "sigmoid"), normal(ROWS, INPUTS), code, generator())
    expected = torch_divergence(Bernoulli(torch.tensor(target, dtype=torch.float64)), Bernoulli(code.mean(dim=0)))
    torch.testing.assert_close(found, (0.7 * expected.sum()).expand(ROWS))
    torch.testing.assert_close(*(torch.autograd.grad(each, code)[0] for each in (found.mean(), 0.7 * expected.sum())))


@pytest.mark.parametrize("power", [1, 2])
def test_the_activity_penalty_is_the_norm_of_codes(power: int) -> None:
    code = normal(ROWS, LATENT)
    found = ActivityPenalty(power, 0.3)(network_of(Dense, (), "relu"), normal(ROWS, INPUTS), code, generator())
    torch.testing.assert_close(found, 0.3 * torch.linalg.vector_norm(code, ord=power, dim=1) ** power)
