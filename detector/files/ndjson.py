"""NDJSON: one JSON object a line, its keys the columns; a key that an object lacks is a missing cell.

`json_lines` decodes; here its values become columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import polars as pl

from detector.errors import TableError
from detector.files import blocks
from detector.files.blocks import Cutter
from detector.files.json_lines import LineDecoder, Scalar, all_keys
from detector.files.source import Block, Closing
from detector.files.stream import BOM, ByteStream

SHARE = 8  # of a block: Python's objects for the cells of a whole one leave the cache, which halves the rate
EXACT = 1 << 53  # up to here an integral float has the same digits as an integer


class NdjsonSource(Closing):
    """A table in NDJSON."""

    def __init__(self, stream: ByteStream) -> None:
        """Read the first block, for its keys.

        Raises:
            TableError: the file is empty or damaged.
        """
        if stream.peek(len(BOM)) == BOM:
            stream.read(len(BOM))
        self._stream = stream
        self._cutter = Cutter(stream, max(1, blocks.BLOCK // SHARE))
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

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[Block]:
        """Give the table in blocks; a wanted key may be in no object at all.

        Raises:
            TableError: a line is too long to be one, or the file is damaged.
        """
        decoder = LineDecoder(self.name, wanted, numbers)
        line = 1
        while data := self._cutter.take(line):
            read = decoder.read(data, line)
            line += data.count(b"\n")
            frame = pl.DataFrame([column(name, values, numbers, typed=read.typed) for name, values in read.values.items()])
            yield Block(frame, np.array(read.rows, np.int64), read.rejects, read.blank)


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
