"""Rows on their way to a detector: what every codec decodes to, and what every input encodes.

`rows` numbers the rows as their source does (the physical line of a CSV file, the position in a JSON body); `rejects` are
the rows that could not be decoded. A batch holds the other rows, in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from detector.rejects import Reject

Scalar = str | int | float | bool | None
Rows = Sequence[int] | npt.NDArray[np.int64]

EXACT = 1 << 53  # up to here an integral float has the same digits as an integer


class ColumnDifferences(NamedTuple):
    """How columns or keys differ from those that the detector reads: each with the number of rows in which it was seen to."""

    unknown: Mapping[str, int] = MappingProxyType({})  # the detector does not read them
    missing: Mapping[str, int] = MappingProxyType({})  # it reads them, and rows lack them; a null is there


NO_DIFFERENCES = ColumnDifferences()


class Batch(Protocol):
    """Rows that were decoded together."""

    @property
    def rows(self) -> Rows:
        """The number of each decoded row."""

    @property
    def rejects(self) -> list[Reject]:
        """The rows that could not be decoded."""

    @property
    def file(self) -> str:
        """The file that the rows come from, for rejects; "" if there is none."""

    @property
    def differences(self) -> ColumnDifferences:
        """How the columns of the rows differ from those that the detector reads."""

    @property
    def frame(self) -> pl.DataFrame:
        """The rows as a table, exactly as a file with the same content is read."""

    def columns(self, names: Sequence[str]) -> Mapping[str, Sequence[object]]:
        """Return the cells of the named columns as they were received; of those that are there."""


class TableBatch(NamedTuple):
    """Consecutive rows of a table.

    `frame` holds the requested columns, in the requested order. `rows` are the physical lines at which the rows start (a
    CSV header is line 1; in Parquet the row's number, counted from 1). `blank` counts skipped blank lines.
    """

    frame: pl.DataFrame
    rows: npt.NDArray[np.int64]
    rejects: list[Reject]
    blank: int = 0
    file: str = ""
    differences: ColumnDifferences = NO_DIFFERENCES

    def columns(self, names: Sequence[str]) -> Mapping[str, Sequence[object]]:
        """Return the cells of the named columns; of those that are there."""
        return {name: self.frame[name].to_list() for name in names if name in self.frame.columns}


class RecordBatch(NamedTuple):
    """Records such as JSON objects, by column."""

    values: Mapping[str, Sequence[Scalar]]  # by requested key
    rows: Sequence[int]
    rejects: list[Reject]
    blank: int = 0
    typed: bool = False  # number columns hold floats and None only
    flat: bool = False  # the records hold no other keys, so nothing can be nested
    numbers: Collection[str] = ()  # the columns of numbers
    file: str = ""
    differences: ColumnDifferences = NO_DIFFERENCES

    @property
    def frame(self) -> pl.DataFrame:
        """The records as a table, exactly as a file with the same content is read; made at each access."""
        return pl.DataFrame([column(name, cells, self.numbers, typed=self.typed) for name, cells in self.values.items()])

    def columns(self, names: Sequence[str]) -> Mapping[str, Sequence[object]]:
        """Return the cells of the named columns; of those that are there."""
        return {name: self.values[name] for name in names if name in self.values}

    def select(self, positions: Sequence[int]) -> RecordBatch:
        """Return some of the records, and all rejects."""
        values = {key: [cells[position] for position in positions] for key, cells in self.values.items()}
        return self._replace(values=values, rows=[self.rows[position] for position in positions], flat=False)


class MatrixBatch(NamedTuple):
    """Rows that are encoded already: `float64[rows, columns]`, or windows of a series, `float64[windows, length, columns]`."""

    matrix: np.ndarray
    names: Sequence[str]  # of the columns
    rejects: list[Reject]
    file: str = ""
    differences: ColumnDifferences = NO_DIFFERENCES

    @property
    def rows(self) -> Rows:
        """The position of each row, or window."""
        return np.arange(len(self.matrix))

    @property
    def frame(self) -> pl.DataFrame:
        """The numbers as a table; of windows their newest rows."""
        newest = self.matrix if self.matrix.ndim == 2 else self.matrix[:, -1]  # noqa: PLR2004 - rows and columns
        return pl.DataFrame(newest, schema=list(self.names))

    def columns(self, names: Sequence[str]) -> Mapping[str, Sequence[object]]:
        """Return the cells of the named columns; of those that are there."""
        return {name: self.matrix[..., index].tolist() for index, name in enumerate(self.names) if name in names}


class ImageBatch(NamedTuple):
    """Decoded images: `uint8[images, values]`, and a table of `file`, `width` and `height` (before they were resized)."""

    matrix: np.ndarray
    frame: pl.DataFrame
    rows: npt.NDArray[np.int64]
    rejects: list[Reject]
    blank: int = 0
    file: str = ""
    differences: ColumnDifferences = NO_DIFFERENCES

    def columns(self, names: Sequence[str]) -> Mapping[str, Sequence[object]]:
        """Return nothing: pixels are not quoted."""
        del names
        return {}


def column(name: str, values: Sequence[Scalar], numbers: Collection[str], *, typed: bool) -> pl.Series:
    """Return a column of numbers where all values are numbers, else of text."""
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
