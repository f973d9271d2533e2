"""The whole computation as one module: `float64[windows, time, columns]` in; score, contribution, expected, latent out.

The default score multiplies what two branches say (`training.series.model`):

    e_c   = mean over the newest quarter of the window of channel c's residual, with its sign
    level = max over c of |e_c| / u_c                   u_c: the largest |e_c| on held-out blocks
    energy = sqrt(E / E_max)                            E: squared error of the newest sixth; E_max: its largest in training
    score = sqrt(level x energy)

A level that moved is a mean and no energy, which is why the residual keeps its sign; either branch alone finds less. The
score is shared out among the columns by their (e_c / u_c) squared.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from detector.graph import WINDOW
from training.features import Features
from training.series.channels import Seen
from training.series.model import SeriesModel

LEAST_UNIT = 0.2  # standard deviations: a level that never moved in training may move so far before it counts as 1
TINY = 1e-30


class Units(NamedTuple):
    """What the branches' residuals are measured in."""

    level: Tensor  # float64[channels + flags]
    energy: Tensor  # float64[]


class SeriesGraph(nn.Module):
    """Channels, model, and the score of level and energy."""

    name = "level and energy"
    unit = "times the largest of held-out blocks"
    extra_terms: tuple[str, ...] = ()

    def __init__(self, model: SeriesModel, units: Units) -> None:
        """Take the trained model and the units of its residuals."""
        super().__init__()
        self.model = model
        self.channels = model.channels
        self.level_unit = nn.Buffer(units.level, persistent=False)
        self.energy_unit = nn.Buffer(units.energy, persistent=False)
        columns = len(self.features.layout.columns)
        owned = nn.functional.one_hot(torch.tensor(self.channels.owners), columns).double()
        self.owned = nn.Buffer(owned, persistent=False)

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
        seen: Seen = self.channels(window)
        levels = self.model.levels(seen)
        ratio = self.model.shift(seen, levels) / self.level_unit
        score = torch.sqrt(ratio.abs().amax(dim=1) * torch.sqrt(self.model.squared(seen) / self.energy_unit))
        power = (ratio * ratio) @ self.owned
        share = power / power.sum(dim=1, keepdim=True).clamp(min=TINY)
        usual = levels.rebuilt[:, -self.model.spans.tail :].double().mean(dim=1) + levels.mean[:, 0]
        expected = self.channels.expected(window[:, -1], usual)
        return score, share * score.unsqueeze(1), expected, levels.code

    @property
    def precision(self) -> str:
        """What the networks compute in; everything around them is float64 anyway."""
        return str(self.model.real).removeprefix("torch.")

    def in_float64(self) -> SeriesGraph:
        """Compute the networks in float64 too."""
        self.features.real = torch.float64
        return self.double()
