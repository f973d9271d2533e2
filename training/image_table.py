"""Decoded image files, which training takes instead of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from detector.errors import TableError
from detector.images import DecodedImage, ImageSpec, read
from detector.rejects import Reject

MAX_BYTES = 8 * 2**30  # of all images together; training takes about five bytes for each value


class ImageTable(NamedTuple):
    """Images to train on, and the files that could not be read."""

    image: ImageSpec
    matrix: np.ndarray  # uint8[images, values]
    rejects: list[Reject]


def read_images(files: Sequence[str], image: ImageSpec, on_progress: Callable[[int], None] = lambda _done: None) -> ImageTable:
    """Decode every file; `on_progress` is called with the number of files done.

    Raises:
        TableError: they do not fit into memory, or none can be read.
    """
    if len(files) * image.values > MAX_BYTES:
        raise TableError(
            f"{len(files):,} images of {image.values:,} values are more than the {MAX_BYTES // 2**30} GB that training takes: "
            "choose a smaller --size"
        )
    matrix = np.empty((len(files), image.values), np.uint8)
    count, rejects = 0, []
    for row, path in enumerate(files, 1):
        decoded = read(path, row, image)
        if isinstance(decoded, DecodedImage):
            matrix[count] = decoded.values
            count += 1
        else:
            rejects.append(decoded)
        on_progress(row)
    if not count:
        raise TableError(f"none of {len(files):,} images can be read; the first: {rejects[0].file}: {rejects[0]}")
    return ImageTable(image, matrix[:count], rejects)
