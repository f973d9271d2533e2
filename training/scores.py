"""From a row and its reconstruction to a score, term by term; part of the exported graph.

    WhitenedResidual    half the whitened squared residual        point codes, Gaussian likelihood (the default)
    LikelihoodScore     the negative log-likelihood               point codes, Bernoulli likelihood
    MeanSquaredError    the mean squared error over columns       point codes; the only score that is not in nats
    NegativeElbo        the negative evidence lower bound         variational codes

Each returns `ScoreTerms`; `training.graph` adds the terms of all scores: missingness, constants, unseen categories.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.stats import norm, qmc
from torch import Tensor, nn
from torch.nn import functional

from training import rare_events
from training.adversarial import AdversarialAutoencoder
from training.features import Cells
from training.layout import FeatureLayout
from training.likelihood import Reconstruction, category_loss, feature_loss, outside_loss
from training.missing_cells import complete
from training.models import Autoencoder, RowModel, VariationalAutoencoder
from training.penalty import kl_divergence
from training.rare_events import RareEvents

DRAWS = 16  # latents for each row


class ScoreTerms(NamedTuple):
    """The terms of a row's score, with the reconstruction they were computed from."""

    features: Tensor  # float64[rows, features]
    categories: Tensor  # [rows, categories]
    extra: Tensor  # [rows, extra terms]
    reconstruction: Reconstruction
    latent: Tensor  # [rows, latent]


class RowScore(nn.Module):
    """The base of all scores of rows and images: a model, and the terms that belong to no column."""

    name: str
    unit = "nats"

    def __init__(self, model: RowModel, *, joined: bool = False) -> None:
        """With `joined`, an adversarial model's discriminator adds a term."""
        super().__init__()
        self.model = model
        self.joined = joined

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """The names of the terms that belong to no column."""
        bernoulli = ("outside [0, 1]",) if self.model.bernoulli else ()
        return (*bernoulli, *(("discriminator",) if self.joined else ()))

    def rare_events(self, layout: FeatureLayout) -> RareEvents:
        """Return what rare events add to the score."""
        return rare_events.in_nats(layout)

    def measure(self, held_out: Cells) -> Tensor:
        """Return what `standardise` needs of held-out rows, `float64[rows]`; empty if nothing."""
        return held_out.present.new_empty(0, dtype=torch.float64)

    def standardise(self, measured: Tensor) -> None:
        """Set what the score compares rows with from measurements of held-out rows, `float64[rows]`."""

    def other_terms(self, cells: Cells, code: Tensor) -> Tensor:
        """Return the terms that belong to no column, `[rows, extra terms]`."""
        terms = [cells.codes[:, :0]]
        if self.model.bernoulli:
            outside = outside_loss(cells.values).to(cells.present.dtype) * self.model.features.presence(cells)
            terms.append(outside.sum(dim=1, keepdim=True))
        if self.joined and isinstance(self.model, AdversarialAutoencoder):
            terms.append(self.model.score_term(cells, code).unsqueeze(1))
        return torch.cat(terms, dim=1)


class PointScore(RowScore):
    """A score of a model whose code is a point."""

    model: Autoencoder

    def forward(self, cells: Cells) -> ScoreTerms:
        """Return the terms of each row."""
        code = self.model.encode(cells)
        reconstruction = self.model.decode(code)
        present = self.model.features.presence(cells).double()
        terms = self.by_feature(cells, reconstruction, present)
        return ScoreTerms(terms, self.by_category(cells, reconstruction), self.other_terms(cells, code), reconstruction, code)

    def by_feature(self, cells: Cells, reconstruction: Reconstruction, present: Tensor) -> Tensor:
        """Return each feature's term, `float64[rows, features]`."""
        raise NotImplementedError

    def by_category(self, cells: Cells, reconstruction: Reconstruction) -> Tensor:
        """Return each category's term, `[rows, categories]`."""
        features = self.model.features
        return category_loss(cells, reconstruction, features) if features.layout.categories else cells.codes


class WhitenedResidual(PointScore):
    """Half the squared residual, whitened by its covariance on held-out rows: 1/2 r' S^-1 r, plus -log p for categories.

    Feature i contributes 1/2 r_i (S^-1 r)_i. Missing features are marginalised: their residuals are those that minimise
    the score, which leaves 1/2 r_O' S_OO^-1 r_O over the observed ones.
    """

    name = "whitened residual"

    def __init__(self, model: Autoencoder, precision: Tensor, *, joined: bool = False) -> None:
        """Whiten by `precision`, S^-1: `float64[features, features]`, or `float64[features]` if S is diagonal."""
        super().__init__(model, joined=joined)
        self.precision = nn.Buffer(precision, persistent=False)

    def by_feature(self, cells: Cells, reconstruction: Reconstruction, present: Tensor) -> Tensor:
        """Return each feature's term, `float64[rows, features]`."""
        residual = (cells.values - reconstruction.mean.double()) * present
        if self.precision.ndim == 1:
            return 0.5 * residual**2 * self.precision
        completed: Tensor = complete(residual, present, self.precision)
        return 0.5 * residual * (completed @ self.precision)


