"""The first and the last step of the graph: from the user's units to network inputs, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.layout import DATE_FEATURES, FeatureLayout

DAY = 86_400.0  # seconds
WEEK = 7 * DAY
MONDAY = 4 * DAY  # the first Monday after 1970-01-01, a Thursday
MAX_SCALED = 1e9  # standard deviations; keeps the squares of extreme values finite
SQUASH = 3.0  # standard deviations; larger values enter the network on a logarithmic scale


class Cells(NamedTuple):
    """Scaled rows."""

    values: Tensor  # [rows, features], scaled; arbitrary where missing
    present: Tensor  # [rows, modelled columns], 1 where the cell is present
    codes: Tensor  # [rows, categories], -1 where missing

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.present)

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.present.device

    def take(self, rows: Tensor) -> Cells:
        """Return the rows at these indices."""
        return Cells(*(part[rows] for part in self))


class Features(nn.Module):
    """Scales `float64[rows, columns]` to `Cells`, and reconstructions back to `float64[rows, columns]`."""

    is_redundant = False  # whether neighbouring features predict each other, as pixels do

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

    def __init__(self, layout: FeatureLayout) -> None:
        """Register the scalings and column indices as constants of the graph."""
        super().__init__()
        self.layout = layout
        self.real = torch.float32  # the networks' data type
        numbers, dates = len(layout.numbers), len(layout.dates)
        scalings = layout.scalings
        heavy = [scaling for scaling in scalings if scaling.heavy]
        self.split = [numbers - len(heavy), len(heavy)]  # heavy tails come last among the numbers
        self.owner = (*range(numbers), *(numbers + date for date in range(dates) for _ in range(DATE_FEATURES)))
        ranges = [layout.columns[index] for index in layout.numbers]
        self._constant("centre", [scaling.centre for scaling in scalings])
        self._constant("scale", [1.0 / scaling.unit for scaling in scalings])
        self._constant("heavy_shift", [scaling.shift for scaling in heavy])
        self._constant("heavy_spread", [scaling.spread for scaling in heavy])
        self._constant("lowest", [column.lowest for column in ranges])
        self._constant("highest", [column.highest for column in ranges])
        bounds = [scaling(np.array([c.lowest, c.highest], dtype=float)) for scaling, c in zip(scalings, ranges, strict=True)]
        waves = [1.0] * DATE_FEATURES * dates
        self._constant("scaled_lowest", [*(float(low) for low, _ in bounds), *(-wave for wave in waves)])
        self._constant("scaled_highest", [*(float(high) for _, high in bounds), *waves])
        segments = [(category, float(code)) for category, count in enumerate(layout.code_counts) for code in range(count)]
        self.register_buffer(
            "hot_category", torch.tensor([category for category, _ in segments], dtype=torch.int64), persistent=False
        )
        self.register_buffer("hot_code", torch.tensor([code for _, code in segments]), persistent=False)

    def _constant(self, name: str, values: Sequence[float | None]) -> None:
        """Register a buffer that is no trained weight."""
        self.register_buffer(name, torch.tensor(values, dtype=torch.float64), persistent=False)

    @property
    def outputs(self) -> int:
        """The smallest number of network outputs: features and one-hot codes."""
        return self.layout.feature_count + sum(self.layout.code_counts)

    @property
    def mirrored(self) -> Tensor:
        """Return, for each output, the index of the input that it reconstructs."""
        codes = range(self.layout.feature_count + len(self.layout.modelled), self.width)
        return torch.tensor([*range(self.layout.feature_count), *codes], dtype=torch.int64)

    @property
    def width(self) -> int:
        """The number of network inputs: features, presence flags and one-hot codes."""
        return self.layout.feature_count + len(self.layout.modelled) + sum(self.layout.code_counts)

    def forward(self, row: Tensor) -> Cells:
        """Scale the matrix, `float64[rows, columns]`; `values` stay float64."""
        present = (~torch.isnan(select_columns(row, self.layout.modelled))).to(self.real)
        values = [self._numbers(row)] if self.layout.numbers else []
        values += [self._dates(row)] if self.layout.dates else []
        codes = select_columns(row, self.layout.categories)
        return Cells(
            torch.cat(values, dim=1) if values else row[:, :0],
            present,
            torch.where(torch.isnan(codes), -1.0, codes).to(self.real),
        )

    def one_hot(self, codes: Tensor) -> Tensor:
        """Return the one-hot codes of all categories, `[rows, all codes]`; zeros for missing and unseen ones."""
        return (codes.index_select(1, self.hot_category) == self.hot_code).to(self.real)

    def presence(self, cells: Cells) -> Tensor:
        """Return 1 for each feature whose column is present: `[rows, features]`."""
        return select_columns(cells.present, self.owner)

    def inputs(self, cells: Cells) -> Tensor:
        """Return the network inputs, `[rows, width]`."""
        inputs = [self.squash(cells.values) * self.presence(cells), cells.present]
        inputs += [self.one_hot(cells.codes)] if self.layout.categories else []
        return torch.cat(inputs, dim=1)

    def squash(self, values: Tensor) -> Tensor:
        """Return 3 asinh(v / 3), so that one extreme value does not dominate the others: `[rows, features]`.

        Written out, because ONNX Runtime's Asinh is ten times slower and lacks float64.
        """
        size = torch.abs(values.to(self.real)) / SQUASH
        return SQUASH * torch.sign(values.to(self.real)) * torch.log(size + torch.sqrt(size * size + 1.0))

    def expected(self, row: Tensor, mean: Tensor, logits: Tensor) -> Tensor:
        """Return reconstructions in the user's units, `float64[rows, columns]`; categories as codes."""
        parts = [self._unscaled_numbers(mean.double())] if self.layout.numbers else []
        parts += [self._nearest_times(row, mean)] if self.layout.dates else []
        parts += [part.argmax(dim=1, keepdim=True).double() for part in self.by_category(logits)]
        if self.layout.constants:
            constants = torch.tensor([self.layout.constant_values], dtype=torch.float64, device=row.device)
            parts.append(constants.expand(row.shape[0], -1))
        return self.in_column_order(parts)

    def by_category(self, logits: Tensor) -> list[Tensor]:
        """Split `[rows, all codes]` into one tensor for each category."""
        return list(logits.split(list(self.layout.code_counts), dim=1)) if self.layout.code_counts else []

    def in_column_order(self, parts: list[Tensor]) -> Tensor:
        """Concatenate numbers, dates, categories and constants in the order of the user's columns."""
        columns = [*self.layout.modelled, *self.layout.constants]
        order = sorted(range(len(columns)), key=columns.__getitem__)
        return select_columns(torch.cat(parts, dim=1), order)

    def _numbers(self, row: Tensor) -> Tensor:
        """Scale the numbers, in float64 so that columns near 1e9 keep their digits."""
        offset = (select_columns(row, self.layout.numbers) - self.centre) * self.scale
        light, heavy = offset.split(self.split, dim=1)
        if self.split[1]:
            bent = torch.sign(heavy) * torch.log1p(torch.abs(heavy))
            light = torch.cat([light, (bent - self.heavy_shift) / self.heavy_spread], dim=1)
        return torch.where(torch.isnan(light), 0.0, light).clamp(-MAX_SCALED, MAX_SCALED)

    def _dates(self, row: Tensor) -> Tensor:
        """Return sine and cosine of the time of day and of the week, `[rows, dates * 4]`, from epoch seconds."""
        found = select_columns(row, self.layout.dates)
        seconds = torch.where(torch.isnan(found), 0.0, found)
        angles = [2 * math.pi * torch.remainder(seconds, DAY) / DAY]
        angles.append(2 * math.pi * torch.remainder(seconds - MONDAY, WEEK) / WEEK)
        waves = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
        return torch.stack(waves, dim=2).flatten(1)

    def _unscaled_numbers(self, mean: Tensor) -> Tensor:
        """Undo the scaling, and clip to the training range."""
        offset = mean[:, : len(self.layout.numbers)]
        if self.split[1]:
            light, heavy = offset.split(self.split, dim=1)
            bent = heavy * self.heavy_spread + self.heavy_shift
            offset = torch.cat([light, torch.sign(bent) * torch.expm1(torch.abs(bent).clamp(max=700.0))], dim=1)
        return torch.minimum(torch.maximum(offset / self.scale + self.centre, self.lowest), self.highest)

    def _nearest_times(self, row: Tensor, mean: Tensor) -> Tensor:
        """Return the time nearest to the one found that has the reconstructed time of day and of the week."""
        seconds = select_columns(row, self.layout.dates)
        waves = mean[:, len(self.layout.numbers) :].unflatten(1, (len(self.layout.dates), DATE_FEATURES))
        day = _shift(seconds, waves[..., 0], waves[..., 1], DAY)
        week = _shift(seconds - MONDAY, waves[..., 2], waves[..., 3], WEEK)
        return seconds + day + DAY * torch.round((week - day) / DAY)


def _shift(seconds: Tensor, sine: Tensor, cosine: Tensor, period: float) -> Tensor:
    """Return the shortest distance, in seconds, from a time to the reconstructed angle."""
    angle = torch.atan2(sine.float(), cosine.float())  # ONNX Runtime has atan2 in float32 only: an error of a millisecond
    reconstructed = angle.double() * period / (2 * math.pi)
    return torch.remainder(reconstructed - seconds + period / 2, period) - period / 2


def select_columns(values: Tensor, indices: Sequence[int]) -> Tensor:
    """Return the columns at these indices: a view where they are contiguous, else a copy."""
    wanted, width = list(indices), values.shape[1]
    if wanted == list(range(width)):
        return values
    if wanted and wanted == list(range(wanted[0], wanted[-1] + 1)):
        return values[:, wanted[0] : wanted[-1] + 1]
    return values.index_select(1, torch.tensor(wanted, dtype=torch.int64, device=values.device))
