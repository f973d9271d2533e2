"""Adversarial autoencoders: a discriminator learns to detect generated samples, and the model learns to pass them off.

`latent`: it compares codes with draws of the prior (Makhzani et al. 2016, "Adversarial autoencoders"). `data`: it compares
decoded draws of the prior with rows, a generative adversarial network on the decoder (Goodfellow et al. 2014). The phases
of a step alternate: reconstruct; train the discriminator, the autoencoder frozen; train against it, the discriminator frozen.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.features import Cells, Features
from training.likelihood import Reconstruction
from training.models import Autoencoder, Phase, StepContext, parameters_of
from training.networks import Dense

WIDTH = 64  # of the discriminator's layers


class AdversarialAutoencoder(Autoencoder):
    """An autoencoder with a discriminator of its codes, or of its decoded draws."""

    def __init__(
        self,
        features: Features,
        network: Dense,
        latent: int,
        *,
        prior: Literal["gaussian", "uniform"],
        target: Literal["latent", "data"],
        weight: float,
        bernoulli: bool = False,
    ) -> None:
        """Show `target` to the discriminator, and scale the adversarial loss by `weight`."""
        super().__init__(features, network, latent, bernoulli=bernoulli)
        self.prior = prior
        self.target = target
        self.weight = weight
        width = latent if target == "latent" else features.outputs
        self.discriminator = nn.Sequential(
            nn.Linear(width, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, 1)
        )

    @property
    def dense(self) -> Dense:
        """The network; a property, because a second attribute would store its weights twice."""
        assert isinstance(self.network, Dense)  # noqa: S101 - by the constructor
        return self.network

    def phases(self) -> list[Phase]:
        """Return the three phases of a step."""
        generator = self.dense.encoder if self.target == "latent" else self.dense.decoder
        return [
            Phase(parameters_of(self.dense), self.loss),
            Phase(parameters_of(self.discriminator), self.discriminator_loss),
            Phase(parameters_of(generator), self.generator_loss),
        ]

    def discriminator_loss(self, noisy: Cells, clean: Cells, context: StepContext) -> Tensor:
        """Return the discriminator's cross-entropy on real and generated samples, `[rows]`."""
        with torch.no_grad():
            real, generated = self._real(clean, context), self._generated(noisy, context)
        return functional.softplus(-self.log_odds(real)) + functional.softplus(self.log_odds(generated))

    def generator_loss(self, noisy: Cells, clean: Cells, context: StepContext) -> Tensor:
        """Return the loss of generated samples that the discriminator detects, `[rows]` (the non-saturating loss)."""
        del clean
        return self.weight * functional.softplus(-self.log_odds(self._generated(noisy, context)))

    def log_odds(self, samples: Tensor) -> Tensor:
        """Return the discriminator's log-odds that samples are real, `[rows]`."""
        odds: Tensor = self.discriminator(samples).squeeze(-1)
        return odds

    def score_term(self, cells: Cells, code: Tensor) -> Tensor:
        """Return the negative log-probability that a row (or its code) is real, `[rows]`."""
        samples = code if self.target == "latent" else self._row(cells)
        return functional.softplus(-self.log_odds(samples))

    def draw(self, rows: int, context: StepContext) -> Tensor:
        """Draw codes from the prior, `[rows, latent]`."""
        size, device = (rows, self.latent), self.features.centre.device
        if self.prior == "gaussian":
            return torch.randn(size, generator=context.generator, device=device)
        return 2 * torch.rand(size, generator=context.generator, device=device) - 1

    def _real(self, cells: Cells, context: StepContext) -> Tensor:
        return self.draw(len(cells.present), context) if self.target == "latent" else self._row(cells)

    def _generated(self, cells: Cells, context: StepContext) -> Tensor:
        if self.target == "latent":
            return self.encode(cells)
        return self._decoded(self.decode(self.draw(len(cells.present), context)))

    def _row(self, cells: Cells) -> Tensor:
        """Return a row as the discriminator sees it."""
        squashed = self.features.squash(cells.values) * self.features.presence(cells)
        return torch.cat([squashed, self.features.one_hot(cells.codes)], dim=1)

    def _decoded(self, reconstruction: Reconstruction) -> Tensor:
        """Return a decoded draw as the discriminator sees it."""
        parts = [functional.softmax(logits, dim=-1) for logits in self.features.by_category(reconstruction.logits)]
        return torch.cat([self.features.squash(reconstruction.mean), *parts], dim=1)
