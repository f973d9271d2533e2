"""Rows as images, all on one sheet: a PNG of as many images a line as make the sheet square.

Used by `serving.files.sinks` for rows of pixels, which stand in the last columns, line by line. Needs Pillow.
"""

from __future__ import annotations

import io
import math

import numpy as np
import polars as pl

from detector.errors import OutputError
from detector.images import ImageSize
from serving.files.output import OutputFile, output_errors

MOST = 4096  # images; more nobody can look at
MARGIN = 1  # pixels between images
LEAST_SIDE = 84  # pixels: smaller images are enlarged


class ContactSheetSink:
    """A PNG of all rows."""

    def __init__(self, path: str, output: OutputFile, size: ImageSize) -> None:
        self._path = path
        self._output = output
        self._size = size
        self._images: list[np.ndarray] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Take rows.

        Raises:
            OutputError: they are too many, or have too few columns of numbers for an image.
        """
        width, height = self._size
        if frame.width < width * height or not all(kind.is_numeric() for kind in frame.dtypes[-width * height :]):
            raise OutputError(
                f"{self._path}: an image of {width}x{height} takes {width * height} columns of numbers; "
                f"these rows have {frame.width} columns"
            )
        pixels = frame[:, -width * height :].to_numpy().astype(np.float64)
        self._images += list(pixels.reshape(-1, height, width))
        if len(self._images) > MOST:
            raise OutputError(f"{self._path}: a sheet holds {MOST:,} images at most; write rows as .parquet instead")

    def flush(self) -> None:
        """Draw the sheet and force it to the disk."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(np.round(255 * contact_sheet(self._images)).astype(np.uint8)).save(file, format="png")
        with output_errors(self._path):
            self._output.file.write(file.getbuffer())
        self._output.flush()

    def commit(self) -> None:
        """Let the file appear."""
        self._output.commit()

    def discard(self) -> None:
        """Leave no file behind."""
        self._output.discard()


def contact_sheet(images: list[np.ndarray]) -> np.ndarray:
    """Lay images out on one, in [0, 1]: values as they are if they lie there, else from the least to the greatest."""
    if not images:
        return np.zeros((1, 1))
    height, width = images[0].shape
    across = math.ceil(math.sqrt(len(images)))
    page = np.ones((math.ceil(len(images) / across) * (height + MARGIN), across * (width + MARGIN)))
    everything = np.nan_to_num(np.stack(images))
    low, high = float(everything.min()), float(everything.max())
    if low < 0 or high > 1:
        everything = (everything - low) / max(high - low, np.finfo(float).tiny)
    for place, one in enumerate(everything):
        top, left = place // across * (height + MARGIN), place % across * (width + MARGIN)
        page[top : top + height, left : left + width] = one
    enlarged = max(1, LEAST_SIDE // max(width, height))
    return page.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
