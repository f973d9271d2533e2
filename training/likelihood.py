"""The negative log-likelihood of a row under its reconstruction, in nats, so that kinds of columns add up."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.features import Cells, Features

LOG_VARIANCE = (-7.0, 7.0)  # bounds of a learned log-variance


class Reconstruction(NamedTuple):
    """The outputs of a decoder.

    Without a log-variance, a Gaussian's variance is 1. With `log_odds` each feature is a probability (`mean` is their
    sigmoid), and the likelihood is Bernoulli.
    """

    mean: Tensor  # [..., features]
    logits: Tensor  # [..., all codes]
    log_variance: Tensor | None = None  # [..., features]
    log_odds: Tensor | None = None  # [..., features]


def feature_loss(values: Tensor, reconstruction: Reconstruction) -> Tensor:
    """Return the negative log-likelihood of each feature, `[..., features]`: Gaussian or Bernoulli."""
    if reconstruction.log_odds is None:
        return gaussian_loss(values, reconstruction)
    return bernoulli_loss(values, reconstruction.log_odds)


def gaussian_loss(values: Tensor, reconstruction: Reconstruction) -> Tensor:
    """Return the negative log-density of each feature, `[..., features]`; without a learned variance, up to a constant."""
    squared = (values - reconstruction.mean) ** 2
    if reconstruction.log_variance is None:
        return 0.5 * squared
    return 0.5 * (squared * torch.exp(-reconstruction.log_variance) + reconstruction.log_variance + math.log(2 * math.pi))


def bernoulli_loss(values: Tensor, log_odds: Tensor) -> Tensor:
    """Return the cross-entropy of values in [0, 1] minus its minimum, so that a perfect reconstruction scores 0.

    Values outside are clipped; `outside_loss` adds the rest.
    """
    inside = values.clamp(0.0, 1.0).to(log_odds.dtype)
    cross_entropy = functional.softplus(log_odds) - inside * log_odds
    minimum = -(torch.xlogy(inside, inside) + torch.xlogy(1.0 - inside, 1.0 - inside))
    return cross_entropy - minimum


def outside_loss(values: Tensor) -> Tensor:
    """Return the loss of values outside [0, 1], under a standard deviation of 0.01: `[..., features]`."""
    excess = torch.relu(values - 1.0) + torch.relu(-values)
    return 0.5 * (excess / 0.01) ** 2


def category_loss(cells: Cells, reconstruction: Reconstruction, features: Features) -> Tensor:
    """Return the negative log-probability of each category, `[..., categories]`; 0 for missing and unseen ones."""
    one_hot = features.by_category(features.one_hot(cells.codes))
    parts = zip(one_hot, reconstruction.logits.split(list(features.layout.code_counts), dim=-1), strict=True)
    losses = [-(known * functional.log_softmax(logits, dim=-1)).sum(dim=-1) for known, logits in parts]
    return torch.stack(losses, dim=-1)


def row_loss(cells: Cells, reconstruction: Reconstruction, features: Features, min_error: float = 0.0) -> Tensor:
    """Return the negative log-likelihood of each row's present cells, `[rows]`.

    Errors up to `min_error` nats are left out, with their gradients.
    """
    errors = feature_loss(cells.values, reconstruction) * features.presence(cells)
    if features.layout.categories:
        errors = torch.cat([errors, category_loss(cells, reconstruction, features)], dim=-1)
    if min_error:
        errors = errors * (errors.detach() > min_error)
    return errors.sum(dim=-1)
