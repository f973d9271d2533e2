"""A model rebuilds rows and says how badly: a network, with the losses that train it.

`Autoencoder` has a point for a code, `VariationalAutoencoder` a distribution; `training.adversarial` has one more. All
give `phases` for the loop in `training.fit` and their reconstructions for the scores in `training.scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training import corruption, penalty
from training.features import Cells, Features
from training.likelihood import LOG_VARIANCE, Reconstruction, surprise
from training.networks import Network
from training.penalty import Gaussian, Penalty, kl_divergence
from training.pixels import Pixels


class Moment(NamedTuple):
    """Where training stands: the share of it that is done, and where to draw noise from."""

    progress: float
    generator: torch.Generator


Loss = Callable[[Any, Any, Moment], Tensor]  # noisy rows or windows, clean ones -> [rows], nats


class Phase(NamedTuple):
    """One of the losses that a step minimises in turn, over its own parameters; all others stay as they are."""

    parameters: list[nn.Parameter]
    loss: Loss


class Model(nn.Module):
    """What all models are: features, a network, and the likelihood of what it rebuilds."""

    latent: int
    batch = 256  # rows of a step of training
    slowness = 1  # by how much fewer steps there are than of a dense network

    def __init__(self, features: Features, network: Network, *, bernoulli: bool) -> None:
        """Take the network; with `bernoulli`, features are probabilities."""
        super().__init__()
        self.features = features
        self.network = network
        self.bernoulli = bernoulli

    def loss(self, noisy: Cells, clean: Cells, moment: Moment) -> Tensor:
        """Give what validation watches and the first phase minimises, `[rows]`, in nats."""
        raise NotImplementedError

    def begin(self, training: Cells) -> None:
        """Set what is not learnt step by step, before the first one."""

    def hiding(self, training: Cells) -> Callable[[Cells, torch.Generator], Cells]:
        """Give what hides cells in training, so that the network knows holes.

        Neighbouring pixels say what a hidden one held, so hiding some teaches nothing where none are missing.
        """
        pixels = self.bernoulli or isinstance(self.features, Pixels)
        hides = not pixels or bool(training.present.min() < 1)
        return corruption.hide if hides else lambda cells, _generator: cells

    def phases(self) -> list[Phase]:
        """Give what a step of training minimises, in order."""
        return [Phase(list(self.parameters()), self.loss)]

    def decode(self, latent: Tensor) -> Reconstruction:
        """Rebuild rows from codes, `[..., latent]`."""
        width = self.features.layout.features
        mean, logits = self.network.decode(latent).tensor_split([width], dim=-1)
        return Reconstruction(torch.sigmoid(mean), logits, log_odds=mean) if self.bernoulli else Reconstruction(mean, logits)


class Autoencoder(Model):
    """Rebuilds a row through a code that is a point."""

    def __init__(
        self, features: Features, network: Network, latent: int, *, bernoulli: bool = False, ignored: float = 0.0
    ) -> None:
        """Take the network; errors up to `ignored` nats teach nothing."""
        super().__init__(features, network, bernoulli=bernoulli)
        self.latent = latent
        self.ignored = ignored
        self.penalty: Penalty = penalty.none

    def loss(self, noisy: Cells, clean: Cells, moment: Moment) -> Tensor:
        """Give minus the log-likelihood of the clean cells and the penalty, `[rows]`, in nats."""
        inputs = self.features.inputs(noisy)
        code = self.network.encode(inputs)
        error = surprise(clean, self.decode(code), self.features, self.ignored)
        return error + self.penalty(self.network, inputs, code, moment.generator)

    def encode(self, cells: Cells) -> Tensor:
        """Give the code, `[rows, latent]`."""
        return self.network.encode(self.features.inputs(cells))


class VariationalAutoencoder(Model):
    """Rebuilds a row through a Gaussian over codes (Kingma & Welling 2014, "Auto-encoding variational Bayes").

    The decoder gives a mean and a log-variance for each feature. `beta` and the warm-up of the Kullback-Leibler term
    (Higgins 2017; Bowman 2016) act in training only.
    """

    def __init__(
        self,
        features: Features,
        network: Network,
        latent: int,
        *,
        beta: float,
        warm_up: float,
        bernoulli: bool = False,
    ) -> None:
        """Take the network; `warm_up` is the share of training over which the divergence is phased in."""
        super().__init__(features, network, bernoulli=bernoulli)
        self.latent = latent
        self.beta = beta
        self.warm_up = warm_up

    def loss(self, noisy: Cells, clean: Cells, moment: Moment) -> Tensor:
        """Give the negative evidence lower bound, `[rows]`, in nats, by one draw of the latent."""
        code = self.encode(noisy)
        noise = torch.randn(code.mean.shape, generator=moment.generator, device=code.mean.device)
        rebuilt = self.decode(code.at(noise))
        weight = self.beta * min(1.0, moment.progress / self.warm_up)
        return surprise(clean, rebuilt, self.features) + weight * kl_divergence(code)

    def encode(self, cells: Cells) -> Gaussian:
        """Give the distribution over codes."""
        mean, log_variance = self.network.encode(self.features.inputs(cells)).chunk(2, dim=-1)
        return Gaussian(mean, log_variance.clamp(*LOG_VARIANCE))

    def decode(self, latent: Tensor) -> Reconstruction:
        """Rebuild rows from codes, `[..., latent]`."""
        if self.bernoulli:
            return super().decode(latent)
        width = self.features.layout.features
        mean, log_variance, logits = self.network.decode(latent).tensor_split([width, 2 * width], dim=-1)
        return Reconstruction(mean, logits, log_variance.clamp(*LOG_VARIANCE))


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Give the parameters of several modules."""
    parameters: Iterable[nn.Parameter] = (each for module in modules for each in module.parameters())
    return list(parameters)
