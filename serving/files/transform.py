"""Files of rows in, a file of transformed rows out: the latent code, the reconstruction, or the row that a code stands for.

read a batch -> encode it -> transform it -> add it to the sink
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

MAX_FIRST_REJECTS = 5
MIN_STEPS = 2  # both ends of a path


class Transform(NamedTuple):
    """What to read of each row, and how to transform it."""

    columns: tuple[Column, ...]  # to read
    missing: tuple[str, ...]  # further texts for a missing cell
    apply: Callable[[np.ndarray], pl.DataFrame]  # float64[rows, columns] -> as many rows to write
    needs_all_cells: bool = False  # rows with a missing cell are rejected
    image: ImageSpec | None = None  # what image files are decoded to; None for tables


class TransformJob(msgspec.Struct, frozen=True, kw_only=True):
    """Which files to read, and where to write the result and the rejected rows; with `rejects` "" the latter are not written."""

    paths: tuple[str, ...]
    to: str
    rejects: str = ""
    decimal_comma: bool = False
    encoding: str = ""
    force: bool = False
    image: str | None = None  # a size such as 28x28, to write a contact sheet

    def read_options(self, missing: tuple[str, ...]) -> ReadOptions:
        """Return how cells are written."""
        return ReadOptions(missing=missing, decimal_comma=self.decimal_comma, encoding=self.encoding)


class TransformSummary(msgspec.Struct, kw_only=True):
    """The figures of a run."""

    rows: int = 0  # written
    rejected: int = 0
    blank: int = 0  # skipped lines
    infinite: int = 0  # cells with an infinity, read as missing
    unused: dict[str, None] = {}  # columns of the files that were not read
    first_rejects: list[Reject] = []
    seconds: float = 0.0


def embedding_transform(scorer: Scorer) -> Transform:
    """Return the transform from a row to its latent code."""

    def embed(matrix: np.ndarray) -> pl.DataFrame:
        codes = scorer.graph.latent(matrix)
        return pl.DataFrame(codes, schema=latent_names(codes.shape[1]))

    return Transform(scorer.columns, scorer.manifest.missing, embed, image=_file_spec(scorer))


def reconstruction_transform(scorer: Scorer) -> Transform:
    """Return the transform from a row to its reconstruction."""

    def reconstruct(matrix: np.ndarray) -> pl.DataFrame:
        return as_frame(scorer.graph.explain(matrix).expected, scorer.columns)

    return Transform(scorer.columns, scorer.manifest.missing, reconstruct, image=_file_spec(scorer))


def _file_spec(scorer: Scorer) -> ImageSpec | None:
    """Return what image files are decoded to; None for tables."""
    image = scorer.manifest.image
    return image if image and image.files else None


def decoding_transform(decoder: Decoder) -> Transform:
    """Return the transform from a latent code to the row that it stands for."""

    def decode(codes: np.ndarray) -> pl.DataFrame:
        return as_frame(decoder.decode(codes), decoder.columns)

    return Transform(decoder.latent_columns, (), decode, needs_all_cells=True)


def transform_files(transform: Transform, job: TransformJob, progress: Progress = no_progress) -> TransformSummary:
    """Transform every row of every file.

    Raises:
        TableError: a file cannot be read, or lacks a column.
        OutputError: the output exists already or cannot be written; nothing is left of it then.
        SettingError: the output's format is not supported.
    """
    started = time.perf_counter()
    check_outputs(job.to, job.rejects, job.paths, force=job.force)
    summary = TransformSummary()
    several_files, are_images = len(job.paths) > 1, transform.image is not None
    rows_sink, rejects_sink = open_sink(job.to, job.image, force=job.force), LazySink(job.rejects, force=job.force)
    with committed(rows_sink, rejects_sink):
        for batch, encoded in _batches(transform, job, progress):
            rejects = sorted([*batch.rejects, *encoded.rejects], key=lambda reject: reject.row)
            _count(summary, batch, encoded, rejects)
            frame = transform.apply(encoded.matrix)
            if are_images:
                frame = frame.insert_column(0, batch.frame["file"])
            else:
                frame = _numbered(frame, batch.rows[encoded.accepted], batch.file if several_files else "")
            rows_sink.add(frame)
            if job.rejects and rejects:
                rejects_sink.add(reject_table(rejects, several_files=several_files, images=are_images))
    summary.seconds = time.perf_counter() - started
    return summary


def interpolate(scorer: Scorer, decoder: Decoder, job: TransformJob, between: tuple[int, int], steps: int) -> TransformSummary:
    """Write the rows on a path through the latent space, from one row's code to another's, both ends included.

    `between` numbers the two rows by their line in the file, or by their position in Parquet.

    Raises:
        SettingError: there is more than one file, or there are too few steps.
        TableError: the file has no such row, or it cannot be read.
        OutputError: the output exists already or cannot be written; nothing is left of it then.
    """
    started = time.perf_counter()
    if len(job.paths) != 1:
        raise SettingError(f"--between counts the rows of one file; {len(job.paths)} were given")
    if steps < MIN_STEPS:
        raise SettingError(f"--steps counts both ends, so there are at least {MIN_STEPS}; got {steps}")
    check_outputs(job.to, "", job.paths, force=job.force)
    sink = open_sink(job.to, job.image, force=job.force)
    start, end = scorer.graph.latent(_find_rows(scorer, job, between)).astype(np.float64)
    rows = as_frame(decoder.decode(latent_path(start, end, steps)), decoder.columns)
    with committed(sink):
        sink.add(rows.insert_column(0, pl.Series(_unused_name("step", rows.columns), np.arange(1, steps + 1))))
    return TransformSummary(rows=steps, seconds=time.perf_counter() - started)


def _find_rows(scorer: Scorer, job: TransformJob, wanted: tuple[int, int]) -> np.ndarray:
    """Return the rows with two numbers, `float64[2, columns]`; reading ends with the last one."""
    missing = scorer.manifest.missing
    found: dict[int, np.ndarray] = {}
    first = last = 0
    for batch in read(job.paths, scorer.columns, job.read_options(missing)):
        encoded = encode(batch.frame, scorer.columns, batch.rows, file=batch.file, missing=missing)
        for reject in [*batch.rejects, *encoded.rejects]:
            if reject.row in wanted:
                raise TableError(f"{batch.file}, row {reject.row}, {reject}: give another row")
        rows = batch.rows[encoded.accepted].tolist()
        found |= {row: values for row, values in zip(rows, encoded.matrix, strict=True) if row in wanted}
        first, last = first or min(rows, default=0), max(rows, default=last)
        if found.keys() >= set(wanted):
            return np.stack([found[row] for row in wanted])
    absent = next(row for row in wanted if row not in found)
    raise TableError(f"{job.paths[0]} has no row {absent} for --between: its rows are {first} to {last}, as `score` counts them")


def _batches(transform: Transform, job: TransformJob, progress: Progress) -> Iterator[tuple[TableBatch | ImageBatch, Encoded]]:
    """Read and encode every file."""
    if transform.image:
        for images in read_images(job.paths, transform.image, progress):
            yield images, Encoded(images.matrix, np.ones(len(images.matrix), dtype=bool), [], 0)
        return
    for batch in read(job.paths, transform.columns, job.read_options(transform.missing), progress=progress):
        encoded = encode(batch.frame, transform.columns, batch.rows, file=batch.file, missing=transform.missing)
        yield batch, _without_missing_cells(encoded, batch, transform.columns) if transform.needs_all_cells else encoded


def _without_missing_cells(encoded: Encoded, batch: TableBatch, columns: Sequence[Column]) -> Encoded:
    """Reject the rows with a cell that is missing or infinite."""
    is_missing = ~np.isfinite(encoded.matrix)
    is_incomplete = is_missing.any(axis=1)
    positions = np.flatnonzero(encoded.accepted)
    rejects = []
    for row in np.flatnonzero(is_incomplete):
        at = int(is_missing[row].argmax())
        found = "nothing" if np.isnan(encoded.matrix[row, at]) else f"{encoded.matrix[row, at]}"
        rejects.append(Reject(int(batch.rows[positions[row]]), columns[at].name, found, "a finite number", batch.file))
    accepted = encoded.accepted.copy()
    accepted[positions[is_incomplete]] = False
    return Encoded(encoded.matrix[~is_incomplete], accepted, [*encoded.rejects, *rejects], encoded.infinite)


def _count(summary: TransformSummary, batch: TableBatch | ImageBatch, encoded: Encoded, rejects: Sequence[Reject]) -> None:
    summary.rows += len(encoded.matrix)
    summary.rejected += len(rejects)
    summary.blank += batch.blank
    summary.infinite += encoded.infinite
    summary.unused |= dict.fromkeys(batch.differences.unknown)
    summary.first_rejects += rejects[: max(0, MAX_FIRST_REJECTS - len(summary.first_rejects))]


def _numbered(frame: pl.DataFrame, rows: np.ndarray, file: str) -> pl.DataFrame:
    """Add the number of each row, and its file if there are several, in front."""
    files = [pl.lit(file).alias(_unused_name("file", frame.columns))] if file else []
    return frame.select(*files, pl.Series(_unused_name("row", frame.columns), rows), pl.all())


def _unused_name(name: str, columns: Sequence[str]) -> str:
    """Return a name that no column has."""
    while name in columns:
        name += "_"
    return name
