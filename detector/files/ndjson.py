"""NDJSON: one JSON object per line, whose keys are the columns; a key that an object lacks is a missing cell.

A key that no object has is a missing column, which is certain only at the end of the file. `json_lines` decodes the
lines; this module makes a table of their values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from detector.batch import RecordBatch, TableBatch
from detector.columns import is_foreign
from detector.errors import TableError
from detector.files import blocks
from detector.files.blocks import BlockSplitter, count
from detector.files.json_lines import LineDecoder, all_keys
from detector.files.source import SourceBase, check_wanted
from detector.files.stream import BOM, ByteStream

SHARE = 8  # part of a block that is read at once: the Python objects of a whole block exceed the cache, which halves the rate


class NdjsonSource(SourceBase):
    """A table in NDJSON."""

    def __init__(self, stream: ByteStream) -> None:
        """Read the keys of the first block.

        Raises:
            TableError: the file is empty or damaged.
        """
        if stream.peek(len(BOM)) == BOM:
            stream.read(len(BOM))
        self._stream = stream
        self._splitter = BlockSplitter(stream, max(1, blocks.BLOCK_BYTES // SHARE))
        first = self._splitter.next_block(1)
        if not first.strip():
            raise TableError(f"{stream.name} is empty: it holds no JSON object")
        self._splitter.unread(first)
        self.name = stream.name
        self.columns = all_keys(first)
        self.size = stream.file.size

    @property
    def position(self) -> int:
        """The number of bytes read from disk so far."""
        return self._stream.file.position

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def blocks_of_all_columns(self) -> Iterator[TableBatch]:
        """Yield the table in blocks whose columns are all keys found so far; later blocks may have more columns.

        Raises:
            TableError: a line is too long, or the file is damaged.
        """
        keys: dict[str, None] = {}
        line = 1
        while data := self._splitter.next_block(line):
            keys |= dict.fromkeys(all_keys(data))
            read = LineDecoder(self.name, tuple(keys), (), accept_foreign=True).read(data, line)
            line += count(data, b"\n")
            yield _block(read, ())

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:
        """Yield the table in blocks.

        Raises:
            TableError: a line is too long, the file is damaged, or no object has a wanted key (raised after the last block).
        """
        decoder = LineDecoder(self.name, wanted, numbers)
        unseen = [key for key in wanted if key not in self.columns]
        line, rows = 1, 0
        while data := self._splitter.next_block(line):
            read = decoder.read(data, line)
            line += count(data, b"\n")
            rows += len(read.rows) + sum(map(is_foreign, read.rejects))
            unseen = unseen and absent_keys(unseen, data, read)
            yield _block(read, numbers)
        if rows:  # a file without any object does not lack particular keys
            check_wanted(self.name, [name for name in (*self.columns, *wanted) if name not in unseen], unseen)


def absent_keys(keys: Sequence[str], data: bytes, read: RecordBatch) -> list[str]:
    """Return the keys that no object of a block has, not even with the value null."""
    empty = [key for key in keys if all(value is None for value in read.values[key])]
    present = all_keys(data) if empty else ()
    return [key for key in empty if key not in present]


def _block(read: RecordBatch, numbers: Collection[str]) -> TableBatch:
    """Make columns of what a block held."""
    return TableBatch(read._replace(numbers=numbers).frame, np.array(read.rows, np.int64), read.rejects, read.blank)
