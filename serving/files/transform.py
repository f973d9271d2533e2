"""Files of rows in, a file of what becomes of each row out: its code, the row as rebuilt, or the row that a code stands for.

read a block -> encode it -> rewrite it -> add it to the sink
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.batch import ImageBatch, TableBatch
from detector.columns import Column, Encoded, as_frame, encode
from detector.decoder import Decoder, latent_names, latent_path
from detector.errors import SettingError, TableError
from detector.files import ReadOptions
from detector.images import ImageSpec
from detector.rejects import Reject
from detector.scorer import Scorer
from serving.files.images import read_images
from serving.files.layout import reject_table
from serving.files.reading import Progress, no_progress, read
from serving.files.scoring import check_outputs
from serving.files.sinks import LazySink, committed, open_sink

FIRST = 5  # rejected rows that are shown


class Transform(NamedTuple):
    """What to read of each row, and what to write of it."""

    columns: tuple[Column, ...]  # to read
    missing: tuple[str, ...]  # further words for a missing cell
    rewrite: Callable[[np.ndarray], pl.DataFrame]  # float64[rows, columns] -> as many rows to write
    whole: bool = False  # rows with a missing cell are rejected
    image: ImageSpec | None = None  # what is read are files of images


class TransformJob(msgspec.Struct, frozen=True, kw_only=True):
    """Which files to read, and where the result and the rejected rows go; `rejects` "" lets these go uncollected."""

    paths: tuple[str, ...]
    to: str
    rejects: str = ""
    decimal_comma: bool = False
    force: bool = False
    image: str | None = None  # a size such as 28x28: the result is a sheet of images


class TransformSummary(msgspec.Struct, kw_only=True):
    """A run in figures."""

    rows: int = 0  # written
    rejected: int = 0
    blank: int = 0  # lines that were skipped
    infinite: int = 0  # cells that spelt an infinity, taken as missing
    unused: dict[str, None] = {}
    first_rejects: list[Reject] = []
    seconds: float = 0.0


def embedding_transform(scorer: Scorer) -> Transform:
    """Write each row's code."""

    def embed(matrix: np.ndarray) -> pl.DataFrame:
        codes = scorer.graph.latent(matrix)
        return pl.DataFrame(codes, schema=latent_names(codes.shape[1]))

    return Transform(scorer.columns, scorer.manifest.missing, embed, image=_of_files(scorer))


def reconstruction_transform(scorer: Scorer) -> Transform:
    """Write each row as the detector rebuilds it."""

    def rebuild(matrix: np.ndarray) -> pl.DataFrame:
        return as_frame(scorer.graph.explain(matrix).expected, scorer.columns)

    return Transform(scorer.columns, scorer.manifest.missing, rebuild, image=_of_files(scorer))


def _of_files(scorer: Scorer) -> ImageSpec | None:
    """Give the image that files are decoded to, where the detector learnt from such."""
    image = scorer.manifest.image
    return image if image and image.files else None


def decoding_transform(decoder: Decoder) -> Transform:
    """Write the row that each code stands for."""
    return Transform(decoder.latent_columns, (), lambda codes: as_frame(decoder.decode(codes), decoder.columns), whole=True)


def transform_files(rewriter: Transform, job: TransformJob, progress: Progress = no_progress) -> TransformSummary:
    """Rewrite every row of every file.

    Raises:
        TableError: a file cannot be read, or lacks a column.
        OutputError: the output is there already or cannot be written; nothing is left of it then.
        SettingError: the output's format is not known.
    """
    began = time.perf_counter()
    check_outputs(job.to, job.rejects, job.paths, force=job.force)
    done = TransformSummary()
    several, images = len(job.paths) > 1, rewriter.image is not None
    sinks = open_sink(job.to, job.image), LazySink(job.rejects)
    with committed(*sinks):
        for each, encoded in _blocks(rewriter, job, progress):
            rejects = sorted([*each.rejects, *encoded.rejects], key=lambda reject: reject.row)
            _count(done, each, encoded, rejects)
            written = rewriter.rewrite(encoded.matrix)
            if images:
                placed = written.insert_column(0, each.frame["file"])
            else:
                placed = _placed(written, each.rows[encoded.accepted], each.file if several else "")
            sinks[0].add(placed)
            if job.rejects and rejects:
                sinks[1].add(reject_table(rejects, several_files=several, images=images))
    done.seconds = time.perf_counter() - began
    return done


