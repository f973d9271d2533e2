"""The whole computation as one module: `float64[windows, time, columns]` in; score, contribution, expected, latent out.

This is what `training.export` writes as ONNX; the scores that it may hold stand in `training.series.scores`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.decision import TOLERANCE
from detector.graph import WINDOW
from training.features import Features
from training.series.channels import Seen
from training.series.scores import WindowScore


class SeriesGraph(nn.Module):
    """Channels, model and score."""

    tolerance = TOLERANCE  # of its proof

    def __init__(self, score: WindowScore) -> None:
        """Take a trained model's score."""
        super().__init__()
        self.score = score
        self.model = score.model
        self.channels = score.model.channels

    @property
    def features(self) -> Features:
        """The first step of the graph."""
        return self.channels.features

    @property
    def input(self) -> str:
        """The name of what goes in."""
        return WINDOW

    def example(self, rows: int) -> Tensor:
        """Give windows to trace it with."""
        return torch.zeros(rows, self.model.spans.window, len(self.features.layout.columns), dtype=torch.float64)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give score `[windows]`, contribution and expected `[windows, columns]`, latent `[windows, k]`."""
        spans = self.model.spans
        seen: Seen = self.channels(window, max(spans.tail, spans.energy))
        levels = self.model.levels(seen)
        contribution = self.score(seen, levels)
        usual = levels.rebuilt[:, -spans.tail :].double().mean(dim=1) + levels.mean[:, 0]
        expected = self.channels.expected(window[:, -1], usual)
        return contribution.sum(dim=1), contribution, expected, levels.code

    @property
    def precision(self) -> str:
        """What the networks compute in; everything around them is float64 anyway."""
        return str(self.model.real).removeprefix("torch.")

    def in_float64(self) -> SeriesGraph:
        """Compute the networks in float64 too."""
        self.features.real = torch.float64
        return self.double()
