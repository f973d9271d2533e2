"""NDJSON: one JSON object a line, its keys the columns; a key that an object lacks is a missing cell.

A key that no object has is a column that the file lacks, and that is known for sure only at its end.

`json_lines` decodes; here its values become columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import polars as pl

from detector.batch import RecordBatch, Scalar, TableBatch
from detector.errors import TableError
from detector.files import blocks
from detector.files.blocks import BlockSplitter, count
from detector.files.json_lines import LineDecoder, all_keys
from detector.files.source import SourceBase, check_wanted
from detector.files.stream import BOM, ByteStream

SHARE = 8  # of a block: Python's objects for the cells of a whole one leave the cache, which halves the rate
EXACT = 1 << 53  # up to here an integral float has the same digits as an integer


class NdjsonSource(SourceBase):
    """A table in NDJSON."""

    def __init__(self, stream: ByteStream) -> None:
        """Read the first block, for its keys.

        Raises:
            TableError: the file is empty or damaged.
        """
        if stream.peek(len(BOM)) == BOM:
            stream.read(len(BOM))
        self._stream = stream
        self._cutter = BlockSplitter(stream, max(1, blocks.BLOCK_BYTES // SHARE))
        first = self._cutter.take(1)
        if not first.strip():
            raise TableError(f"{stream.name} is empty: it holds no JSON object")
        self._cutter.give_back(first)
        self.name = stream.name
        self.columns = all_keys(first)
        self.size = stream.file.size

    @property
    def position(self) -> int:
        """Bytes on disk that were consumed so far."""
        return self._stream.file.position

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def blocks_of_all_columns(self) -> Iterator[TableBatch]:
        """Give the table in blocks of all keys that were met so far: a later block may have more columns.

        Raises:
            TableError: a line is too long to be one, or the file is damaged.
        """
        keys: dict[str, None] = {}
        line = 1
        while data := self._cutter.take(line):
            keys |= dict.fromkeys(all_keys(data))
            read = LineDecoder(self.name, tuple(keys), ()).read(data, line)
            line += count(data, b"\n")
            yield _block(read, ())

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:
        """Give the table in blocks.

        Raises:
            TableError: a line is too long to be one, the file is damaged, or, after its last block, no object had a wanted key.
        """
        decoder = LineDecoder(self.name, wanted, numbers)
        unmet = [key for key in wanted if key not in self.columns]
        line, rows = 1, 0
        while data := self._cutter.take(line):
            read = decoder.read(data, line)
            line += count(data, b"\n")
            rows += len(read.rows)
            unmet = unmet and absent(unmet, data, read)
            yield _block(read, numbers)
        if rows:  # lines that are no objects lack nothing in particular
            check_wanted(self.name, [name for name in (*self.columns, *wanted) if name not in unmet], unmet)


def absent(keys: Sequence[str], data: bytes, read: RecordBatch) -> list[str]:
    """Give those keys that no object of a block has, not even with null."""
    empty = [key for key in keys if all(value is None for value in read.values[key])]
    there = all_keys(data) if empty else ()
    return [key for key in empty if key not in there]


def _block(read: RecordBatch, numbers: Collection[str]) -> TableBatch:
    """Make columns of what a block held."""
    frame = pl.DataFrame([column(name, values, numbers, typed=read.typed) for name, values in read.values.items()])
    return TableBatch(frame, np.array(read.rows, np.int64), read.rejects, read.blank)


def column(name: str, values: Sequence[Scalar], numbers: Collection[str], *, typed: bool) -> pl.Series:
    """Make a column: numbers where all values are, else text."""
    if name in numbers and (typed or {float, int, type(None)}.issuperset(map(type, values))):
        with contextlib.suppress(OverflowError):  # an integer beyond float64: the encoder rejects its row
            return pl.Series(name, values, pl.Float64)
    try:
        return pl.Series(name, values, pl.String)
    except (TypeError, OverflowError):
        return pl.Series(name, list(map(as_text, values)), pl.String)


def as_text(value: Scalar) -> str | None:
    """Write a value as it would stand in a CSV file: true and false, and 7.0 as 7."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return str(int(value))
    return str(value)
