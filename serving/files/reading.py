"""Tables in files, batch by batch: what everything that reads files has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import polars as pl

from detector.batch import ColumnDifferences, TableBatch
from detector.columns import Column, encode
from detector.errors import TableError
from detector.files import ReadOptions, TableSource, open_source
from detector.files.source import check_wanted
from detector.number_format import PLAIN, NumberFormat

COMMA = NumberFormat(thousands=".", decimal=",")
RARELY = 0.01  # share of the training rows in which a cell was missing

Progress = Callable[[int, int], None]  # bytes read, rows done


def no_progress(_bytes: int, _rows: int) -> None:
    """Ignore progress."""


def read(
    paths: Sequence[str],
    columns: Sequence[Column],
    options: ReadOptions,
    keep: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Iterator[TableBatch]:
    """Read a detector's columns, and those to keep, of every file.

    Raises:
        TableError: a file lacks a column (checked for all of them first, but in NDJSON a column that is often missing may
            come late), cannot be read, or no file has a row.
    """
    names = [column.name for column in columns]
    points = [column for column in columns if options.decimal_comma and column.kind == "number" and column.decimal == "."]
    is_comma = bool(points) or any(column.decimal == "," for column in columns)
    options = msgspec.structs.replace(options, decimal_comma=is_comma)
    written = COMMA if is_comma else PLAIN
    numbers = [
        column.name
        for column in columns
        if column.kind == "number"
        and column.name not in keep  # kept as written
        and column.unit == ""
        and (column in points or column.number_format == written)
    ]
    wanted = list(dict.fromkeys([*names, *keep]))
    expected = [column.name for column in columns if column.missing_rate <= RARELY]
    _check(paths, wanted, expected, options)
    before = rows = 0
    for path in paths:
        with open_source(path, options) as source:
            unknown = tuple(name for name in source.columns if name not in wanted)
            for found in _batches(source, wanted, expected, numbers):
                rows += found.frame.height + len(found.rejects)
                batch = _with_decimal_commas(found, points, options, source.name) if points else found
                differences = ColumnDifferences(dict.fromkeys(unknown, found.frame.height))
                yield batch._replace(file=source.name, differences=differences)
                progress(before + source.position, rows)
            before += source.position
    if not rows:
        raise TableError(f"{', '.join(paths)}: a header and no rows, so there is nothing to do")


def _with_decimal_commas(batch: TableBatch, columns: Sequence[Column], options: ReadOptions, file: str) -> TableBatch:
    """Read columns of numbers whose detector knows decimal points from texts with decimal commas; reject other texts."""
    commas = [msgspec.structs.replace(column, thousands=COMMA.thousands, decimal=COMMA.decimal) for column in columns]
    texts = [column for column in commas if batch.frame.schema[column.name] == pl.String]
    if not texts:
        return batch
    read = encode(batch.frame, texts, batch.rows, file=file, missing=options.missing)
    found = [pl.Series(column.name, read.matrix[:, at], nan_to_null=True) for at, column in enumerate(texts)]
    frame = batch.frame.filter(pl.Series(read.accepted)).with_columns(found)
    return batch._replace(frame=frame, rows=batch.rows[read.accepted], rejects=[*batch.rejects, *read.rejects])


def _check(paths: Sequence[str], wanted: list[str], expected: list[str], options: ReadOptions) -> None:
    """Check every header before the first row is read; a pipe can be opened only once and is checked later."""
    for path in paths:
        if Path(path).is_file():
            with open_source(path, options) as source:
                _batches(source, wanted, expected)


def _batches(source: TableSource, wanted: list[str], expected: list[str], numbers: Sequence[str] = ()) -> Iterator[TableBatch]:
    """Start to read; only NDJSON can lack a column here, and one that training saw in every row is checked at once."""
    batches = source.blocks(wanted, numbers)
    if source.columns:
        check_wanted(source.name, source.columns, expected)
    return batches
