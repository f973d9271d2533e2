"""A model rebuilds rows and says how badly: a network, with the loss that trains it.

`Autoencoder` has a point for a code; `VariationalAutoencoder` a distribution. Both give `loss` for the loop in
`training.fit` and their reconstructions for the scores in `training.scores`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.features import Cells, Features
from training.likelihood import LOG_VARIANCE, Reconstruction, surprise
from training.networks import Dense
from training.penalty import Gaussian, kl_divergence


class Autoencoder(nn.Module):
    """Rebuilds a row through a code that is a point."""

    def __init__(self, features: Features, hidden: tuple[int, ...], latent: int) -> None:
        """Build the network for the features' width."""
        super().__init__()
        self.features = features
        self.latent = latent
        outputs = features.layout.features + sum(features.layout.codes)
        self.network = Dense(features.width, hidden, latent, latent, outputs)

    def loss(self, noisy: Cells, clean: Cells, progress: float, generator: torch.Generator) -> Tensor:
        """Give minus the log-likelihood of the clean cells, `[rows]`, in nats."""
        del progress, generator
        return surprise(clean, self.decode(self.encode(noisy)), self.features)

    def encode(self, cells: Cells) -> Tensor:
        """Give the code, `[rows, latent]`."""
        return self.network.encode(self.features.inputs(cells))

    def decode(self, latent: Tensor) -> Reconstruction:
        """Rebuild rows from codes."""
        mean, logits = self.network.decode(latent).tensor_split([self.features.layout.features], dim=-1)
        return Reconstruction(mean, logits)


class VariationalAutoencoder(nn.Module):
    """Rebuilds a row through a Gaussian over codes (Kingma & Welling 2014, "Auto-encoding variational Bayes").

    The decoder gives a mean and a log-variance for each feature. `beta` and the warm-up of the Kullback-Leibler term
    (Higgins 2017; Bowman 2016) act in training only.
    """

    def __init__(self, features: Features, hidden: tuple[int, ...], latent: int, beta: float, warm_up: float) -> None:
        """Build the network; `warm_up` is the share of training over which the divergence is phased in."""
        super().__init__()
        self.features = features
        self.latent = latent
        self.beta = beta
        self.warm_up = warm_up
        outputs = 2 * features.layout.features + sum(features.layout.codes)
        self.network = Dense(features.width, hidden, 2 * latent, latent, outputs)

    def loss(self, noisy: Cells, clean: Cells, progress: float, generator: torch.Generator) -> Tensor:
        """Give the negative evidence lower bound, `[rows]`, in nats, by one draw of the latent."""
        code = self.encode(noisy)
        noise = torch.randn(code.mean.shape, generator=generator, device=code.mean.device)
        rebuilt = self.decode(code.at(noise))
        weight = self.beta * min(1.0, progress / self.warm_up)
        return surprise(clean, rebuilt, self.features) + weight * kl_divergence(code)

    def encode(self, cells: Cells) -> Gaussian:
        """Give the distribution over codes."""
        mean, log_variance = self.network.encode(self.features.inputs(cells)).chunk(2, dim=-1)
        return Gaussian(mean, log_variance.clamp(*LOG_VARIANCE))

    def decode(self, latent: Tensor) -> Reconstruction:
        """Rebuild rows from codes, `[..., latent]`."""
        width = self.features.layout.features
        mean, log_variance, logits = self.network.decode(latent).tensor_split([width, 2 * width], dim=-1)
        return Reconstruction(mean, logits, log_variance.clamp(*LOG_VARIANCE))


Model = Autoencoder | VariationalAutoencoder
