"""CSV and its kin: fields between separators, one header, records that may run over several lines.

`header` finds names and separator, `blocks` cuts, `clean` reads a block fast and `sieve` one that is not clean.
"""

from __future__ import annotations

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

DECIMAL_COMMA = r"^(?:(\s*[-+]?[0-9]+),([0-9]*)|(\s*[-+]?),([0-9]+))((?:[eE][-+]?[0-9]+)?\s*)$"
DECIMAL_POINT = "${1}${3}.${2}${4}${5}"


class DelimitedSource(SourceBase):
    """A table in delimited text."""

    def __init__(self, stream: ByteStream, options: ReadOptions) -> None:
        """Read the header.

        Raises:
            TableError: there is none that can be used.
        """
        self._stream = stream
        self._options = options
        self._header = read_header(stream, decimal_comma=options.decimal_comma)
        self.name = stream.name
        self.columns = self._header.names
        self.size = stream.file.size

    @property
    def position(self) -> int:
        """Bytes on disk that were consumed so far."""
        return self._stream.file.position

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[TableBatch]:
        """Give the table in blocks.

        Raises:
            TableError: a wanted column is not there, a line is too long to be one, or the file is damaged.
        """
        check_wanted(self.name, self.columns, wanted)
        return self._blocks(list(wanted), numbers)

    def _blocks(self, wanted: list[str], numbers: Collection[str]) -> Iterator[TableBatch]:
        clean = FastReader(self.columns, self._header.separator, wanted, numbers, self._options)
        sieve = LenientReader(self.name, self.columns, self._header.separator)
        cutter = BlockSplitter(self._stream, blocks.BLOCK_BYTES)
        line = self._header.lines + 1
        while data := cutter.take(line):
            frame = clean.read(data)
            if frame is not None:
                yield self._block(frame, np.arange(line, line + frame.height), wanted)
                line += frame.height
            elif not cutter.split(data):  # of its pieces most are clean
                sifted = sieve.sift(data, line, last=cutter.ended)
                cutter.give_back(sifted.rest)
                line = sifted.line
                if sifted.rows or sifted.rejects or sifted.blank:
                    yield self._sifted_block(sifted, clean, sieve, wanted)

    def _sifted_block(self, sifted: LenientBlock, clean: FastReader, sieve: LenientReader, wanted: list[str]) -> TableBatch:
        """Give what the sieve kept, which polars reads faster if it now is clean."""
        lines = sifted.plain()
        frame = clean.read(lines) if lines else None
        if frame is None:
            cells = zip(*map(sieve.fields, sifted.records), strict=True) if sifted.records else ((),) * len(self.columns)
            frame = pl.DataFrame([pl.Series(name, texts, pl.String) for name, texts in zip(self.columns, cells, strict=True)])
        block = self._block(frame, np.array(sifted.rows), wanted)
        return block._replace(rejects=sifted.rejects, blank=sifted.blank)

    def _block(self, frame: pl.DataFrame, rows: npt.NDArray[np.int64], wanted: list[str]) -> TableBatch:
        """Reduce a frame to the wanted columns, and give text the decimal point that the rest of the world reads."""
        frame = frame if frame.columns == wanted else frame[wanted]
        if self._options.decimal_comma:
            frame = frame.with_columns(pl.col(pl.String).str.replace(DECIMAL_COMMA, DECIMAL_POINT))
        return TableBatch(frame, rows.astype(np.int64, copy=False), [], 0)
