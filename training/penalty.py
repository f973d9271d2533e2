"""Penalties on codes, which a loss adds to the reconstruction error, in nats.

A penalty takes the network, its inputs `[rows, inputs]`, the codes `[rows, latent]` and a random generator, and returns
`[rows]`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.networks import ImageNetwork, Memory, Network, Tied

Penalty = Callable[[Network, Tensor, Tensor, torch.Generator], Tensor]

MIN_ACTIVATION = 1e-4


class GaussianCode(NamedTuple):
    """A diagonal Gaussian over codes."""

    mean: Tensor  # [rows, latent]
    log_variance: Tensor  # [rows, latent]

    def sample(self, noise: Tensor) -> Tensor:
        """Return the code for standard-normal noise (the reparameterisation of Kingma & Welling 2014, section 2.4)."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise


def kl_divergence(code: GaussianCode) -> Tensor:
    """Return the Kullback-Leibler divergence from the standard normal prior, `[rows]` (ibid., appendix B)."""
    return 0.5 * (code.mean**2 + code.log_variance.exp() - 1.0 - code.log_variance).sum(dim=-1)


def no_penalty(network: Network, inputs: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
    """Return zeros, `[rows]`."""
    del network, inputs, generator
    return code.new_zeros(len(code))


@dataclasses.dataclass(frozen=True)
class ActivityPenalty:
    """Penalises the code's activity: the sum of absolute values (`power` 1) or of squares (2)."""

    power: int
    weight: float

    def __call__(self, network: Network, inputs: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
        """Return the penalty of each row, `[rows]`."""
        del network, inputs, generator
        return self.weight * code.abs().pow(self.power).sum(dim=-1)


@dataclasses.dataclass(frozen=True)
class SparsityPenalty:
    """Drives each unit's mean activation over a batch, in (0, 1), to a target (Ng 2011, section 3)."""

    target: float
    weight: float

    def __call__(self, network: Network, inputs: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
        """Return the penalty of the batch for each row, `[rows]`."""
        del network, inputs, generator
        target, mean = self.target, code.mean(dim=0).clamp(MIN_ACTIVATION, 1 - MIN_ACTIVATION)
        divergence = target * (math.log(target) - mean.log()) + (1 - target) * (math.log1p(-target) - torch.log1p(-mean))
        return (self.weight * divergence.sum()).expand(len(code))


@dataclasses.dataclass(frozen=True)
class ContractivePenalty:
    """Penalises the squared Frobenius norm of the encoder's Jacobian (Rifai et al. 2011, equation 7)."""

    weight: float

    def __call__(self, network: Network, inputs: Tensor, code: Tensor, generator: torch.Generator) -> Tensor:
        """Return the penalty of each row, `[rows]`."""
        del code
        return self.weight * jacobian_norm(network, inputs, generator)


def jacobian_norm(network: Network, inputs: Tensor, generator: torch.Generator) -> Tensor:
    """Return the squared Frobenius norm of the Jacobian of `encode`, `[rows]`.

    Exact for one layer; otherwise Hutchinson's estimate: the squared length of v' J for one v of random signs.
    """
    single_layer = _single_layer(network)
    if single_layer is None:
        return _estimated_norm(network, inputs, generator)
    layer, activation = single_layer
    before = layer(inputs)
    slope = _gradient(activation, before, torch.ones_like(before))
    return slope**2 @ (layer.weight**2).sum(dim=1)


def _estimated_norm(network: Network, inputs: Tensor, generator: torch.Generator) -> Tensor:
    width = network.encode(inputs[:1]).shape[1]
    signs = torch.randint(2, (len(inputs), width), generator=generator, device=inputs.device) * 2.0 - 1.0
    return (_gradient(network.encode, inputs, signs) ** 2).sum(dim=-1)


def _gradient(function: Callable[[Tensor], Tensor], point: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of the weighted sum of a function's outputs; itself differentiable while training."""
    training = torch.is_grad_enabled()
    with torch.enable_grad():
        point = point if point.requires_grad else point.detach().requires_grad_()
        gradient: Tensor = torch.autograd.grad(function(point), point, weights, create_graph=training)[0]
    return gradient


def _single_layer(network: Network) -> tuple[nn.Linear, nn.Module] | None:
    """Return the encoder's layer and activation; None if it has more than one layer."""
    if isinstance(network, ImageNetwork | Memory):
        return None
    stack = [*network.layers, network.code_activation] if isinstance(network, Tied) else list(network.encoder)
    layer, *others = stack
    return (layer, others[0]) if isinstance(layer, nn.Linear) and len(others) == 1 else None
