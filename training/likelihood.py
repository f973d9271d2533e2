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
    """What a network rebuilds; without a log-variance the variance is 1."""

    mean: Tensor  # [..., features]
    logits: Tensor  # [..., all codes]
    log_variance: Tensor | None = None  # [..., features]


def gaussian(values: Tensor, rebuilt: Reconstruction) -> Tensor:
    """Give minus the log-density of each feature, `[..., features]`; without a learned variance, up to a constant."""
    squared = (values - rebuilt.mean) ** 2
    if rebuilt.log_variance is None:
        return 0.5 * squared
    return 0.5 * (squared * torch.exp(-rebuilt.log_variance) + rebuilt.log_variance + math.log(2 * math.pi))


def categorical(cells: Cells, rebuilt: Reconstruction, features: Features) -> Tensor:
    """Give minus the log-probability of each category, `[..., categories]`; 0 for missing and unseen ones."""
    hot = features.one_hot(cells.codes)
    parts = zip(features.by_category(hot), rebuilt.logits.split(list(features.layout.codes), dim=-1), strict=True)
    surprise = [-(known * functional.log_softmax(logits, dim=-1)).sum(dim=-1) for known, logits in parts]
    return torch.stack(surprise, dim=-1)


def surprise(cells: Cells, rebuilt: Reconstruction, features: Features) -> Tensor:
    """Give minus the log-likelihood of each row's present cells, `[rows]`."""
    total = (gaussian(cells.values, rebuilt) * features.presence(cells)).sum(dim=-1)
    if features.layout.categories:
        total = total + categorical(cells, rebuilt, features).sum(dim=-1)
    return total
