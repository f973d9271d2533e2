"""The first and the last step of the graph: the user's matrix to what a network takes, and back to the user's units."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.layout import DATE_FEATURES, Layout

DAY = 86_400.0  # seconds
WEEK = 7 * DAY
MONDAY = 4 * DAY  # 1970-01-01 was a Thursday: the first Monday came four days later
FARTHEST = 1e9  # standard deviations; keeps squares of absurd values finite
SQUASH = 3.0  # the network sees values beyond so many standard deviations on a logarithmic scale


class Cells(NamedTuple):
    """Rows as a network takes them."""

    values: Tensor  # [rows, features], scaled; 0 where missing
    present: Tensor  # [rows, modelled columns], 1 where there is a value
    codes: Tensor  # [rows, categories], -1 where missing

    def take(self, rows: Tensor) -> Cells:
        """Give some of the rows."""
        return Cells(*(part[rows] for part in self))


class Features(nn.Module):
    """`float64[rows, columns]` to `Cells`, and reconstructions back to `float64[rows, columns]`."""

    number_places: Tensor
    date_places: Tensor
    category_places: Tensor
    modelled_places: Tensor
    centre: Tensor
    unit: Tensor
    heavy: Tensor
    shift: Tensor
    spread: Tensor
    lowest: Tensor
    highest: Tensor
    scaled_lowest: Tensor  # [features], of the training rows
    scaled_highest: Tensor
    owner: Tensor  # of each feature, its column among the modelled ones
    hot_category: Tensor
    hot_code: Tensor

    def __init__(self, layout: Layout) -> None:
        """Hold the scalings and positions as constants of the graph."""
        super().__init__()
        self.layout = layout
        numbers, dates = len(layout.numbers), len(layout.dates)
        scalings = layout.scalings
        self._constant("number_places", torch.tensor(layout.numbers, dtype=torch.int64))
        self._constant("date_places", torch.tensor(layout.dates, dtype=torch.int64))
        self._constant("category_places", torch.tensor(layout.categories, dtype=torch.int64))
        self._constant("modelled_places", torch.tensor(layout.modelled, dtype=torch.int64))
        for field in ("centre", "unit", "shift", "spread"):
            self._constant(field, torch.tensor([getattr(s, field) for s in scalings], dtype=torch.float64))
        self._constant("heavy", torch.tensor([s.heavy for s in scalings], dtype=torch.bool))
        ranges = [layout.columns[place] for place in layout.numbers]
        self._constant("lowest", torch.tensor([c.lowest for c in ranges], dtype=torch.float64))
        self._constant("highest", torch.tensor([c.highest for c in ranges], dtype=torch.float64))
        waves = [1.0] * DATE_FEATURES * dates
        reach = [s(np.array([c.lowest, c.highest], dtype=float)) for s, c in zip(scalings, ranges, strict=True)]
        self._constant("scaled_lowest", torch.tensor([*(float(low) for low, _ in reach), *(-wave for wave in waves)]))
        self._constant("scaled_highest", torch.tensor([*(float(high) for _, high in reach), *waves]))
        owner = [*range(numbers), *(numbers + date for date in range(dates) for _ in range(DATE_FEATURES))]
        self._constant("owner", torch.tensor(owner, dtype=torch.int64))
        segments = [(place, code) for place, codes in enumerate(layout.codes) for code in range(codes)]
        self._constant("hot_category", torch.tensor([place for place, _ in segments], dtype=torch.int64))
        self._constant("hot_code", torch.tensor([float(code) for _, code in segments]))

    def _constant(self, name: str, value: Tensor) -> None:
        """Register a constant that belongs to the graph but not to what is learnt."""
        self.register_buffer(name, value, persistent=False)

    @property
    def outputs(self) -> int:
        """How many outputs a network gives at least: features, one-hot codes."""
        return self.layout.features + sum(self.layout.codes)

    @property
    def mirrored(self) -> Tensor:
        """Give for each output the input that it mirrors."""
        codes = range(self.layout.features + len(self.layout.modelled), self.width)
        return torch.tensor([*range(self.layout.features), *codes], dtype=torch.int64)

    @property
    def width(self) -> int:
        """How many inputs a network takes: features, presence flags, one-hot codes."""
        return self.layout.features + len(self.layout.modelled) + sum(self.layout.codes)

    def forward(self, row: Tensor) -> Cells:
        """Scale the matrix; `values` stay float64."""
        modelled = row.index_select(1, self.modelled_places)
        present = (~torch.isnan(modelled)).float()
        values = torch.cat([self._numbers(row), self._dates(row)], dim=1)
        codes = row.index_select(1, self.category_places)
        return Cells(values, present, torch.where(torch.isnan(codes), -1.0, codes).float())

    def one_hot(self, codes: Tensor) -> Tensor:
        """Give `codes` one-hot, all categories side by side; missing and unseen ones are all zero."""
        return (codes.index_select(1, self.hot_category) == self.hot_code).float()

    def presence(self, cells: Cells) -> Tensor:
        """Give for each feature whether its column is present: `[rows, features]`."""
        return cells.present.index_select(1, self.owner)

    def inputs(self, cells: Cells) -> Tensor:
        """Give what a network takes: `float32[rows, width]`."""
        return torch.cat([self.squash(cells.values) * self.presence(cells), cells.present, self.one_hot(cells.codes)], dim=1)

    def squash(self, values: Tensor) -> Tensor:
        """Bend far values, so that one of them cannot drown the others: `float32[rows, features]`."""
        return SQUASH * torch.asinh(values.float() / SQUASH)

    def expected(self, row: Tensor, mean: Tensor, logits: Tensor) -> Tensor:
        """Give reconstructions in the user's units: `float64[rows, columns]`, a category as its code."""
        parts = [self._rebuilt_numbers(mean.double()), self._usual_times(row, mean)]
        parts += [part.argmax(dim=1, keepdim=True).double() for part in self.by_category(logits)]
        constants = torch.tensor([self.layout.constant_values], dtype=torch.float64, device=row.device)
        parts.append(constants.expand(row.shape[0], -1))
        return self.in_column_order(parts)

    def by_category(self, logits: Tensor) -> list[Tensor]:
        """Cut `[rows, all codes]` into one part for each category."""
        return list(logits.split(list(self.layout.codes), dim=1)) if self.layout.codes else []

    def in_column_order(self, parts: list[Tensor]) -> Tensor:
        """Put parts for numbers, dates, categories and constants into the order of the user's columns."""
        here = [*self.layout.modelled, *self.layout.constants]
        order = sorted(range(len(here)), key=here.__getitem__)
        return torch.cat(parts, dim=1).index_select(1, torch.tensor(order, device=parts[0].device))

    def _numbers(self, row: Tensor) -> Tensor:
        """Scale the numbers in float64, so that columns near 1e9 keep their digits."""
        offset = (row.index_select(1, self.number_places) - self.centre) / self.unit
        bent = torch.sign(offset) * torch.log1p(torch.abs(offset))
        scaled = (torch.where(self.heavy, bent, offset) - self.shift) / self.spread
        return torch.where(torch.isnan(scaled), 0.0, scaled).clamp(-FARTHEST, FARTHEST)

    def _dates(self, row: Tensor) -> Tensor:
        """Turn epoch seconds into sine and cosine of the time of day and of the week."""
        found = row.index_select(1, self.date_places)
        seconds = torch.where(torch.isnan(found), 0.0, found)
        angles = [2 * math.pi * torch.remainder(seconds, DAY) / DAY]
        angles.append(2 * math.pi * torch.remainder(seconds - MONDAY, WEEK) / WEEK)
        waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
        return torch.stack(waves, dim=2).flatten(1)  # [rows, dates * 4]

    def _rebuilt_numbers(self, mean: Tensor) -> Tensor:
        """Undo the scaling; what is expected stays within the training range."""
        bent = mean[:, : len(self.layout.numbers)] * self.spread + self.shift
        offset = torch.where(self.heavy, torch.sign(bent) * torch.expm1(torch.abs(bent).clamp(max=700.0)), bent)
        return torch.minimum(torch.maximum(offset * self.unit + self.centre, self.lowest), self.highest)

    def _usual_times(self, row: Tensor, mean: Tensor) -> Tensor:
        """Give the usual time that is nearest to the one found: the same wave of day and week, rebuilt."""
        seconds = row.index_select(1, self.date_places)
        waves = mean[:, len(self.layout.numbers) :].unflatten(1, (len(self.layout.dates), DATE_FEATURES))
        day = _shift(seconds, waves[..., 0], waves[..., 1], DAY)
        week = _shift(seconds - MONDAY, waves[..., 2], waves[..., 3], WEEK)
        return seconds + day + DAY * torch.round((week - day) / DAY)


def _shift(seconds: Tensor, sine: Tensor, cosine: Tensor, period: float) -> Tensor:
    """Give the shortest way, in seconds, from a time to the angle that was rebuilt."""
    angle = torch.atan2(sine, cosine)  # float32: ONNX Runtime has no arc tangent in float64, and this is a millisecond
    rebuilt = angle.double() * period / (2 * math.pi)
    return torch.remainder(rebuilt - seconds + period / 2, period) - period / 2
