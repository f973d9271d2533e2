"""From windows and what the branches rebuild to a score, column by column; all of it becomes part of the exported graph.

LevelAndEnergy    how far a level has moved, times how unlike the usual the newest rows move (the default)
LevelOrLoneRow    that, or how far the newest row alone is off (the default where there is one channel)
WhitenedNewest    half the whitened squared residual of the newest row, in nats, as of single rows
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.graph import LEAST_EVIDENCE
from training.missing_cells import complete
from training.series.channels import FLAG, Seen
from training.series.model import Levels, SeriesModel

LEAST_UNIT = 0.2  # standard deviations: a level that never moved in training may move so far before it counts as 1
TINY = 1e-30


class WindowScore(nn.Module):
    """What all scores of windows are: a model, the name and the unit of what they give."""

    name: str
    unit: str
    extra_terms = ()  # every term belongs to a column
    owned: Tensor

    def __init__(self, model: SeriesModel) -> None:
        """Take the trained model."""
        super().__init__()
        self.model = model
        columns = len(model.channels.features.layout.columns)
        owned = nn.functional.one_hot(torch.tensor(model.channels.owners), columns).double()
        self.register_buffer("owned", owned.to(model.slow.device), persistent=False)

    def forward(self, seen: Seen, levels: Levels) -> Tensor:
        """Give each column's part of the score, `float64[windows, columns]`."""
        raise NotImplementedError


class Units(NamedTuple):
    """What the branches' residuals are measured in."""

    level: Tensor  # float64[channels + flags]
    energy: Tensor  # float64[]


class LevelAndEnergy(WindowScore):
    """The product of two branches (`training.series.model`).

        e_c    = mean over the newest quarter of the window of channel c's residual, with its sign
        level  = max over c of |e_c| / u_c                u_c: the largest |e_c| on held-out blocks
        energy = sqrt(E / E_max)                          E: squared error of the newest sixth; E_max: its largest in training
        score  = sqrt(level x energy)

    A level that moved is a mean and no energy, which is why the residual keeps its sign; either branch alone finds less.
    Columns share the score by their (e_c / u_c) squared.
    """

    name = "level and energy"
    unit = "times the largest of held-out blocks"

    def __init__(self, model: SeriesModel, units: Units) -> None:
        """Take the trained model and the units of its residuals."""
        super().__init__(model)
        self.level_unit = nn.Buffer(units.level, persistent=False)
        self.energy_unit = nn.Buffer(units.energy, persistent=False)

    def forward(self, seen: Seen, levels: Levels) -> Tensor:
        """Give each column's part of the score, `float64[windows, columns]`."""
        return _shared(*self.moved(seen, levels))

    def moved(self, seen: Seen, levels: Levels) -> tuple[Tensor, Tensor]:
        """Give the score, `[windows]`, and each column's power in it, `float64[windows, columns]`."""
        ratio = self.model.shift(seen, levels) / self.level_unit
        score = torch.sqrt(ratio.abs().amax(dim=1) * torch.sqrt(self.model.squared(seen) / self.energy_unit))
        return score, (ratio * ratio).double() @ self.owned


class LevelOrLoneRow(LevelAndEnergy):
    """That of a series of one channel, or how far its newest row alone is off, if that is more.

        lone  = |r| / u         r: the energy branch's residual of the newest row; u: the largest |r| on held-out blocks
        score = max(sqrt(level x energy), lone)

    A spike of a row or two hardly moves a level. Of many channels the largest |r| / u is too often chance: on SKAB's valve1,
    with eight, F1 falls from 0.892 to 0.871.
    """

    name = "level and energy, or a lone row"

    def __init__(self, model: SeriesModel, units: Units, lone: Tensor) -> None:
        """Take the trained model and the units of its residuals, `lone` as `float64[1]`."""
        super().__init__(model, units)
        self.lone_unit = nn.Buffer(lone, persistent=False)

    def forward(self, seen: Seen, levels: Levels) -> Tensor:
        """Give each column's part of the score, `float64[windows, columns]`."""
        score, power = self.moved(seen, levels)
        lone = self.model.lone(seen) / self.lone_unit
        further = lone[:, 0] > score
        of_lone = (lone * lone).double() @ self.owned[:1]
        return _shared(torch.maximum(score, lone[:, 0]), torch.where(further.unsqueeze(1), of_lone, power))


def _shared(score: Tensor, power: Tensor) -> Tensor:
    """Share scores among the columns by their power: `float64[windows, columns]`."""
    return power / power.sum(dim=1, keepdim=True).clamp(min=TINY) * score.unsqueeze(1)


class WhitenedNewest(WindowScore):
    """Half the squared residual of the newest row, whitened by its covariance on held-out blocks: 1/2 r' S^-1 r.

    Missing cells take no part; a flag adds minus the logarithm of how often it stood so in training, that of a constant which
    changed as much as in `training.graph`.
    """

    name = "whitened residual"
    unit = "nats"

    def __init__(self, model: SeriesModel, precision: Tensor) -> None:
        """Take the trained model and S^-1, `float64[channels, channels]`."""
        super().__init__(model)
        self.precision = nn.Buffer(precision, persistent=False)
        rates = model.channels.rates.double()
        layout = model.channels.features.layout
        least = 1.0 / (layout.rows + 2)
        surprise = -torch.log(rates.clamp(least, 1 - least))
        constants = len(layout.constants)  # stand last among the flags
        surprise[len(surprise) - constants :] = max(layout.rows, LEAST_EVIDENCE) / 2
        self.if_raised = nn.Buffer(surprise, persistent=False)
        self.if_not = nn.Buffer(-torch.log1p(-rates.clamp(least, 1 - least)), persistent=False)

    def forward(self, seen: Seen, levels: Levels) -> Tensor:
        """Give each column's part of the score, `float64[windows, columns]`."""
        residual, present = self.newest(seen, levels), seen.present[:, -1].double()
        of_channels = 0.5 * residual * (complete(residual, present, self.precision) @ self.precision)
        raised = seen.flags[:, -1] / FLAG + self.model.channels.rates > 0.5  # noqa: PLR2004 - 0 or 1, but for rounding
        return torch.cat([of_channels, torch.where(raised, self.if_raised, self.if_not)], dim=1) @ self.owned

    def newest(self, seen: Seen, levels: Levels) -> Tensor:
        """Give the residual of the newest row, `float64[windows, channels]`."""
        return newest_residual(seen, levels).double()


def newest_residual(seen: Seen, levels: Levels) -> Tensor:
    """Give the residual of each window's newest row, 0 where missing: `[windows, channels]`."""
    return (levels.gated[:, -1] - levels.rebuilt[:, -1]) * seen.present[:, -1]
