"""The whole computation as one module: `float64[rows, columns]` in; score, contribution, expected and latent out.

This is what `training.export` writes as ONNX, so whatever serves a detector does no mathematics of its own.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detector.decision import TOLERANCE
from detector.graph import INPUT
from training.features import Cells, Features, pick
from training.layout import DATE_FEATURES, Layout
from training.scores import Score, Terms

LEAST_EVIDENCE = 1000  # rows that a constant counts for at least


class DetectorGraph(nn.Module):
    """Features, model, score, and the terms that every score has (a score that is not in nats has no term for missingness)."""

    def __init__(self, features: Features, score: Score) -> None:
        """Hold missing rates and constants as constants of the graph."""
        super().__init__()
        layout = features.layout
        self.features = features
        self.score = score
        in_nats = score.unit == "nats"
        self.never_seen = math.log(layout.rows + 2) if in_nats else 1.0 / len(layout.columns)
        self.changed = max(layout.rows, LEAST_EVIDENCE) / (2 if in_nats else len(layout.columns))
        rates = torch.tensor([column.missing_rate for column in layout.columns], dtype=torch.float64)
        self.if_missing = nn.Buffer(-torch.log(rates) * in_nats, persistent=False)
        self.if_there = nn.Buffer(-torch.log1p(-rates) * in_nats, persistent=False)
        constants = torch.tensor(layout.constant_values, dtype=torch.float64)
        self.constant_values = nn.Buffer(constants, persistent=False)
        self.unseen = nn.Buffer(torch.tensor([float(codes) for codes in layout.codes]), persistent=False)

    tolerance = TOLERANCE  # of its proof

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give score `[rows]`, contribution `[rows, columns + extra]`, expected `[rows, columns]`, latent `[rows, k]`."""
        cells = self.features(row)
        terms: Terms = self.score(cells)
        by_column = self.features.in_column_order([*self._modelled(cells, terms), *self._constants(row)])
        missing = torch.where(torch.isnan(row), self.if_missing, self.if_there)
        contribution = torch.cat([by_column + missing, terms.extra.double()], dim=1)
        expected = self.features.expected(row, terms.rebuilt.mean, terms.rebuilt.logits)
        return contribution.sum(dim=1), contribution, expected, terms.latent

    @property
    def input(self) -> str:
        """The name of what goes in."""
        return INPUT

    def example(self, rows: int) -> Tensor:
        """Give rows to trace it with."""
        return torch.zeros(rows, len(self.features.layout.columns), dtype=torch.float64)

    @property
    def precision(self) -> str:
        """What the network computes in; everything around it is float64 anyway."""
        return str(self.features.real).removeprefix("torch.")

    def in_float64(self) -> DetectorGraph:
        """Compute the network in float64 too: slower, for columns rebuilt so well that float32 cannot tell their errors."""
        self.features.real = torch.float64
        return self.double()

    def _modelled(self, cells: Cells, terms: Terms) -> list[Tensor]:
        """Give the terms of numbers, dates and categories, a column each."""
        layout: Layout = self.features.layout
        numbers, dates = terms.features.split([len(layout.numbers), DATE_FEATURES * len(layout.dates)], dim=1)
        parts = [numbers] if layout.numbers else []
        parts += [dates.unflatten(1, (len(layout.dates), DATE_FEATURES)).sum(dim=2)] if layout.dates else []
        if layout.categories:
            parts.append(terms.categories.double() + (cells.codes == self.unseen).double() * self.never_seen)
        return parts

    def _constants(self, row: Tensor) -> list[Tensor]:
        """Give the terms of columns that never changed in training, if there are any.

        A change scores as under the variance that one row different among all the training rows would have given,
        a squared error of n and so n / 2 nats, whatever its size, and never less than `LEAST_EVIDENCE` rows would say.
        """
        if not self.features.layout.constants:
            return []
        found = pick(row, self.features.layout.constants)
        changed = (found != self.constant_values) & ~torch.isnan(found)
        return [changed.double() * self.changed]
