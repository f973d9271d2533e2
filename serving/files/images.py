"""Files of images, judged some at a time: as `serving.files.judging` does with rows of tables, in constant memory.

Used by `judging.judge` where the detector learnt from images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from detector.batch import TableBatch
from detector.columns import Encoded
from detector.graph import Outputs
from detector.images import DecodedImage, ImageSpec, read
from detector.rejects import Reject
from detector.scorer import Scorer
from serving.files.judging import Judged, Question
from serving.files.reading import Watch, unwatched

AT_ONCE = 2**19  # values of the images that are in memory together
MOST_AT_ONCE = 256  # images


class Seen(NamedTuple):
    """Images as the graph sees them, and what it says of them."""

    paths: list[str]
    matrix: np.ndarray  # uint8[images, values]
    outputs: Outputs


Look = Callable[[Seen], None]  # shown what was judged, for whoever wants more than verdicts


def judge_images(scorer: Scorer, question: Question, watch: Watch = unwatched, look: Look | None = None) -> Iterator[Judged]:
    """Judge every file; one that cannot be read is rejected. With `look`, the graph explains every image to it."""
    image = scorer.manifest.image
    assert image is not None  # noqa: S101 - the caller knows
    for decoded in decode(question.paths, image, watch):
        yield _judged(scorer, question, decoded, look)


class Decoded(NamedTuple):
    """A block of files, and the matrix of those that could be read."""

    block: TableBatch
    matrix: np.ndarray  # uint8[images, values]


def decode(paths: tuple[str, ...], image: ImageSpec, watch: Watch = unwatched) -> Iterator[Decoded]:
    """Decode files, some at a time; one that cannot be read is rejected."""
    size = max(1, min(MOST_AT_ONCE, AT_ONCE // image.values))
    done = 0
    for start in range(0, len(paths), size):
        some = paths[start : start + size]
        yield _block(some, start, image)
        done += sum(_bytes(path) for path in some)
        watch(done, start + len(some))


def _block(paths: tuple[str, ...], start: int, image: ImageSpec) -> Decoded:
    """Decode some files."""
    found = [read(path, start + place, image) for place, path in enumerate(paths, 1)]
    pictures = [(place, each) for place, each in enumerate(found) if isinstance(each, DecodedImage)]
    frame = pl.DataFrame(
        {
            "file": pl.Series([paths[place] for place, _ in pictures], dtype=pl.String),
            "width": pl.Series([each.original.width for _, each in pictures], dtype=pl.Int64),
            "height": pl.Series([each.original.height for _, each in pictures], dtype=pl.Int64),
        }
    )
    rows = np.array([start + place + 1 for place, _ in pictures], dtype=np.int64)
    rejects = [each for each in found if isinstance(each, Reject)]
    matrix = np.stack([each.values for _, each in pictures]) if pictures else np.empty((0, image.values), np.uint8)
    return Decoded(TableBatch(frame, rows, rejects, 0), matrix)


def _judged(scorer: Scorer, question: Question, decoded: Decoded, look: Look | None) -> Judged:
    """Judge a block."""
    block, matrix = decoded
    encoded = Encoded(matrix, np.ones(len(matrix), dtype=bool), [], 0)
    outputs = scorer.graph.explain(matrix) if look else None
    verdicts = scorer.judge(encoded, lambda at: block.frame[at], explain=question.explain, top=question.top, outputs=outputs)
    if look and outputs:
        look(Seen(block.frame["file"].to_list(), matrix, outputs))
    return Judged("", block, verdicts, ())


def _bytes(path: str) -> int:
    """Give a file's size; 0 of one that is gone."""
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0
