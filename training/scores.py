"""From a row and its reconstruction to a score in nats, term by term; all of it becomes part of the exported graph.

`WhitenedResidual` is what point autoencoders use, `NegativeElbo` what the variational one uses. Each gives `Terms`;
`training.graph` adds what is the same for all: missingness, constants, unseen categories.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.stats import norm, qmc
from torch import Tensor, nn

from training.features import Cells
from training.likelihood import Reconstruction, categorical, gaussian
from training.models import Autoencoder, VariationalAutoencoder
from training.penalty import kl_divergence

SOLVER_STEPS = 12
TINY = 1e-30  # keeps divisions by what has converged to 0 finite
DRAWS = 16  # latents a row


class Terms(NamedTuple):
    """A row's score before it is summed, with the reconstruction it speaks of."""

    features: Tensor  # float64[rows, features]
    categories: Tensor  # [rows, categories]
    extra: Tensor  # [rows, extra terms]
    rebuilt: Reconstruction
    latent: Tensor  # [rows, latent]


class WhitenedResidual(nn.Module):
    """Half the squared residual, whitened by its covariance on held-out rows: 1/2 r' S^-1 r, minus log p for categories.

    Feature i contributes 1/2 r_i (S^-1 r)_i. Missing features take no part: their residuals are those that minimise the
    score, which leaves the marginal of the observed ones, 1/2 r_O' S_OO^-1 r_O.
    """

    extra_terms: tuple[str, ...] = ()

    def __init__(self, model: Autoencoder, precision: Tensor) -> None:
        """Take the trained model and S^-1, `float64[features, features]`."""
        super().__init__()
        self.model = model
        self.precision = nn.Buffer(precision, persistent=False)

    def forward(self, cells: Cells) -> Terms:
        """Give the terms of each row."""
        features = self.model.features
        latent = self.model.encode(cells)
        rebuilt = self.model.decode(latent)
        present = features.presence(cells).double()
        residual = (cells.values - rebuilt.mean.double()) * present
        completed = complete(residual, present, self.precision)
        whitened = 0.5 * residual * (completed @ self.precision)
        nothing = cells.codes[:, :0]
        surprise = categorical(cells, rebuilt, features) if features.layout.categories else nothing
        return Terms(whitened, surprise, nothing, rebuilt, latent)


class NegativeElbo(nn.Module):
    """The negative evidence lower bound at beta = 1, under the likelihood that was trained, constants included.

    The expectation over codes is a mean over fixed latents from a scrambled Sobol sequence, so the same row has the same
    score on every call. The Kullback-Leibler term belongs to no column and is named `latent`.
    """

    extra_terms: tuple[str, ...] = ("latent",)

    def __init__(self, model: VariationalAutoencoder, seed: int) -> None:
        """Take the trained model and draw its latents."""
        super().__init__()
        self.model = model
        self.noise = nn.Buffer(sobol_normal(DRAWS, model.latent, seed), persistent=False)

    def forward(self, cells: Cells) -> Terms:
        """Give the terms of each row."""
        features = self.model.features
        code = self.model.encode(cells)
        drawn = self.model.decode(code.mean.unsqueeze(1) + torch.exp(0.5 * code.log_variance).unsqueeze(1) * self.noise)
        surprise = gaussian(cells.values.unsqueeze(1), drawn).mean(dim=1) * features.presence(cells)
        many = Cells(*(part.repeat_interleave(DRAWS, dim=0) for part in cells))
        flat = Reconstruction(drawn.mean.flatten(0, 1), drawn.logits.flatten(0, 1))
        nothing = cells.codes[:, :0]
        by_category = nothing
        if features.layout.categories:
            by_category = categorical(many, flat, features).unflatten(0, (-1, DRAWS)).mean(dim=1)
        rebuilt = Reconstruction(drawn.mean.mean(dim=1), drawn.logits.mean(dim=1))
        return Terms(surprise.double(), by_category, kl_divergence(code).unsqueeze(1), rebuilt, code.mean)


def sobol_normal(draws: int, size: int, seed: int) -> Tensor:
    """Give `float32[draws, size]` standard-normal points that fill the space evenly (Owen 1998's scrambling)."""
    points = qmc.Sobol(size, scramble=True, rng=seed).random_base2(int(math.log2(draws)))
    return torch.tensor(norm.ppf(points.clip(1e-6, 1 - 1e-6)), dtype=torch.float32)


def complete(residual: Tensor, present: Tensor, precision: Tensor) -> Tensor:
    """Fill in the missing residuals that minimise r' P r, `[rows, features]`; rows without holes come back as they are.

    Inside an `If`, so that batches without holes cost nothing.
    """
    filled: Tensor = torch.cond(present.min() < 1, _solve, _keep, (residual, present, precision))
    return filled


def _keep(residual: Tensor, present: Tensor, precision: Tensor) -> Tensor:
    """Give the residuals of rows without holes."""
    del present, precision
    return residual.clone()


def _solve(residual: Tensor, present: Tensor, precision: Tensor) -> Tensor:
    """Solve P_MM r_M = -P_MO r_O by conjugate gradients: exact for as many holes as there are steps, close for more."""
    absent = 1.0 - present
    scale = absent / torch.diagonal(precision) + present
    rest = -(residual @ precision) * absent
    direction = scale * rest
    power = (rest * direction).sum(dim=1, keepdim=True)
    filled = residual.clone()
    for _ in range(SOLVER_STEPS):
        image = (direction @ precision) * absent
        step = power / (direction * image).sum(dim=1, keepdim=True).clamp(min=TINY)
        filled = filled + step * direction
        rest = rest - step * image
        previous = power.clamp(min=TINY)
        power = (rest * scale * rest).sum(dim=1, keepdim=True)
        direction = scale * rest + power / previous * direction
    return filled