def interpolate(scorer: Scorer, decoder: Decoder, job: TransformJob, between: tuple[int, int], steps: int) -> TransformSummary:
    """Walk from one row's code to another's and write the rows on the way, both ends included.

    Rows are numbered as everywhere: by their line in the file, or their place in Parquet.

    Raises:
        SettingError: there is more than one file, or there are too few steps.
        TableError: the file has no such row, or it cannot be read.
        OutputError: the output is there already or cannot be written; nothing is left of it then.
    """
    began = time.perf_counter()
    if len(job.paths) != 1:
        raise SettingError(f"--between counts the rows of one file; {len(job.paths)} were given")
    if steps < 2:  # noqa: PLR2004 - both ends
        raise SettingError(f"--steps counts both ends, so there are at least 2; got {steps}")
    check_outputs(job.to, "", job.paths, force=job.force)
    sink = open_sink(job.to, job.image)
    start, end = scorer.graph.latent(_rows(scorer, job, between)).astype(np.float64)
    rows = as_frame(decoder.decode(latent_path(start, end, steps)), decoder.columns)
    with committed(sink):
        sink.add(rows.insert_column(0, pl.Series(_free("step", rows.columns), np.arange(1, steps + 1))))
    return TransformSummary(rows=steps, seconds=time.perf_counter() - began)


def _rows(scorer: Scorer, job: TransformJob, wanted: tuple[int, int]) -> np.ndarray:
    """Find rows by their numbers, `float64[as many, columns]`; reading ends with the last one."""
    rewriter = Transform(scorer.columns, scorer.manifest.missing, pl.DataFrame)
    found: dict[int, np.ndarray] = {}
    first = last = 0
    for each in read(job.paths, rewriter.columns, _options(rewriter, job)):
        encoded = _encoded(each, rewriter)
        for reject in [*each.rejects, *encoded.rejects]:
            if reject.row in wanted:
                raise TableError(f"{each.file}, row {reject.row}, {reject}: give another row")
        rows = each.rows[encoded.accepted].tolist()
        found |= {row: values for row, values in zip(rows, encoded.matrix, strict=True) if row in wanted}
        first, last = first or min(rows, default=0), max(rows, default=last)
        if found.keys() >= set(wanted):
            return np.stack([found[row] for row in wanted])
    absent = next(row for row in wanted if row not in found)
    raise TableError(
        f"{job.paths[0]} has no row {absent} to walk from or to: its rows are {first} to {last}, as `score` counts them"
    )


def _blocks(rewriter: Transform, job: TransformJob, progress: Progress) -> Iterator[tuple[TableBatch | ImageBatch, Encoded]]:
    """Read and encode every file."""
    if rewriter.image:
        for batch in read_images(job.paths, rewriter.image, progress):
            yield batch, Encoded(batch.matrix, np.ones(len(batch.matrix), dtype=bool), [], 0)
        return
    for each in read(job.paths, rewriter.columns, _options(rewriter, job), progress=progress):
        yield each, _encoded(each, rewriter)


def _options(rewriter: Transform, job: TransformJob) -> ReadOptions:
    """Say how cells are written."""
    return ReadOptions(missing=rewriter.missing, decimal_comma=job.decimal_comma)


def _encoded(each: TableBatch | ImageBatch, rewriter: Transform) -> Encoded:
    """Encode a block, and reject what has a hole where none may be."""
    block = each
    encoded = encode(block.frame, rewriter.columns, block.rows, file=each.file, missing=rewriter.missing)
    holes = np.isnan(encoded.matrix)
    if not (rewriter.whole and holes.any()):
        return encoded
    at = np.flatnonzero(encoded.accepted)
    holed = holes.any(axis=1)
    rejects = [
        Reject(int(block.rows[at[row]]), rewriter.columns[int(holes[row].argmax())].name, "nothing", "a finite number", each.file)
        for row in np.flatnonzero(holed)
    ]
    accepted = encoded.accepted.copy()
    accepted[at[holed]] = False
    return Encoded(encoded.matrix[~holed], accepted, [*encoded.rejects, *rejects], encoded.infinite)


def _count(done: TransformSummary, each: TableBatch | ImageBatch, encoded: Encoded, rejects: Sequence[Reject]) -> None:
    """Count a block."""
    done.rows += len(encoded.matrix)
    done.rejected += len(rejects)
    done.blank += each.blank
    done.infinite += encoded.infinite
    done.unused |= dict.fromkeys(each.unknown_columns)
    done.first_rejects += rejects[: max(0, FIRST - len(done.first_rejects))]


def _placed(written: pl.DataFrame, rows: np.ndarray, file: str) -> pl.DataFrame:
    """Say before each row where it stood."""
    places = [pl.lit(file).alias(_free("file", written.columns))] if file else []
    return written.select(*places, pl.Series(_free("row", written.columns), rows), pl.all())


def _free(name: str, taken: Sequence[str]) -> str:
    """Give a column's name that no column of the detector bears."""
    while name in taken:
        name += "_"
    return name
