"""The fast reader: parses a whole block with polars, and accepts the result only if the block is provably well-formed.

polars accepts malformed lines silently, so `shape_check` proves that lines and fields are what polars took them for.
Blocks without this proof are left to `lenient_reader`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import polars as pl

from detector.cells import MISSING, PLACEHOLDERS
from detector.files.shape_check import has_shape
from detector.files.source import ReadOptions
from detector.files.stream import BOM

# polars skips a byte order mark anywhere, and decompresses text that starts like gzip, zlib or zstd.
MISREAD_PREFIXES = (BOM, b"\x1f\x8b", b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x28\xb5\x2f\xfd")


class FastReader:
    """Reads the well-formed blocks of one file."""

    def __init__(
        self,
        columns: Sequence[str],
        separator: str,
        wanted: Collection[str],
        numbers: Collection[str],
        options: ReadOptions,
    ) -> None:
        self._columns = columns
        self._separator = separator
        self._options = options
        self._numbers = [column for column in columns if column in wanted and column in numbers]
        self._text_schema = dict.fromkeys(columns, pl.String())
        self._typed_schema = self._text_schema | dict.fromkeys(self._numbers, pl.Float64())
        last = len(columns) - 1
        self._indices = [index for index, column in enumerate(columns) if column in wanted or index == last]
        self._spellings = spellings(options.missing)
        self._missing: dict[str, str] = {}  # by number column, the text that the file writes for a missing cell

    def read(self, block: bytes) -> pl.DataFrame | None:
        """Return the wanted columns and the last one; None if the block is not well-formed.

        Number columns are parsed as numbers first. If a cell is not a number, the block is parsed as text, and the file's
        text for a missing number is remembered for the next block: passing all such texts to polars would cost a fifth of
        the time of every block.
        """
        if block.startswith(MISREAD_PREFIXES):
            return None
        frame = self._parse(block, self._typed_schema, self._missing) if self._may_be_numbers(block) else None
        if frame is not None and not self._has_shape(block, frame):
            return None
        if frame is not None and not has_infinity(frame, self._numbers):
            return frame
        frame = self._parse(block, self._text_schema, {})
        if frame is None or not self._has_shape(block, frame):
            return None
        self._remember_missing(frame)
        return frame

    def _may_be_numbers(self, block: bytes) -> bool:
        """Return whether polars reads numbers as we do: where decimals have a comma, it also takes a point for one."""
        return bool(self._numbers) and not (self._options.decimal_comma and (self._separator == "," or b"." in block))

    def _parse(self, block: bytes, schema: Mapping[str, pl.DataType], missing: dict[str, str]) -> pl.DataFrame | None:
        try:
            return pl.read_csv(
                block,
                has_header=False,
                columns=self._indices,
                schema=dict(schema),
                separator=self._separator,
                null_values=missing or None,
                decimal_comma=self._options.decimal_comma and self._separator != ",",
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            return None

    def _has_shape(self, block: bytes, frame: pl.DataFrame) -> bool:
        filled = frame[self._columns[-1]].null_count() == 0
        return has_shape(block, self._separator, len(self._columns), frame.height, filled=filled)

    def _remember_missing(self, frame: pl.DataFrame) -> None:
        """Store the text that each number column has for a missing cell; one text per column costs polars no time."""
        for column in self._numbers:
            if column not in self._missing:
                texts = frame[column].filter(frame[column].is_in(self._spellings))
                if len(texts):
                    self._missing[column] = texts[0]


def spellings(more: Iterable[str]) -> list[str]:
    """Return the usual spellings of a missing cell."""
    words = [word.strip() for word in (*MISSING, *PLACEHOLDERS, *more)]
    return sorted({spelling for word in words if word for spelling in (word, word.upper(), word.title())})


def has_infinity(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether a number is infinite, as polars reads a literal beyond float64.

    If a column's sum is finite, no cell is infinite; cells are only checked otherwise.
    """
    series = [frame.get_column(column) for column in columns]
    return any(not math.isfinite(cells.sum()) and cells.is_infinite().any() for cells in series)
