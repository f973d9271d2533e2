"""The whole computation as one module: `float64[windows, time, columns]` in; score, contribution, expected, latent out.

`training.export` writes it as ONNX; its scores are in `training.series.scores`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detector.decision import TOLERANCE
from detector.graph import WINDOW
from training.features import Features
from training.series.channels import WindowChannels
from training.series.scores import WindowScore


class SeriesGraph(nn.Module):
    """Channels, model and score."""

    tolerance = TOLERANCE  # between torch and ONNX Runtime

    def __init__(self, score: WindowScore) -> None:
        """Compute the score of a trained model."""
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
        """The name of the graph's input."""
        return WINDOW

    def example(self, rows: int) -> Tensor:
        """Return example windows for tracing."""
        return torch.zeros(rows, self.model.spans.window, len(self.features.layout.columns), dtype=torch.float64)

    def forward(self, window: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return score `[windows]`, contribution and expected `[windows, columns]`, latent `[windows, k]`."""
        spans = self.model.spans
        channels: WindowChannels = self.channels(window, max(spans.tail, spans.energy))
        levels = self.model.levels(channels)
        contribution = self.score(channels, levels)
        mean = levels.reconstruction[:, -spans.tail :].double().mean(dim=1) + levels.mean[:, 0]
        expected = self.channels.expected(window[:, -1], mean)
        return contribution.sum(dim=1), contribution, expected, levels.code

    @property
    def precision(self) -> str:
        """The networks' data type; the rest of the graph is float64."""
        return str(self.model.real).removeprefix("torch.")

    def in_float64(self) -> SeriesGraph:
        """Convert the networks to float64."""
        self.features.real = torch.float64
        return self.double()
