"""Pixels as features: one scaling for all of them, so that a pattern looks the same wherever it stands.

`arrange` lays the columns out, `Pixels` is the first and the last step of the graph, in place of `training.features`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from detector.columns import Column
from detector.errors import TableError
from detector.images import ImageSpec
from training.features import Cells, Features
from training.layout import Layout
from training.scaling import AS_IT_IS, Scaling

FAINT = 0.04  # of the range of values: about where the noise of a camera takes over from that of light
ENOUGH = 2**22  # values, to learn a scaling from
FARTHEST = 20.0  # standard deviations that a network sees


def arrange(matrix: np.ndarray, columns: Sequence[Column], image: ImageSpec, *, light: str, scaled: bool) -> Layout:
    """Lay pixels out by the training matrix `[rows, columns]`, scaled by all of its values.

    Under `light` "logarithmic" it is the ratio of two values that counts, as where a surface reflects a share of what
    light there is; under "linear" their difference. Without `scaled`, values are probabilities already,
    or bytes of a file, which become such.

    Raises:
        TableError: all pixels of all images are alike.
    """
    lowest, highest = float(np.nanmin(matrix)), float(np.nanmax(matrix))
    if lowest == highest:
        raise TableError("every pixel of every training image is the same, so there is nothing to learn")
    lowest, highest = (0.0, 255.0) if image.files else (lowest, highest)
    some = matrix[:: max(1, matrix.size // ENOUGH)].astype(np.float64)
    shares = AS_IT_IS._replace(unit=highest) if image.files else AS_IT_IS  # bytes of files are shares of 255
    scaling = _scaling(some[np.isfinite(some)], lowest, highest, light) if scaled else shares
    return Layout(
        columns=tuple(msgspec.structs.replace(column, lowest=lowest, highest=highest) for column in columns),
        numbers=tuple(range(len(columns))),
        dates=(),
        categories=(),
        constants=(),
        scalings=(scaling,) * len(columns),
        constant_values=(),
        rows=len(matrix),
        image=image,
    )


def _scaling(values: np.ndarray, lowest: float, highest: float, light: str) -> Scaling:
    """Learn the scaling that all pixels share."""
    if light == "linear":
        return Scaling(float(values.mean()), float(values.std()), heavy=False, shift=0.0, spread=1.0)
    unit = FAINT * (highest - lowest)
    bent = Scaling(lowest, unit, heavy=True, shift=0.0, spread=1.0)(values)
    return Scaling(lowest, unit, heavy=True, shift=float(bent.mean()), spread=float(bent.std()))


class Pixels(Features):
    """`float64[rows, pixels]` to `Cells`, and reconstructions back."""

    def __init__(self, layout: Layout) -> None:
        """Hold the one scaling, in place of one for each column."""
        nn.Module.__init__(self)
        assert layout.image is not None  # noqa: S101 - `features_of` sees to it
        self.layout = layout
        self.image = layout.image
        self.real = torch.float32
        self.scaling = layout.scalings[0]
        self.range = layout.columns[0].lowest or 0.0, layout.columns[0].highest or 0.0
        self.owner = tuple(range(len(layout.numbers)))
        lowest, highest = self.scaling(np.array(self.range)).tolist()
        self.scaled_lowest = nn.Buffer(torch.tensor(lowest), persistent=False)
        self.scaled_highest = nn.Buffer(torch.tensor(highest), persistent=False)

    def forward(self, row: Tensor) -> Cells:
        """Scale the pixels; a missing one is of no account."""
        absent = torch.isnan(row)
        offset = (torch.where(absent, self.scaling.centre, row) - self.scaling.centre) / self.scaling.unit
        if self.scaling.heavy:
            offset = torch.sign(offset) * torch.log(torch.abs(offset) + 1.0)
        values = ((offset - self.scaling.shift) / self.scaling.spread).clamp(-FARTHEST, FARTHEST)
        return Cells(values, (~absent).to(self.real), row[:, :0].to(self.real))

    def inputs(self, cells: Cells) -> Tensor:
        """Give what a network takes: `[rows, pixels]`, the mean where a pixel is missing."""
        return cells.values.to(self.real) * cells.present

    def presence(self, cells: Cells) -> Tensor:
        """Give for each pixel whether it is there: `[rows, pixels]`."""
        return cells.present

    def expected(self, row: Tensor, mean: Tensor, logits: Tensor) -> Tensor:
        """Give reconstructions in the user's units: `float64[rows, pixels]`, within the training range."""
        del row, logits
        offset = mean.double() * self.scaling.spread + self.scaling.shift
        if self.scaling.heavy:
            offset = torch.sign(offset) * (torch.exp(torch.abs(offset)) - 1.0)
        return (offset * self.scaling.unit + self.scaling.centre).clamp(*self.range)


def features_of(layout: Layout) -> Features:
    """Give the first and the last step of a graph for a layout."""
    return Pixels(layout) if layout.image else Features(layout)
