"""Scores that add up those of several parts, each compared with how normal rows score in it.

A part's score s becomes t = (s - median) / (90th percentile - median) of normal rows, and enters the sum as log(1 + t) above 0,
so that no part drowns the others. A column's term in a part is scaled by the same factor, so that terms still add up to
the score; what belongs to no column, and the medians, are the term `crowd`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training import rare_events
from training.features import Cells
from training.layout import FeatureLayout
from training.likelihood import Reconstruction
from training.models import HybridAutoencoder, MemoryAutoencoder
from training.networks.memory import Memory, Recalled, quantiles
from training.rare_events import RareEvents
from training.scores import RowScore, ScoreTerms, WhitenedResidual

MIN_SPREAD = 1e-9


class Part(NamedTuple):
    """The terms of one part, float64."""

    features: Tensor  # [rows, features]
    categories: Tensor  # [rows, categories]
    rest: Tensor  # [rows, 1], what belongs to no column
    quantiles: Tensor  # [2], of normal rows' sums: the median and the 90th percentile


class FusedScore(RowScore):
    """The base of fused scores."""

    unit = "points"
    extra_terms = ("crowd",)

    def fuse(self, parts: Sequence[Part], reconstruction: Reconstruction, latent: Tensor) -> ScoreTerms:
        """Return the sum of the parts, by term."""
        scaled = [_scale(part) for part in parts]
        features, categories, rest = (torch.stack(terms).sum(dim=0) for terms in zip(*scaled, strict=True))
        return ScoreTerms(features, categories, rest, reconstruction, latent)

    def rare_events(self, layout: FeatureLayout) -> RareEvents:
        """Return what rare events add to the score."""
        return rare_events.bounded(layout)


class MemoryScore(FusedScore):
    """Crowd and recall of a memory, or one of them."""

    model: MemoryAutoencoder

    def __init__(self, model: MemoryAutoencoder, parts: str) -> None:
        """Score by `parts`: `both`, `crowd` or `recall`."""
        super().__init__(model)
        self.parts = parts
        self.name = "crowd and recall" if parts == "both" else parts

    def forward(self, cells: Cells) -> ScoreTerms:
        """Return the terms of each row."""
        memory = self.model.network
        recalled = memory(self.model.features.inputs(cells))
        parts = [part(memory, recalled) for name, part in PARTS.items() if self.parts in {"both", name}]
        latent = recalled.mean.to(self.model.features.real)
        return self.fuse(parts, self.model.decode(latent), latent)


class HybridScore(FusedScore):
    """Crowd and recall of a memory, and the whitened residual of a network."""

    name = "crowd, recall and whitened residual"
    model: HybridAutoencoder

    def __init__(self, model: HybridAutoencoder, precision: Tensor) -> None:
        """Whiten by `precision`, S^-1, `float64[features, features]`."""
        super().__init__(model)
        self.residual = WhitenedResidual(model, precision)
        self.precision = self.residual.precision
        self.residual_quantiles = nn.Buffer(torch.ones(2, dtype=torch.float64), persistent=False)

    def measure(self, held_out: Cells) -> Tensor:
        """Return the whitened residual of held-out rows."""
        with torch.no_grad():
            terms = self.residual(held_out)
            total: Tensor = terms.features.sum(dim=1) + terms.categories.double().sum(dim=1)
        return total

    def standardise(self, measured: Tensor) -> None:
        """Set the median and the spread of the whitened residual."""
        self.residual_quantiles.copy_(quantiles(measured))

    def forward(self, cells: Cells) -> ScoreTerms:
        """Return the terms of each row."""
        memory = self.model.memory
        recalled = memory(self.model.features.inputs(cells))
        terms = self.residual(cells)
        whitened = Part(terms.features, terms.categories.double(), torch.zeros_like(recalled.crowd), self.residual_quantiles)
        parts = [*(part(memory, recalled) for part in PARTS.values()), whitened]
        return self.fuse(parts, terms.reconstruction, terms.latent)


def _crowd(memory: Memory, recalled: Recalled) -> Part:
    """Return the negative log-density: a value's term is its squared distance from the mean, over twice the bandwidth.

    A missing value is left out of the density, and adds what normal rows score on average in one value.
    """
    distance = 0.5 * recalled.sharpness * _squared(recalled)
    missing = (1.0 - recalled.known).sum(dim=1, keepdim=True) * memory.crowd_quantiles[0] / memory.width
    return _part(memory, distance, recalled.crowd - distance.sum(dim=1, keepdim=True) + missing, memory.crowd_quantiles)


def _recall(memory: Memory, recalled: Recalled) -> Part:
    """Return the squared distance from the mean that is recalled; a missing value adds what it does on average."""
    missing = ((1.0 - recalled.known) * memory.usual_recall).sum(dim=1, keepdim=True)
    return _part(memory, _squared(recalled), missing, memory.recall_quantiles)


PARTS: dict[str, Callable[[Memory, Recalled], Part]] = {"crowd": _crowd, "recall": _recall}


def _squared(recalled: Recalled) -> Tensor:
    return (recalled.values - recalled.mean) ** 2 * recalled.known


def _part(memory: Memory, values: Tensor, rest: Tensor, quantiles: Tensor) -> Part:
    """Return a part from the terms of features and one-hot codes; a category's term is the sum over its codes."""
    features, _, codes = memory.split
    by_feature, by_code = values.split([features, codes], dim=1)
    counts = list(memory.layout.code_counts)
    by_category = [each.sum(dim=1) for each in by_code.split(counts, dim=1)] if counts else []
    return Part(by_feature, torch.stack(by_category, dim=1) if by_category else by_code, rest, quantiles)


def _scale(part: Part) -> tuple[Tensor, Tensor, Tensor]:
    """Return the terms of a part, scaled so that they add up to its share of the score; the median goes to the rest."""
    median, high = part.quantiles[0], part.quantiles[1]
    spread = (high - median).clamp(min=MIN_SPREAD)
    excess = part.features.sum(dim=1, keepdim=True) + part.categories.sum(dim=1, keepdim=True) + part.rest - median
    above = torch.relu(excess) / spread
    # log(1 + t) / t tends to 1 as t falls to 0; below 0 a score stays as it is.
    factor = torch.where(above > MIN_SPREAD, torch.log1p(above) / above.clamp(min=MIN_SPREAD), 1.0) / spread
    return part.features * factor, part.categories * factor, (part.rest - median) * factor
