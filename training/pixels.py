"""Pixels as features: one scaling for all of them, so that a pattern looks the same wherever it appears.

`build_pixel_layout` and `PixelFeatures` are for images what `training.layout` and `training.features` are for rows.
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
from training.layout import FeatureLayout
from training.scaling import IDENTITY, Scaling

FAINT = 0.04  # of the range of values: where sensor noise roughly equals photon noise
MAX_FITTED = 2**22  # values that a scaling is fitted to
MAX_SCALED = 20.0  # standard deviations; larger values are clipped


def build_pixel_layout(
    matrix: np.ndarray, columns: Sequence[Column], image: ImageSpec, *, light: str, scaled: bool
) -> FeatureLayout:
    """Build the layout of pixels from the training matrix, `[rows, columns]`, with one scaling for all values.

    With `light` "logarithmic" the ratio of two values matters, as where a surface reflects a share of the light; with
    "linear" their difference. Without `scaled`, values are probabilities, or bytes of a file, which are divided by 255.

    Raises:
        TableError: all pixels of all images are equal.
    """
    lowest, highest = float(np.nanmin(matrix)), float(np.nanmax(matrix))
    if lowest == highest:
        raise TableError("every pixel of every training image is the same, so there is nothing to learn")
    lowest, highest = (0.0, 255.0) if image.files else (lowest, highest)
    sample = matrix[:: max(1, matrix.size // MAX_FITTED)].astype(np.float64)
    unscaled = IDENTITY._replace(unit=highest) if image.files else IDENTITY
    scaling = _fit_scaling(sample[np.isfinite(sample)], lowest, highest, light) if scaled else unscaled
    return FeatureLayout(
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


def _fit_scaling(values: np.ndarray, lowest: float, highest: float, light: str) -> Scaling:
    if light == "linear":
        return Scaling(float(values.mean()), float(values.std()), heavy=False, shift=0.0, spread=1.0)
    unit = FAINT * (highest - lowest)
    bent = Scaling(lowest, unit, heavy=True, shift=0.0, spread=1.0)(values)
    return Scaling(lowest, unit, heavy=True, shift=float(bent.mean()), spread=float(bent.std()))


class PixelFeatures(Features):
    """Scales `float64[rows, pixels]` to `Cells`, and reconstructions back."""

    is_redundant = True

    def __init__(self, layout: FeatureLayout) -> None:
        """Register the one scaling."""
        nn.Module.__init__(self)
        assert layout.image is not None  # noqa: S101 - the layout of pixels has one
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
        """Scale the pixels; a missing one becomes arbitrary."""
        absent = torch.isnan(row)
        offset = (torch.where(absent, self.scaling.centre, row) - self.scaling.centre) / self.scaling.unit
        if self.scaling.heavy:
            offset = torch.sign(offset) * torch.log(torch.abs(offset) + 1.0)
        values = ((offset - self.scaling.shift) / self.scaling.spread).clamp(-MAX_SCALED, MAX_SCALED)
        return Cells(values, (~absent).to(self.real), row[:, :0].to(self.real))

    def inputs(self, cells: Cells) -> Tensor:
        """Return the network inputs, `[rows, pixels]`; a missing pixel is the mean."""
        return cells.values.to(self.real) * cells.present

    def presence(self, cells: Cells) -> Tensor:
        """Return 1 for each pixel that is present: `[rows, pixels]`."""
        return cells.present

    def expected(self, row: Tensor, mean: Tensor, logits: Tensor) -> Tensor:
        """Return reconstructions in the user's units, `float64[rows, pixels]`, clipped to the training range."""
        del row, logits
        offset = mean.double() * self.scaling.spread + self.scaling.shift
        if self.scaling.heavy:
            offset = torch.sign(offset) * (torch.exp(torch.abs(offset)) - 1.0)
        return (offset * self.scaling.unit + self.scaling.centre).clamp(*self.range)
