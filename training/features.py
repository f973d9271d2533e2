"""The first and the last step of the graph: the user's matrix to what a network takes, and back to the user's units."""

from __future__ import annotations

import math
from collections.abc import Sequence
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

    values: Tensor  # [rows, features], scaled; of no account where missing
    present: Tensor  # [rows, modelled columns], 1 where there is a value
    codes: Tensor  # [rows, categories], -1 where missing

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.present)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.present.device

    def take(self, rows: Tensor) -> Cells:
        """Give some of the rows."""
        return Cells(*(part[rows] for part in self))


class Features(nn.Module):
    """`float64[rows, columns]` to `Cells`, and reconstructions back to `float64[rows, columns]`."""

    centre: Tensor  # of each number
    scale: Tensor
    heavy_shift: Tensor  # of each number with heavy tails
    heavy_spread: Tensor
    lowest: Tensor
    highest: Tensor
    scaled_lowest: Tensor  # [features], of the training rows
    scaled_highest: Tensor
    hot_category: Tensor
    hot_code: Tensor

    def __init__(self, layout: Layout) -> None:
        """Hold the scalings and positions as constants of the graph."""
        super().__init__()
        self.layout = layout
        self.real = torch.float32  # what networks compute in
        numbers, dates = len(layout.numbers), len(layout.dates)
        scalings = layout.scalings
        heavy = [scaling for scaling in scalings if scaling.heavy]
        self.split = [numbers - len(heavy), len(heavy)]  # heavy tails stand last among the numbers
        self.owner = (*range(numbers), *(numbers + date for date in range(dates) for _ in range(DATE_FEATURES)))
        ranges = [layout.columns[place] for place in layout.numbers]
        self._constant("centre", [scaling.centre for scaling in scalings])
        self._constant("scale", [1.0 / scaling.unit for scaling in scalings])
        self._constant("heavy_shift", [scaling.shift for scaling in heavy])
        self._constant("heavy_spread", [scaling.spread for scaling in heavy])
        self._constant("lowest", [column.lowest for column in ranges])
        self._constant("highest", [column.highest for column in ranges])
        reach = [scaling(np.array([c.lowest, c.highest], dtype=float)) for scaling, c in zip(scalings, ranges, strict=True)]
        waves = [1.0] * DATE_FEATURES * dates
        self._constant("scaled_lowest", [*(float(low) for low, _ in reach), *(-wave for wave in waves)])
        self._constant("scaled_highest", [*(float(high) for _, high in reach), *waves])
        segments = [(place, float(code)) for place, codes in enumerate(layout.codes) for code in range(codes)]
        self.register_buffer("hot_category", torch.tensor([place for place, _ in segments], dtype=torch.int64), persistent=False)
        self.register_buffer("hot_code", torch.tensor([code for _, code in segments]), persistent=False)

    def _constant(self, name: str, values: Sequence[float | None]) -> None:
        """Register numbers that belong to the graph but not to what is learnt."""
        self.register_buffer(name, torch.tensor(values, dtype=torch.float64), persistent=False)

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
        present = (~torch.isnan(pick(row, self.layout.modelled))).to(self.real)
        values = [self._numbers(row)] if self.layout.numbers else []
        values += [self._dates(row)] if self.layout.dates else []
        codes = pick(row, self.layout.categories)
        return Cells(
            torch.cat(values, dim=1) if values else row[:, :0],
            present,
            torch.where(torch.isnan(codes), -1.0, codes).to(self.real),
        )

    def one_hot(self, codes: Tensor) -> Tensor:
        """Give `codes` one-hot, all categories side by side; missing and unseen ones are all zero."""
        return (codes.index_select(1, self.hot_category) == self.hot_code).to(self.real)

    def presence(self, cells: Cells) -> Tensor:
        """Give for each feature whether its column is present: `[rows, features]`."""
        return pick(cells.present, self.owner)

    def inputs(self, cells: Cells) -> Tensor:
        """Give what a network takes: `[rows, width]`."""
        inputs = [self.squash(cells.values) * self.presence(cells), cells.present]
        inputs += [self.one_hot(cells.codes)] if self.layout.categories else []
        return torch.cat(inputs, dim=1)

    def squash(self, values: Tensor) -> Tensor:
        """Bend far values by 3 asinh(v / 3), so that one of them cannot drown the others: `[rows, features]`.

        Spelt out: ONNX Runtime's own Asinh is ten times slower, and has no float64.
        """
        size = torch.abs(values.to(self.real)) / SQUASH
        return SQUASH * torch.sign(values.to(self.real)) * torch.log(size + torch.sqrt(size * size + 1.0))

    def expected(self, row: Tensor, mean: Tensor, logits: Tensor) -> Tensor:
        """Give reconstructions in the user's units: `float64[rows, columns]`, a category as its code."""
        parts = [self._rebuilt_numbers(mean.double())] if self.layout.numbers else []
        parts += [self._usual_times(row, mean)] if self.layout.dates else []
        parts += [part.argmax(dim=1, keepdim=True).double() for part in self.by_category(logits)]
        if self.layout.constants:
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
        return pick(torch.cat(parts, dim=1), order)

    def _numbers(self, row: Tensor) -> Tensor:
        """Scale the numbers in float64, so that columns near 1e9 keep their digits."""
        offset = (pick(row, self.layout.numbers) - self.centre) * self.scale
        light, heavy = offset.split(self.split, dim=1)
        if self.split[1]:
            bent = torch.sign(heavy) * torch.log1p(torch.abs(heavy))
            light = torch.cat([light, (bent - self.heavy_shift) / self.heavy_spread], dim=1)
        return torch.where(torch.isnan(light), 0.0, light).clamp(-FARTHEST, FARTHEST)

    def _dates(self, row: Tensor) -> Tensor:
        """Turn epoch seconds into sine and cosine of the time of day and of the week."""
        found = pick(row, self.layout.dates)
        seconds = torch.where(torch.isnan(found), 0.0, found)
        angles = [2 * math.pi * torch.remainder(seconds, DAY) / DAY]
        angles.append(2 * math.pi * torch.remainder(seconds - MONDAY, WEEK) / WEEK)
        waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
        return torch.stack(waves, dim=2).flatten(1)  # [rows, dates * 4]

    def _rebuilt_numbers(self, mean: Tensor) -> Tensor:
        """Undo the scaling; what is expected stays within the training range."""
        offset = mean[:, : len(self.layout.numbers)]
        if self.split[1]:
            light, heavy = offset.split(self.split, dim=1)
            bent = heavy * self.heavy_spread + self.heavy_shift
            offset = torch.cat([light, torch.sign(bent) * torch.expm1(torch.abs(bent).clamp(max=700.0))], dim=1)
        return torch.minimum(torch.maximum(offset / self.scale + self.centre, self.lowest), self.highest)

    def _usual_times(self, row: Tensor, mean: Tensor) -> Tensor:
        """Give the usual time that is nearest to the one found: the same wave of day and week, rebuilt."""
        seconds = pick(row, self.layout.dates)
        waves = mean[:, len(self.layout.numbers) :].unflatten(1, (len(self.layout.dates), DATE_FEATURES))
        day = _shift(seconds, waves[..., 0], waves[..., 1], DAY)
        week = _shift(seconds - MONDAY, waves[..., 2], waves[..., 3], WEEK)
        return seconds + day + DAY * torch.round((week - day) / DAY)


def _shift(seconds: Tensor, sine: Tensor, cosine: Tensor, period: float) -> Tensor:
    """Give the shortest way, in seconds, from a time to the angle that was rebuilt."""
    angle = torch.atan2(sine.float(), cosine.float())  # ONNX Runtime has it in float32 only: a millisecond's error
    rebuilt = angle.double() * period / (2 * math.pi)
    return torch.remainder(rebuilt - seconds + period / 2, period) - period / 2


def pick(values: Tensor, places: Sequence[int]) -> Tensor:
    """Give some of the columns, without a copy where they are all of them, and a cheap one where they stand together."""
    wanted, width = list(places), values.shape[1]
    if wanted == list(range(width)):
        return values
    if wanted and wanted == list(range(wanted[0], wanted[-1] + 1)):
        return values[:, wanted[0] : wanted[-1] + 1]
    return values.index_select(1, torch.tensor(wanted, dtype=torch.int64, device=values.device))