class LikelihoodScore(PointScore):
    """The negative log-likelihood under the reconstruction."""

    name = "cross-entropy"

    def by_feature(self, cells: Cells, reconstruction: Reconstruction, present: Tensor) -> Tensor:
        """Return each feature's term, `float64[rows, features]`."""
        return feature_loss(cells.values, reconstruction).double() * present


class MeanSquaredError(PointScore):
    """The squared error of scaled values, a mean over columns; a category's is the Brier score of its probabilities (1950)."""

    name = "mean squared error"
    unit = "squared error"

    def rare_events(self, layout: FeatureLayout) -> RareEvents:
        """Return what rare events add to the score."""
        return rare_events.as_mean_over_columns(layout)

    def by_feature(self, cells: Cells, reconstruction: Reconstruction, present: Tensor) -> Tensor:
        """Return each feature's term, `float64[rows, features]`."""
        return (cells.values - reconstruction.mean.double()) ** 2 * present / len(self.model.features.layout.columns)

    def by_category(self, cells: Cells, reconstruction: Reconstruction) -> Tensor:
        """Return each category's term, `[rows, categories]`."""
        features = self.model.features
        if not features.layout.categories:
            return cells.codes
        one_hot = features.by_category(features.one_hot(cells.codes))
        predicted = [functional.softmax(logits, dim=1) for logits in features.by_category(reconstruction.logits)]
        errors = [((found - guess) ** 2).sum(dim=1) for found, guess in zip(one_hot, predicted, strict=True)]
        present = (cells.codes >= 0).to(predicted[0].dtype)
        return torch.stack(errors, dim=1) * present / len(features.layout.columns)


class NegativeElbo(RowScore):
    """The negative evidence lower bound at beta = 1, under the likelihood that was trained, constants included.

    The expectation over codes is a mean over fixed latents from a scrambled Sobol sequence, so that the same row always
    has the same score. The Kullback-Leibler term belongs to no column and is named `latent`; without it the score is the
    reconstruction probability of An & Cho (2015).
    """

    name = "negative ELBO"
    model: VariationalAutoencoder

    def __init__(self, model: VariationalAutoencoder, seed: int, *, divergence: bool = True) -> None:
        """Draw the fixed latents by `seed`; without `divergence`, leave the Kullback-Leibler term out."""
        super().__init__(model)
        self.noise = nn.Buffer(sobol_normal(DRAWS, model.latent, seed), persistent=False)
        self.divergence = divergence
        if not divergence:
            self.name = "reconstruction probability"

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """The names of the terms that belong to no column."""
        return (*super().extra_terms, *(("latent",) if self.divergence else ()))

    def forward(self, cells: Cells) -> ScoreTerms:
        """Return the terms of each row."""
        features = self.model.features
        code = self.model.encode(cells)
        drawn = self.model.decode(code.mean.unsqueeze(1) + torch.exp(0.5 * code.log_variance).unsqueeze(1) * self.noise)
        by_cell = feature_loss(cells.values.unsqueeze(1), drawn).mean(dim=1) * features.presence(cells)
        repeated = Cells(*(part.repeat_interleave(DRAWS, dim=0) for part in cells))
        flat = Reconstruction(drawn.mean.flatten(0, 1), drawn.logits.flatten(0, 1))
        by_category = cells.codes
        if features.layout.categories:
            by_category = category_loss(repeated, flat, features).unflatten(0, (-1, DRAWS)).mean(dim=1)
        extra = self.other_terms(cells, code.mean)
        if self.divergence:
            extra = torch.cat([extra, kl_divergence(code).unsqueeze(1)], dim=1)
        reconstruction = Reconstruction(drawn.mean.mean(dim=1), drawn.logits.mean(dim=1))
        return ScoreTerms(by_cell.double(), by_category, extra, reconstruction, code.mean)


def sobol_normal(draws: int, size: int, seed: int) -> Tensor:
    """Return `float32[draws, size]` quasi-random standard-normal points (Owen 1998's scrambling)."""
    points = qmc.Sobol(size, scramble=True, rng=seed).random_base2(int(math.log2(draws)))
    return torch.tensor(norm.ppf(points.clip(1e-6, 1 - 1e-6)), dtype=torch.float32)
