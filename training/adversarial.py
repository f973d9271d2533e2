"""Adversarial autoencoders: a discriminator learns to tell the model from the truth, and the model learns to mislead it.

`latent`: it tells codes from draws of the prior (Makhzani et al. 2016, "Adversarial autoencoders"). `data`: it tells
decoded draws of the prior from rows, a generative adversarial network on the decoder (Goodfellow et al. 2014). The phases
of a step alternate: rebuild; teach the discriminator, the autoencoder frozen; mislead it, the discriminator frozen.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.features import Cells, Features
from training.likelihood import Reconstruction
from training.models import Autoencoder, Moment, Phase, parameters_of
from training.networks import Dense

WIDTH = 64  # of the discriminator's layers


class AdversarialAutoencoder(Autoencoder):
    """An autoencoder with a discriminator beside it."""

    def __init__(
        self,
        features: Features,
        network: Dense,
        latent: int,
        *,
        prior: Literal["gaussian", "uniform"],
        judges: Literal["latent", "data"],
        weight: float,
        bernoulli: bool = False,
    ) -> None:
        """Take the network; `judges` says what the discriminator sees and `weight` what its opinion counts."""
        super().__init__(features, network, latent, bernoulli=bernoulli)
        self.prior = prior
        self.judges = judges
        self.weight = weight
        seen = latent if judges == "latent" else features.outputs
        self.discriminator = nn.Sequential(
            nn.Linear(seen, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(0.2), nn.Linear(WIDTH, 1)
        )

    @property
    def dense(self) -> Dense:
        """The network; a property, because as a second attribute its weights would be stored twice."""
        assert isinstance(self.network, Dense)  # noqa: S101 - it was given
        return self.network

    def phases(self) -> list[Phase]:
        """Give the three phases of a step."""
        misled = self.dense.encoder if self.judges == "latent" else self.dense.decoder
        return [
            Phase(parameters_of(self.dense), self.loss),
            Phase(parameters_of(self.discriminator), self.teach),
            Phase(parameters_of(misled), self.mislead),
        ]

    def teach(self, noisy: Cells, clean: Cells, moment: Moment) -> Tensor:
        """Give the discriminator's cross-entropy over what is true and what is made, `[rows]`."""
        with torch.no_grad():
            true, made = self._true(clean, moment), self._made(noisy, moment)
        return functional.softplus(-self.opinion(true)) + functional.softplus(self.opinion(made))

    def mislead(self, noisy: Cells, clean: Cells, moment: Moment) -> Tensor:
        """Give how little the discriminator takes what is made for true, `[rows]` (the non-saturating loss)."""
        del clean
        return self.weight * functional.softplus(-self.opinion(self._made(noisy, moment)))

    def opinion(self, seen: Tensor) -> Tensor:
        """Give the log-odds that the discriminator takes something for true, `[rows]`."""
        odds: Tensor = self.discriminator(seen).squeeze(-1)
        return odds

    def suspicion(self, cells: Cells, code: Tensor) -> Tensor:
        """Give minus the log-probability by which the discriminator takes a row (or its code) for true, `[rows]`."""
        seen = code if self.judges == "latent" else self._row(cells)
        return functional.softplus(-self.opinion(seen))

    def draw(self, rows: int, moment: Moment) -> Tensor:
        """Draw codes from the prior, `[rows, latent]`."""
        size, device = (rows, self.latent), self.features.centre.device
        if self.prior == "gaussian":
            return torch.randn(size, generator=moment.generator, device=device)
        return 2 * torch.rand(size, generator=moment.generator, device=device) - 1

    def _true(self, cells: Cells, moment: Moment) -> Tensor:
        """Give what the discriminator should take for true."""
        return self.draw(len(cells.present), moment) if self.judges == "latent" else self._row(cells)

    def _made(self, cells: Cells, moment: Moment) -> Tensor:
        """Give what the autoencoder makes."""
        if self.judges == "latent":
            return self.encode(cells)
        return self._decoded(self.decode(self.draw(len(cells.present), moment)))

    def _row(self, cells: Cells) -> Tensor:
        """Give a row as the discriminator sees it."""
        squashed = self.features.squash(cells.values) * self.features.presence(cells)
        return torch.cat([squashed, self.features.one_hot(cells.codes)], dim=1)

    def _decoded(self, rebuilt: Reconstruction) -> Tensor:
        """Give a decoded draw as the discriminator sees it."""
        parts = [functional.softmax(part, dim=-1) for part in self.features.by_category(rebuilt.logits)]
        return torch.cat([self.features.squash(rebuilt.mean), *parts], dim=1)
