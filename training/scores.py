"""From a row and its reconstruction to a score, term by term; all of it becomes part of the exported graph.

    WhitenedResidual    half the whitened squared residual      point codes, Gaussian likelihood (the default)
    LikelihoodScore     minus the log-likelihood                point codes, Bernoulli likelihood
    MeanSquaredError    the mean squared error over columns     point codes; the one score that is not in nats
    NegativeElbo        the negative evidence lower bound       variational codes

Each gives `Terms`; `training.graph` adds what is the same for all: missingness, constants, unseen categories.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.stats import norm, qmc
from torch import Tensor, nn
from torch.nn import functional

from training.adversarial import AdversarialAutoencoder
from training.features import Cells
from training.likelihood import Reconstruction, by_feature, categorical, outside
from training.missing_cells import complete
from training.models import Autoencoder, Model, VariationalAutoencoder
from training.penalty import kl_divergence

DRAWS = 16  # latents a row


class Terms(NamedTuple):
    """A row's score before it is summed, with the reconstruction it speaks of."""

    features: Tensor  # float64[rows, features]
    categories: Tensor  # [rows, categories]
    extra: Tensor  # [rows, extra terms]
    rebuilt: Reconstruction
    latent: Tensor  # [rows, latent]


class Score(nn.Module):
    """What all scores are: a model, the name and unit of what they give, and the terms that belong to no column."""

    name: str
    unit = "nats"

    def __init__(self, model: Model, *, joined: bool = False) -> None:
        """Take the trained model; with `joined`, an adversarial one's discriminator has a say."""
        super().__init__()
        self.model = model
        self.joined = joined

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """Name the terms that belong to no column."""
        bernoulli = ("outside [0, 1]",) if self.model.bernoulli else ()
        return (*bernoulli, *(("discriminator",) if self.joined else ()))

    def beside(self, cells: Cells, code: Tensor) -> Tensor:
        """Give the terms that belong to no column, `[rows, extra terms]`."""
        terms = [cells.codes[:, :0]]
        if self.model.bernoulli:
            beyond = outside(cells.values).to(cells.present.dtype) * self.model.features.presence(cells)
            terms.append(beyond.sum(dim=1, keepdim=True))
        if self.joined and isinstance(self.model, AdversarialAutoencoder):
            terms.append(self.model.suspicion(cells, code).unsqueeze(1))
        return torch.cat(terms, dim=1)


class PointScore(Score):
    """A score of a model whose code is a point."""

    model: Autoencoder

    def forward(self, cells: Cells) -> Terms:
        """Give the terms of each row."""
        code = self.model.encode(cells)
        rebuilt = self.model.decode(code)
        present = self.model.features.presence(cells).double()
        terms = self.by_feature(cells, rebuilt, present)
        return Terms(terms, self.by_category(cells, rebuilt), self.beside(cells, code), rebuilt, code)

    def by_feature(self, cells: Cells, rebuilt: Reconstruction, present: Tensor) -> Tensor:
        """Give each feature's term, `float64[rows, features]`."""
        raise NotImplementedError

    def by_category(self, cells: Cells, rebuilt: Reconstruction) -> Tensor:
        """Give each category's term, `[rows, categories]`."""
        features = self.model.features
        return categorical(cells, rebuilt, features) if features.layout.categories else cells.codes


class WhitenedResidual(PointScore):
    """Half the squared residual, whitened by its covariance on held-out rows: 1/2 r' S^-1 r, minus log p for categories.

    Feature i contributes 1/2 r_i (S^-1 r)_i. Missing features take no part: their residuals are those that minimise the
    score, which leaves the marginal of the observed ones, 1/2 r_O' S_OO^-1 r_O.
    """

    name = "whitened residual"

    def __init__(self, model: Autoencoder, precision: Tensor, *, joined: bool = False) -> None:
        """Take the trained model and S^-1, `float64[features, features]`."""
        super().__init__(model, joined=joined)
        self.precision = nn.Buffer(precision, persistent=False)

    def by_feature(self, cells: Cells, rebuilt: Reconstruction, present: Tensor) -> Tensor:
        """Give each feature's term, `float64[rows, features]`."""
        residual = (cells.values - rebuilt.mean.double()) * present
        filled: Tensor = complete(residual, present, self.precision)
        return 0.5 * residual * (filled @ self.precision)


