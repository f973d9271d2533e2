"""From windows and their reconstructions to a score, column by column; part of the exported graph.

LevelAndEnergy       the shift of a level, times how unusual the newest rows move (the default)
LevelOrSingleRow     that, or how far off the newest row alone is (the default for a single channel)
WhitenedNewest       half the whitened squared residual of the newest row, in nats, as for single rows
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.missing_cells import complete
from training.rare_events import MIN_EVIDENCE
from training.series.channels import FLAG, WindowChannels
from training.series.model import Levels, SeriesModel

MIN_UNIT = 0.2  # standard deviations: the unit of a level that never moved in training
TINY = 1e-30


class WindowScore(nn.Module):
    """The base of all scores of windows."""

    name: str
    unit: str
    extra_terms = ()  # every term belongs to a column
    owned: Tensor

    def __init__(self, model: SeriesModel) -> None:
        """Score by a trained model."""
        super().__init__()
        self.model = model
        columns = len(model.channels.features.layout.columns)
        owned = nn.functional.one_hot(torch.tensor(model.channels.owners), columns).double()
        self.register_buffer("owned", owned.to(model.slow.device), persistent=False)

    def forward(self, channels: WindowChannels, levels: Levels) -> Tensor:
        """Return each column's part of the score, `float64[windows, columns]`."""
        raise NotImplementedError


class Units(NamedTuple):
    """The units of the branches' residuals."""

    level: Tensor  # float64[channels + flags]
    energy: Tensor  # float64[]


class LevelAndEnergy(WindowScore):
    """The geometric mean of two branches (`training.series.model`).

        e_c    = mean signed residual of channel c over the newest quarter of the window
        level  = max over c of |e_c| / u_c                u_c: the largest |e_c| on held-out blocks
        energy = sqrt(E / E_max)                          E: squared error of the newest sixth; E_max: its largest in training
        score  = sqrt(level x energy)

    A shifted level has a mean and no energy, so the residual keeps its sign; either branch alone detects less.
    Columns share the score by (e_c / u_c) squared.
    """

    name = "level and energy"
    unit = "times the largest of held-out blocks"

    def __init__(self, model: SeriesModel, units: Units) -> None:
        """Score by a trained model and the units of its residuals."""
        super().__init__(model)
        self.level_unit = nn.Buffer(units.level, persistent=False)
        self.energy_unit = nn.Buffer(units.energy, persistent=False)

    def forward(self, channels: WindowChannels, levels: Levels) -> Tensor:
        """Return each column's part of the score, `float64[windows, columns]`."""
        return _shared(*self.score_and_power(channels, levels))

    def score_and_power(self, channels: WindowChannels, levels: Levels) -> tuple[Tensor, Tensor]:
        """Return the score, `[windows]`, and each column's power in it, `float64[windows, columns]`."""
        ratio = self.model.shift(channels, levels) / self.level_unit
        level = ratio.abs().amax(dim=1)
        score = torch.sqrt(level * torch.sqrt(self.model.squared_energy(channels) / self.energy_unit))
        return score, (ratio * ratio).double() @ self.owned


class LevelOrSingleRow(LevelAndEnergy):
    """The score of a series of one channel: the larger of `LevelAndEnergy` and the newest row's own error.

        single = |r| / u        r: the energy branch's residual of the newest row; u: the largest |r| on held-out blocks
        score  = max(sqrt(level x energy), single)

    A spike of a row or two hardly shifts a level. With many channels the largest |r| / u is too often due to chance: on
    SKAB's valve1, with eight, F1 falls from 0.892 to 0.871.
    """

    name = "level and energy, or a lone row"

    def __init__(self, model: SeriesModel, units: Units, newest_unit: Tensor) -> None:
        """Score by a trained model and the units of its residuals; `newest_unit` is `float64[1]`."""
        super().__init__(model, units)
        self.lone_unit = nn.Buffer(newest_unit, persistent=False)

    def forward(self, channels: WindowChannels, levels: Levels) -> Tensor:
        """Return each column's part of the score, `float64[windows, columns]`."""
        score, power = self.score_and_power(channels, levels)
        single = self.model.newest_movement(channels) / self.lone_unit
        is_larger = single[:, 0] > score
        single_power = (single * single).double() @ self.owned[:1]
        return _shared(torch.maximum(score, single[:, 0]), torch.where(is_larger.unsqueeze(1), single_power, power))


def _shared(score: Tensor, power: Tensor) -> Tensor:
    """Share scores among the columns by their power: `float64[windows, columns]`."""
    return power / power.sum(dim=1, keepdim=True).clamp(min=TINY) * score.unsqueeze(1)


class WhitenedNewest(WindowScore):
    """Half the squared residual of the newest row, whitened by its covariance on held-out blocks: 1/2 r' S^-1 r.

    Missing cells are marginalised. A flag adds minus the logarithm of its rate in training; a constant that changed adds
    as much as in `training.graph`.
    """

    name = "whitened residual"
    unit = "nats"

    def __init__(self, model: SeriesModel, precision: Tensor) -> None:
        """Whiten by `precision`, S^-1, `float64[channels, channels]`."""
        super().__init__(model)
        self.precision = nn.Buffer(precision, persistent=False)
        rates = model.channels.rates.double()
        layout = model.channels.features.layout
        min_rate = 1.0 / (layout.rows + 2)
        surprise = -torch.log(rates.clamp(min_rate, 1 - min_rate))
        constants = len(layout.constants)  # the last of the flags
        surprise[len(surprise) - constants :] = max(layout.rows, MIN_EVIDENCE) / 2
        self.if_raised = nn.Buffer(surprise, persistent=False)
        self.if_not = nn.Buffer(-torch.log1p(-rates.clamp(min_rate, 1 - min_rate)), persistent=False)

    def forward(self, channels: WindowChannels, levels: Levels) -> Tensor:
        """Return each column's part of the score, `float64[windows, columns]`."""
        residual, present = newest_residual(channels, levels).double(), channels.present[:, -1].double()
        channel_terms = 0.5 * residual * (complete(residual, present, self.precision) @ self.precision)
        raised = channels.flags[:, -1] / FLAG + self.model.channels.rates > 0.5  # noqa: PLR2004 - 0 or 1, up to rounding
        return torch.cat([channel_terms, torch.where(raised, self.if_raised, self.if_not)], dim=1) @ self.owned


def newest_residual(channels: WindowChannels, levels: Levels) -> Tensor:
    """Return the residual of each window's newest row, 0 where missing: `[windows, channels]`."""
    return (levels.target[:, -1] - levels.reconstruction[:, -1]) * channels.present[:, -1]
