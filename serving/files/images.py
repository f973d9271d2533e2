"""Image files, decoded a batch at a time, in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from detector.batch import ImageBatch
from detector.images import DecodedImage, ImageSpec, read
from detector.rejects import Reject
from serving.files.reading import Progress, no_progress

MAX_VALUES = 2**19  # of the images that are in memory together
MAX_IMAGES = 256


def read_images(paths: tuple[str, ...], image: ImageSpec, progress: Progress = no_progress) -> Iterator[ImageBatch]:
    """Decode files; one that cannot be read is rejected."""
    size = max(1, min(MAX_IMAGES, MAX_VALUES // image.values))
    done = 0
    for start in range(0, len(paths), size):
        names = paths[start : start + size]
        yield _batch(names, start, image)
        done += sum(_bytes(path) for path in names)
        progress(done, start + len(names))


def _batch(paths: tuple[str, ...], start: int, image: ImageSpec) -> ImageBatch:
    found = [read(path, start + position, image) for position, path in enumerate(paths, 1)]
    pictures = [(position, picture) for position, picture in enumerate(found) if isinstance(picture, DecodedImage)]
    frame = pl.DataFrame(
        {
            "file": pl.Series([paths[position] for position, _ in pictures], dtype=pl.String),
            "width": pl.Series([picture.original.width for _, picture in pictures], dtype=pl.Int64),
            "height": pl.Series([picture.original.height for _, picture in pictures], dtype=pl.Int64),
        }
    )
    rows = np.array([start + position + 1 for position, _ in pictures], dtype=np.int64)
    rejects = [reject for reject in found if isinstance(reject, Reject)]
    matrix = np.stack([picture.values for _, picture in pictures]) if pictures else np.empty((0, image.values), np.uint8)
    return ImageBatch(matrix, frame, rows, rejects)


def _bytes(path: str) -> int:
    """Return the size of a file; 0 if it is gone."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
