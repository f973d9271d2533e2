"""Contact sheets: rows of pixels as images on one PNG, as many in a line as make it square.

The pixels are the last columns of a row, line by line. Used by `serving.files.sinks`; needs Pillow.
"""

from __future__ import annotations

import io
import math

import numpy as np
import polars as pl

from detector.errors import OutputError
from detector.images import ImageSize
from serving.files.output import OutputFile, output_errors

MAX_IMAGES = 4096
MARGIN = 1  # pixels between images
MIN_SIDE = 84  # pixels; smaller images are enlarged


class ContactSheetSink:
    """A PNG of all rows."""

    def __init__(self, path: str, output: OutputFile, size: ImageSize) -> None:
        self._path = path
        self._output = output
        self._size = size
        self._images: list[np.ndarray] = []

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows.

        Raises:
            OutputError: there are too many rows, or too few columns of numbers for an image.
        """
        width, height = self._size
        pixels = frame[:, -width * height :]
        if frame.width < width * height or not all(dtype.is_numeric() for dtype in pixels.dtypes):
            raise OutputError(
                f"{self._path}: an image of {width}x{height} takes {width * height} columns of numbers; "
                f"these rows have {frame.width} columns"
            )
        self._images += list(pixels.to_numpy().astype(np.float64).reshape(-1, height, width))
        if len(self._images) > MAX_IMAGES:
            raise OutputError(
                f"{self._path}: a contact sheet holds at most {MAX_IMAGES:,} images; write rows as .parquet instead"
            )

    def flush(self) -> None:
        """Draw the contact sheet and force it to the disk."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(np.round(255 * contact_sheet(self._images)).astype(np.uint8)).save(file, format="png")
        with output_errors(self._path):
            self._output.file.write(file.getbuffer())
        self._output.flush()

    def commit(self) -> None:
        """Make the file appear."""
        self._output.commit()

    def discard(self) -> None:
        """Leave no file behind."""
        self._output.discard()


def contact_sheet(images: list[np.ndarray]) -> np.ndarray:
    """Arrange images on one, in [0, 1]; values outside of [0, 1] are rescaled from their minimum to their maximum."""
    if not images:
        return np.zeros((1, 1))
    height, width = images[0].shape
    across = math.ceil(math.sqrt(len(images)))
    page = np.ones((math.ceil(len(images) / across) * (height + MARGIN), across * (width + MARGIN)))
    pixels = np.nan_to_num(np.stack(images))
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        pixels = (pixels - low) / max(high - low, np.finfo(float).tiny)
    for index, image in enumerate(pixels):
        top, left = index // across * (height + MARGIN), index % across * (width + MARGIN)
        page[top : top + height, left : left + width] = image
    scale = max(1, MIN_SIDE // max(width, height))
    return page.repeat(scale, axis=0).repeat(scale, axis=1)
