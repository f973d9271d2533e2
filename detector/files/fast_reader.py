"""Reading a whole block with polars: the fast way, taken only if the block is provably clean.

polars is lenient where a reader must not be, so `regular` proves that lines and fields are what it took them for.
Where that fails, `sieve` reads the block.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

import polars as pl

from detector.cells import MISSING
from detector.files.shape_check import has_shape
from detector.files.source import ReadOptions
from detector.files.stream import BOM

# polars skips a byte order mark anywhere, and unpacks text that begins like gzip, zlib or zstd.
MISTAKEN = (BOM, b"\x1f\x8b", b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x28\xb5\x2f\xfd")


class FastReader:
    """Reads the clean blocks of one file."""

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
        self._text = dict.fromkeys(columns, pl.String())
        self._typed = self._text | dict.fromkeys(self._numbers, pl.Float64())
        last = len(columns) - 1
        self._places = [place for place, column in enumerate(columns) if column in wanted or place == last]
        self._spellings = spellings(options.missing)
        self._missing: dict[str, str] = {}

    def read(self, block: bytes) -> pl.DataFrame | None:
        """Give the wanted columns and the last one; None where the block is not clean.

        Numbers are tried first. If a cell is none, the block is read as text, and what the file writes for a missing
        number is remembered: a list of all such words would cost every block a fifth of its time.
        """
        if block.startswith(MISTAKEN):
            return None
        frame = self._parse(block, self._typed, self._missing) if self._numbers else None
        if frame is not None and not self._is_regular(block, frame):
            return None
        if frame is not None and not infinite(frame, self._numbers):
            return frame
        frame = self._parse(block, self._text, {})
        if frame is None or not self._is_regular(block, frame):
            return None
        self._remember_missing(frame)
        return frame

    def _parse(self, block: bytes, schema: Mapping[str, pl.DataType], missing: dict[str, str]) -> pl.DataFrame | None:
        try:
            return pl.read_csv(
                block,
                has_header=False,
                columns=self._places,
                schema=dict(schema),
                separator=self._separator,
                null_values=missing or None,
                decimal_comma=self._options.decimal_comma and self._separator != ",",
            )
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
            return None

    def _is_regular(self, block: bytes, frame: pl.DataFrame) -> bool:
        filled = frame[self._columns[-1]].null_count() == 0
        return has_shape(block, self._separator, len(self._columns), frame.height, filled=filled)

    def _remember_missing(self, frame: pl.DataFrame) -> None:
        """Note the word that each number column has for a missing cell; polars takes one a column at no cost."""
        for column in self._numbers:
            if column not in self._missing:
                words = frame[column].filter(frame[column].is_in(self._spellings))
                if len(words):
                    self._missing[column] = words[0]


def spellings(more: Iterable[str]) -> list[str]:
    """Give the usual spellings of a missing cell."""
    words = [word.strip() for word in (*MISSING, *more)]
    return sorted({form for word in words if word for form in (word, word.upper(), word.title())})


def infinite(frame: pl.DataFrame, columns: Sequence[str]) -> bool:
    """Tell whether a number is infinite, which may be a literal beyond float64.

    A finite sum proves that none is; only otherwise is every cell looked at.
    """
    series = [frame.get_column(column) for column in columns]
    return any(not math.isfinite(cells.sum()) and cells.is_infinite().any() for cells in series)