class LikelihoodScore(PointScore):
    """Minus the log-likelihood under the reconstruction."""

    name = "cross-entropy"

    def by_feature(self, cells: Cells, rebuilt: Reconstruction, present: Tensor) -> Tensor:
        """Give each feature's term, `float64[rows, features]`."""
        return by_feature(cells.values, rebuilt).double() * present


class MeanSquaredError(PointScore):
    """The squared error of scaled values, a mean over columns; a category's is that of its probabilities (Brier 1950)."""

    name = "mean squared error"
    unit = "squared error"

    def by_feature(self, cells: Cells, rebuilt: Reconstruction, present: Tensor) -> Tensor:
        """Give each feature's term, `float64[rows, features]`."""
        return (cells.values - rebuilt.mean.double()) ** 2 * present / len(self.model.features.layout.columns)

    def by_category(self, cells: Cells, rebuilt: Reconstruction) -> Tensor:
        """Give each category's term, `[rows, categories]`."""
        features = self.model.features
        if not features.layout.categories:
            return cells.codes
        hot = features.by_category(features.one_hot(cells.codes))
        guessed = [functional.softmax(part, dim=1) for part in features.by_category(rebuilt.logits)]
        errors = [((found - guess) ** 2).sum(dim=1) for found, guess in zip(hot, guessed, strict=True)]
        there = (cells.codes >= 0).to(guessed[0].dtype)
        return torch.stack(errors, dim=1) * there / len(features.layout.columns)


class NegativeElbo(Score):
    """The negative evidence lower bound at beta = 1, under the likelihood that was trained, constants included.

    The expectation over codes is a mean over fixed latents from a scrambled Sobol sequence, so the same row has the same
    score on every call. The Kullback-Leibler term belongs to no column and is named `latent`; without it the score is
    the reconstruction probability of An & Cho (2015).
    """

    name = "negative ELBO"
    model: VariationalAutoencoder

    def __init__(self, model: VariationalAutoencoder, seed: int, *, divergence: bool = True) -> None:
        """Take the trained model and draw its latents."""
        super().__init__(model)
        self.noise = nn.Buffer(sobol_normal(DRAWS, model.latent, seed), persistent=False)
        self.divergence = divergence
        if not divergence:
            self.name = "reconstruction probability"

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """Name the terms that belong to no column."""
        return (*super().extra_terms, *(("latent",) if self.divergence else ()))

    def forward(self, cells: Cells) -> Terms:
        """Give the terms of each row."""
        features = self.model.features
        code = self.model.encode(cells)
        drawn = self.model.decode(code.mean.unsqueeze(1) + torch.exp(0.5 * code.log_variance).unsqueeze(1) * self.noise)
        by_cell = by_feature(cells.values.unsqueeze(1), drawn).mean(dim=1) * features.presence(cells)
        many = Cells(*(part.repeat_interleave(DRAWS, dim=0) for part in cells))
        flat = Reconstruction(drawn.mean.flatten(0, 1), drawn.logits.flatten(0, 1))
        by_category = cells.codes
        if features.layout.categories:
            by_category = categorical(many, flat, features).unflatten(0, (-1, DRAWS)).mean(dim=1)
        extra = self.beside(cells, code.mean)
        if self.divergence:
            extra = torch.cat([extra, kl_divergence(code).unsqueeze(1)], dim=1)
        rebuilt = Reconstruction(drawn.mean.mean(dim=1), drawn.logits.mean(dim=1))
        return Terms(by_cell.double(), by_category, extra, rebuilt, code.mean)


def sobol_normal(draws: int, size: int, seed: int) -> Tensor:
    """Give `float32[draws, size]` standard-normal points that fill the space evenly (Owen 1998's scrambling)."""
    points = qmc.Sobol(size, scramble=True, rng=seed).random_base2(int(math.log2(draws)))
    return torch.tensor(norm.ppf(points.clip(1e-6, 1 - 1e-6)), dtype=torch.float32)
