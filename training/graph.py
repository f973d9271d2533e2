"""The whole computation as one module: `float64[rows, columns]` in; score, contribution, expected and latent out.

`training.export` writes it as ONNX, so scoring needs no mathematics outside the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.decision import TOLERANCE
from detector.graph import INPUT
from training.features import Cells, Features, select_columns
from training.layout import DATE_FEATURES, FeatureLayout
from training.scores import RowScore, ScoreTerms


class DetectorGraph(nn.Module):
    """Features, model and score, and the terms of rare events."""

    def __init__(self, features: Features, score: RowScore) -> None:
        """Register missing rates and constant values as constants of the graph."""
        super().__init__()
        layout = features.layout
        self.features = features
        self.score = score
        never_seen, self.changed, if_missing, if_there = score.rare_events(layout)
        self.never_seen = nn.Buffer(never_seen, persistent=False)
        self.if_missing = nn.Buffer(if_missing, persistent=False)
        self.if_there = nn.Buffer(if_there, persistent=False)
        constants = torch.tensor(layout.constant_values, dtype=torch.float64)
        self.constant_values = nn.Buffer(constants, persistent=False)
        self.unseen = nn.Buffer(torch.tensor([float(codes) for codes in layout.code_counts]), persistent=False)

    tolerance = TOLERANCE  # between torch and ONNX Runtime

    def forward(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return score `[rows]`, contribution `[rows, columns + extra]`, expected `[rows, columns]`, latent `[rows, k]`."""
        cells = self.features(row)
        terms: ScoreTerms = self.score(cells)
        by_column = self.features.in_column_order([*self._modelled_terms(cells, terms), *self._constant_terms(row)])
        missing = torch.where(torch.isnan(row), self.if_missing, self.if_there)
        contribution = torch.cat([by_column + missing, terms.extra.double()], dim=1)
        expected = self.features.expected(row, terms.reconstruction.mean, terms.reconstruction.logits)
        return contribution.sum(dim=1), contribution, expected, terms.latent

    @property
    def input(self) -> str:
        """The name of the graph's input."""
        return INPUT

    def example(self, rows: int) -> Tensor:
        """Return example inputs for tracing."""
        return torch.zeros(rows, len(self.features.layout.columns), dtype=torch.float64)

    @property
    def precision(self) -> str:
        """The network's data type; the rest of the graph is float64."""
        return str(self.features.real).removeprefix("torch.")

    def in_float64(self) -> DetectorGraph:
        """Convert the network to float64: slower, for residuals too small for float32."""
        self.features.real = torch.float64
        return self.double()

    def _modelled_terms(self, cells: Cells, terms: ScoreTerms) -> list[Tensor]:
        """Return the terms of numbers, dates and categories, one column each."""
        layout: FeatureLayout = self.features.layout
        numbers, dates = terms.features.split([len(layout.numbers), DATE_FEATURES * len(layout.dates)], dim=1)
        parts = [numbers] if layout.numbers else []
        parts += [dates.unflatten(1, (len(layout.dates), DATE_FEATURES)).sum(dim=2)] if layout.dates else []
        if layout.categories:
            parts.append(terms.categories.double() + (cells.codes == self.unseen).double() * self.never_seen)
        return parts

    def _constant_terms(self, row: Tensor) -> list[Tensor]:
        """Return the terms of columns that were constant in training, if any."""
        if not self.features.layout.constants:
            return []
        found = select_columns(row, self.features.layout.constants)
        changed = (found != self.constant_values) & ~torch.isnan(found)
        return [changed.double() * self.changed]
