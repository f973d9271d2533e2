"""Files of images as what training takes in place of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.errors import SettingError, TableError
from detector.images import DecodedImage, ImageSpec, read
from detector.rejects import Reject
from training.kinds import ColumnOptions

MOST_BYTES = 8 * 2**30  # of all images together; training takes about five times a byte for each value


class ImageTable(NamedTuple):
    """Images to learn from, and those that could not be read."""

    image: ImageSpec
    matrix: np.ndarray  # uint8[images, values]
    rejects: list[Reject]


def read_images(files: Sequence[str], image: ImageSpec, watch: Callable[[int], None] = lambda _done: None) -> ImageTable:
    """Decode every file.

    Raises:
        TableError: they are too many for their size, or none can be read.
    """
    if len(files) * image.values > MOST_BYTES:
        raise TableError(
            f"{len(files):,} images of {image.values:,} values are more than the {MOST_BYTES // 2**30} GB that training takes: "
            "choose a smaller --size"
        )
    matrix = np.empty((len(files), image.values), np.uint8)
    taken, rejects = 0, []
    for row, path in enumerate(files, 1):
        picture = read(path, row, image)
        if isinstance(picture, DecodedImage):
            matrix[taken] = picture.values
            taken += 1
        else:
            rejects.append(picture)
        watch(row)
    if not taken:
        raise TableError(f"none of {len(files):,} images can be read; the first: {rejects[0].file}: {rejects[0]}")
    return ImageTable(image, matrix[:taken], rejects)


def wishes_of_pixels(frame: pl.DataFrame, wishes: ColumnOptions) -> ColumnOptions:
    """Take every column of a table of pixels for a number, whatever its cells look like."""
    said = set(wishes.named())
    return msgspec.structs.replace(wishes, numeric=(*wishes.numeric, *(name for name in frame.columns if name not in said)))


def check_pixels(columns: int, image: ImageSpec) -> None:
    """Refuse a table that has not one column for each pixel.

    Raises:
        SettingError: it has more or fewer.
    """
    if columns != image.values:
        raise SettingError(
            f"--image {image.size} takes {image.values:,} columns of pixels, line by line; this table has {columns:,}: leave "
            "out what is none with --ignore"
        )
