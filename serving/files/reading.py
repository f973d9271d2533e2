"""Tables in files, batch by batch: what everything that reads files has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from detector.batch import ColumnDifferences, TableBatch
from detector.columns import Column
from detector.errors import TableError
from detector.files import ReadOptions, TableSource, open_source
from detector.files.source import check_wanted

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
    numbers = [column.name for column in columns if column.kind == "number" and column.name not in keep]  # kept as written
    wanted = list(dict.fromkeys([*names, *keep]))
    expected = [column.name for column in columns if column.missing_rate <= RARELY]
    _check(paths, wanted, expected, options)
    before = rows = 0
    for path in paths:
        with open_source(path, options) as source:
            unknown = tuple(name for name in source.columns if name not in wanted)
            for batch in _batches(source, wanted, expected, numbers):
                rows += batch.frame.height + len(batch.rejects)
                differences = ColumnDifferences(dict.fromkeys(unknown, batch.frame.height))
                yield batch._replace(file=source.name, differences=differences)
                progress(before + source.position, rows)
            before += source.position
    if not rows:
        raise TableError(f"{', '.join(paths)}: a header and no rows, so there is nothing to do")


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
