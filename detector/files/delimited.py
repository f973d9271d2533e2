"""CSV and its kin: fields between separators, one header, records that may run over several lines.

`header` finds names and separator, `blocks` cuts, `clean` reads a block fast and `sieve` one that is not clean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import polars as pl

from detector.files.blocks import Cutter
from detector.files.clean import CleanReader
from detector.files.header import take_header
from detector.files.sieve import Sieve, Sifted
from detector.files.source import Block, Closing, ReadOptions, check_wanted
from detector.files.stream import ByteStream

DECIMAL_COMMA = r"^(?:(\s*[-+]?[0-9]+),([0-9]*)|(\s*[-+]?),([0-9]+))((?:[eE][-+]?[0-9]+)?\s*)$"
DECIMAL_POINT = "${1}${3}.${2}${4}${5}"


class DelimitedSource(Closing):
    """A table in delimited text."""

    def __init__(self, stream: ByteStream, options: ReadOptions) -> None:
        """Read the header.

        Raises:
            TableError: there is none that can be used.
        """
        self._stream = stream
        self._options = options
        self._header = take_header(stream, decimal_comma=options.decimal_comma)
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

    def blocks(self, wanted: Sequence[str], numbers: Collection[str] = ()) -> Iterator[Block]:
        """Give the table in blocks.

        Raises:
            TableError: a wanted column is not there, a line is too long to be one, or the file is damaged.
        """
        check_wanted(self.name, self.columns, wanted)
        return self._blocks(list(wanted), numbers)

    def _blocks(self, wanted: list[str], numbers: Collection[str]) -> Iterator[Block]:
        clean = CleanReader(self.columns, self._header.separator, wanted, numbers, self._options)
        sieve = Sieve(self.name, self.columns, self._header.separator)
        cutter = Cutter(self._stream)
        line = self._header.lines + 1
        while data := cutter.take(line):
            frame = clean.read(data)
            if frame is not None:
                block, line = clean_block(frame, line), line + frame.height
            else:
                sifted = sieve.sift(data, line, last=cutter.ended)
                cutter.give_back(sifted.rest)
                block, line = self._sifted_block(sifted), sifted.line
            if block.rows.size or block.rejects or block.blank:
                yield self._finish(block, wanted)

    def _sifted_block(self, sifted: Sifted) -> Block:
        cells = zip(*sifted.records, strict=True) if sifted.records else ((),) * len(self.columns)
        series = [pl.Series(name, texts, pl.String) for name, texts in zip(self.columns, cells, strict=True)]
        return Block(pl.DataFrame(series), np.array(sifted.rows, np.int64), sifted.rejects, sifted.blank)

    def _finish(self, block: Block, wanted: list[str]) -> Block:
        """Reduce a block to the wanted columns, and give text the decimal point that the rest of the world reads."""
        frame = block.frame if block.frame.columns == wanted else block.frame[wanted]
        if self._options.decimal_comma:
            frame = frame.with_columns(pl.col(pl.String).str.replace(DECIMAL_COMMA, DECIMAL_POINT))
        return block._replace(frame=frame)


def clean_block(frame: pl.DataFrame, line: int) -> Block:
    """Give a block in which every line is a record."""
    return Block(frame, np.arange(line, line + frame.height, dtype=np.int64), [], 0)
