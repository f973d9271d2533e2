"""Models: a network with the losses that train it.

The code of `Autoencoder` is a point, that of `VariationalAutoencoder` a distribution; `training.adversarial` adds a
discriminator. Each provides `phases` for the loop in `training.fit` and reconstructions for `training.scores`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training import corruption, penalty
from training.features import Cells, Features
from training.likelihood import LOG_VARIANCE, Reconstruction, row_loss
from training.networks import Network
from training.networks.memory import Memory
from training.penalty import GaussianCode, Penalty, kl_divergence


class StepContext(NamedTuple):
    """The share of training that is done, and the generator of its noise."""

    progress: float
    generator: torch.Generator


Loss = Callable[[Any, Any, StepContext], Tensor]  # noisy rows or windows, clean ones -> [rows], nats


class Phase(NamedTuple):
    """One of the losses that a training step minimises in turn, with the parameters that it changes."""

    parameters: list[nn.Parameter]
    loss: Loss


class RowModel(nn.Module):
    """The base of all models of rows and images: features, a network, and the likelihood of its reconstructions."""

    latent: int
    batch = 256  # rows that are reconstructed at a time, outside training
    step_divisor = 1  # divides the number of training steps

    def __init__(self, features: Features, network: Network, *, bernoulli: bool) -> None:
        """With `bernoulli`, features are probabilities."""
        super().__init__()
        self.features = features
        self.network = network
        self.bernoulli = bernoulli

    def loss(self, noisy: Cells, clean: Cells, context: StepContext) -> Tensor:
        """Return the loss that validation monitors and the first phase minimises, `[rows]`, in nats."""
        raise NotImplementedError

    def initialize(self, training: Cells) -> None:
        """Set, before the first step, the weights that are computed rather than trained."""

    @property
    def stored_rows(self) -> int:
        """How many training rows the model holds as they are."""
        return 0

    def remember(self, normal: Cells) -> None:
        """Learn, before the first step, from all rows that are not held out for calibration."""

    def hiding(self, training: Cells) -> Callable[[Cells, torch.Generator], Cells]:
        """Return the function that hides cells in training, so that the network learns about missing cells.

        It hides none where features are redundant and none is missing: a network would copy a hidden pixel's neighbours.
        """
        hides = not (self.bernoulli or self.features.is_redundant) or bool(training.present.min() < 1)
        return corruption.hide if hides else lambda cells, _generator: cells

    def phases(self) -> list[Phase]:
        """Return the phases of a training step, in order."""
        return [Phase(list(self.parameters()), self.loss)]

    def decode(self, latent: Tensor) -> Reconstruction:
        """Reconstruct rows from codes, `[..., latent]`."""
        width = self.features.layout.feature_count
        mean, logits = self.network.decode(latent).tensor_split([width], dim=-1)
        return Reconstruction(torch.sigmoid(mean), logits, log_odds=mean) if self.bernoulli else Reconstruction(mean, logits)


class Autoencoder(RowModel):
    """An autoencoder whose code is a point."""

    def __init__(
        self, features: Features, network: Network, latent: int, *, bernoulli: bool = False, min_error: float = 0.0
    ) -> None:
        """Errors up to `min_error` nats are left out of the loss."""
        super().__init__(features, network, bernoulli=bernoulli)
        self.latent = latent
        self.min_error = min_error
        self.penalty: Penalty = penalty.no_penalty

    def loss(self, noisy: Cells, clean: Cells, context: StepContext) -> Tensor:
        """Return the negative log-likelihood of the clean cells plus the penalty, `[rows]`, in nats."""
        inputs = self.features.inputs(noisy)
        code = self.network.encode(inputs)
        error = row_loss(clean, self.decode(code), self.features, self.min_error)
        return error + self.penalty(self.network, inputs, code, context.generator)

    def encode(self, cells: Cells) -> Tensor:
        """Return the code, `[rows, latent]`."""
        return self.network.encode(self.features.inputs(cells))


class MemoryAutoencoder(Autoencoder):
    """A memory, which recalls the normal rows that a row is like; nothing is trained by gradients."""

    network: Memory

    def __init__(self, features: Features, prototypes: int, contamination: float = 0.0, seed: int = 0) -> None:
        """Keep at most so many prototypes of rows of which a share may be anomalies."""
        super().__init__(features, Memory(features), features.outputs)
        self.prototypes = prototypes
        self.contamination = contamination
        self.seed = seed

    @property
    def stored_rows(self) -> int:
        """How many training rows the model holds as they are."""
        return self.network.stored_rows

    def remember(self, normal: Cells) -> None:
        """Keep prototypes of the rows."""
        self.network.learn(self.features.inputs(normal), self.prototypes, self.seed, self.contamination)

    def phases(self) -> list[Phase]:
        """Return no phases."""
        return []

    def loss(self, noisy: Cells, clean: Cells, context: StepContext) -> Tensor:
        """Return the negative log-density of the clean rows, `[rows]`, in nats."""
        del noisy, context
        crowd: Tensor = self.network(self.features.inputs(clean)).crowd
        return crowd.squeeze(1)


class HybridAutoencoder(Autoencoder):
    """A network, with a memory beside it."""

    def __init__(
        self, features: Features, network: Network, latent: int, prototypes: int, contamination: float = 0.0, seed: int = 0
    ) -> None:
        """Keep at most so many prototypes of rows of which a share may be anomalies."""
        super().__init__(features, network, latent)
        self.memory = Memory(features)
        self.prototypes = prototypes
        self.contamination = contamination
        self.seed = seed

    @property
    def stored_rows(self) -> int:
        """How many training rows the model holds as they are."""
        return self.memory.stored_rows

    def remember(self, normal: Cells) -> None:
        """Keep prototypes of the rows."""
        self.memory.learn(self.features.inputs(normal), self.prototypes, self.seed, self.contamination)


class VariationalAutoencoder(RowModel):
    """An autoencoder whose code is a Gaussian (Kingma & Welling 2014, "Auto-encoding variational Bayes").

    The decoder returns a mean and a log-variance for each feature. `beta` and the warm-up of the Kullback-Leibler term
    (Higgins 2017; Bowman 2016) apply in training only.
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
        """Phase the divergence in over the share `warm_up` of training."""
        super().__init__(features, network, bernoulli=bernoulli)
        self.latent = latent
        self.beta = beta
        self.warm_up = warm_up

    def loss(self, noisy: Cells, clean: Cells, context: StepContext) -> Tensor:
        """Return the negative evidence lower bound, `[rows]`, in nats, by one draw of the latent."""
        code = self.encode(noisy)
        noise = torch.randn(code.mean.shape, generator=context.generator, device=code.mean.device)
        reconstruction = self.decode(code.sample(noise))
        weight = self.beta * min(1.0, context.progress / self.warm_up)
        return row_loss(clean, reconstruction, self.features) + weight * kl_divergence(code)

    def encode(self, cells: Cells) -> GaussianCode:
        """Return the distribution over codes."""
        mean, log_variance = self.network.encode(self.features.inputs(cells)).chunk(2, dim=-1)
        return GaussianCode(mean, log_variance.clamp(*LOG_VARIANCE))

    def decode(self, latent: Tensor) -> Reconstruction:
        """Reconstruct rows from codes, `[..., latent]`."""
        if self.bernoulli:
            return super().decode(latent)
        width = self.features.layout.feature_count
        mean, log_variance, logits = self.network.decode(latent).tensor_split([width, 2 * width], dim=-1)
        return Reconstruction(mean, logits, log_variance.clamp(*LOG_VARIANCE))


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of several modules."""
    parameters: Iterable[nn.Parameter] = (parameter for module in modules for parameter in module.parameters())
    return list(parameters)
