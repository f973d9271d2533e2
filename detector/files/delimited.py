"""CSV and similar formats: separated fields, one header, records that may span several lines.

`header` finds names and separator, and `blocks` splits the file. `fast_reader` reads a block if it is well-formed, else
`lenient_reader` does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from detector.batch import TableBatch
from detector.files import blocks
from detector.files.blocks import BlockSplitter
from detector.files.fast_reader import FastReader
from detector.files.header import read_header
from detector.files.lenient_reader import LenientBlock, LenientReader
from detector.files.source import ReadOptions, SourceBase, check_wanted
from detector.files.stream import ByteStream

BLANKS = re.compile(rb"[ \t]+")
OUTER_BLANKS = re.compile(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)")


class DelimitedSource(SourceBase):
    """A table in delimited text."""

    def __init__(self, stream: ByteStream, options: ReadOptions) -> None:
        """Read the header.

        Raises:
            TableError: there is no usable header.
        """
        self._stream = stream
        self._options = options
        self._header = read_header(stream, decimal_comma=options.decimal_comma)
        self._is_blank_separated = self._header.separator == " "
        self._separator = "\t" if self._is_blank_separated else self._header.separator
        self.name = stream.name
        self.columns = self._header.names
        self.size = stream.file.size

    @property
    def position(self) -> int:
        """The number of bytes read from disk so far."""
        return self._stream.file.position

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:
        """Yield the table in blocks.

        Raises:
            TableError: a wanted column is missing, a line is too long, or the file is damaged.
        """
        check_wanted(self.name, self.columns, wanted)
        return self._blocks(list(wanted), numbers)

    def _blocks(self, wanted: list[str], numbers: Collection[str]) -> Iterator[TableBatch]:
        fast = FastReader(self.columns, self._separator, wanted, numbers, self._options)
        lenient = LenientReader(self.name, self.columns, self._separator, {*wanted} - {*self._options.ignored})
        splitter = BlockSplitter(self._stream, blocks.BLOCK_BYTES)
        line = self._header.lines + 1
        while data := splitter.next_block(line):
            if self._is_blank_separated:
                data = with_tabs(data)
            frame = fast.read(data)
            if frame is not None:
                yield self._batch(frame, np.arange(line, line + frame.height), wanted)
                line += frame.height
            elif not splitter.retry_in_pieces(data):  # the fast reader can read most of the pieces
                block = lenient.read(data, line, last=splitter.is_exhausted)
                splitter.unread(block.rest)
                line = block.line
                if block.rows or block.rejects or block.blank:
                    yield self._lenient_batch(block, fast, lenient, wanted)

    def _lenient_batch(self, block: LenientBlock, fast: FastReader, lenient: LenientReader, wanted: list[str]) -> TableBatch:
        """Return the records that the lenient reader kept; without the bad ones, the fast reader may parse them."""
        lines = block.plain_lines()
        frame = fast.read(lines) if lines else None
        if frame is None:
            cells = zip(*map(lenient.fields, block.records), strict=True) if block.records else ((),) * len(self.columns)
            frame = pl.DataFrame([pl.Series(name, texts, pl.String) for name, texts in zip(self.columns, cells, strict=True)])
        batch = self._batch(frame, np.array(block.rows), wanted)
        return batch._replace(rejects=block.rejects, blank=block.blank)

    def _batch(self, frame: pl.DataFrame, rows: npt.NDArray[np.int64], wanted: list[str]) -> TableBatch:
        """Select the wanted columns."""
        frame = frame if frame.columns == wanted else frame[wanted]
        return TableBatch(frame, rows.astype(np.int64, copy=False), [], 0)


def with_tabs(block: bytes) -> bytes:
    """Return lines with a tab for each run of blanks between two fields."""
    return BLANKS.sub(b"\t", OUTER_BLANKS.sub(b"", block))
