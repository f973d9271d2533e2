"""How likely a row is under its reconstruction: minus log-densities, in nats, so that kinds of columns add up."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.features import Cells, Features

LOG_VARIANCE = (-7.0, 7.0)  # bounds of a learned log-variance


class Reconstruction(NamedTuple):
    """What a network rebuilds.

    Without a log-variance, a Gaussian's variance is 1. With `log_odds` a feature is a probability (`mean` is its
    sigmoid), and the likelihood is Bernoulli's.
    """

    mean: Tensor  # [..., features]
    logits: Tensor  # [..., all codes]
    log_variance: Tensor | None = None  # [..., features]
    log_odds: Tensor | None = None  # [..., features]


def by_feature(values: Tensor, rebuilt: Reconstruction) -> Tensor:
    """Give minus the log-likelihood of each feature, `[..., features]`, under the likelihood of the reconstruction."""
    return gaussian(values, rebuilt) if rebuilt.log_odds is None else bernoulli(values, rebuilt.log_odds)


def gaussian(values: Tensor, rebuilt: Reconstruction) -> Tensor:
    """Give minus the log-density of each feature, `[..., features]`; without a learned variance, up to a constant."""
    squared = (values - rebuilt.mean) ** 2
    if rebuilt.log_variance is None:
        return 0.5 * squared
    return 0.5 * (squared * torch.exp(-rebuilt.log_variance) + rebuilt.log_variance + math.log(2 * math.pi))


def bernoulli(values: Tensor, log_odds: Tensor) -> Tensor:
    """Give the cross-entropy of values in [0, 1] less its minimum, so that a perfect grey scores 0.

    Values outside are taken for the nearest bound; `outside` says how far off they are.
    """
    inside = values.clamp(0.0, 1.0).to(log_odds.dtype)
    cross = functional.softplus(log_odds) - inside * log_odds
    least = -(torch.xlogy(inside, inside) + torch.xlogy(1.0 - inside, 1.0 - inside))
    return cross - least


def outside(values: Tensor) -> Tensor:
    """Give how surprising it is that values lie outside [0, 1], as under a deviation of 0.01: `[..., features]`."""
    beyond = torch.relu(values - 1.0) + torch.relu(-values)
    return 0.5 * (beyond / 0.01) ** 2


def categorical(cells: Cells, rebuilt: Reconstruction, features: Features) -> Tensor:
    """Give minus the log-probability of each category, `[..., categories]`; 0 for missing and unseen ones."""
    hot = features.one_hot(cells.codes)
    parts = zip(features.by_category(hot), rebuilt.logits.split(list(features.layout.codes), dim=-1), strict=True)
    surprise = [-(known * functional.log_softmax(logits, dim=-1)).sum(dim=-1) for known, logits in parts]
    return torch.stack(surprise, dim=-1)


def surprise(cells: Cells, rebuilt: Reconstruction, features: Features, ignored: float = 0.0) -> Tensor:
    """Give minus the log-likelihood of each row's present cells, `[rows]`.

    Errors up to `ignored` nats are left out of it, with their gradients.
    """
    errors = by_feature(cells.values, rebuilt) * features.presence(cells)
    if features.layout.categories:
        errors = torch.cat([errors, categorical(cells, rebuilt, features)], dim=-1)
    if ignored:
        errors = errors * (errors.detach() > ignored)
    return errors.sum(dim=-1)
