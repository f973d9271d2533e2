"""Tables in files, block by block: what everything that reads files has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from detector.batch import TableBatch
from detector.columns import Column
from detector.errors import TableError
from detector.files import ReadOptions, TableSource, open_source
from detector.files.source import check_wanted

HARDLY_EVER = 0.01  # share of the training rows in which a cell was missing

Watch = Callable[[int, int], None]  # bytes read, rows done


class Read(NamedTuple):
    """A block of a file."""

    file: str
    block: TableBatch
    unused: tuple[str, ...]  # columns of the file that nobody asked for


def unwatched(_bytes: int, _rows: int) -> None:
    """Let a run go unwatched."""


def read(
    paths: Sequence[str], columns: Sequence[Column], options: ReadOptions, keep: Sequence[str] = (), watch: Watch = unwatched
) -> Iterator[Read]:
    """Read a detector's columns, and those to carry along, of every file.

    Raises:
        TableError: a file lacks a column (checked for all of them first, but in NDJSON a column that is often missing may
            come late), cannot be read, or no file has a row.
    """
    names = [column.name for column in columns]
    numbers = [column.name for column in columns if column.kind == "number" and column.name not in keep]  # kept as it stands
    wanted = list(dict.fromkeys([*names, *keep]))
    expected = [column.name for column in columns if column.missing_rate <= HARDLY_EVER]
    _check(paths, wanted, expected, options)
    before = rows = 0
    for path in paths:
        with open_source(path, options) as source:
            unused = tuple(name for name in source.columns if name not in wanted)
            for block in _blocks(source, wanted, expected, numbers):
                rows += block.frame.height + len(block.rejects)
                yield Read(source.name, block, unused)
                watch(before + source.position, rows)
            before += source.position
    if not rows:
        raise TableError(f"{', '.join(paths)}: a header and no rows, so there is nothing to do")


def _check(paths: Sequence[str], wanted: list[str], expected: list[str], options: ReadOptions) -> None:
    """Look at every header before the first row is read; a pipe can be opened only once and has to wait."""
    for path in paths:
        if Path(path).is_file():
            with open_source(path, options) as source:
                _blocks(source, wanted, expected)


def _blocks(source: TableSource, wanted: list[str], expected: list[str], numbers: Sequence[str] = ()) -> Iterator[TableBatch]:
    """Begin to read; only NDJSON can lack a column here, and what training met in every row is not waited for."""
    blocks = source.blocks(wanted, numbers)
    if source.columns:
        check_wanted(source.name, source.columns, expected)
    return blocks
