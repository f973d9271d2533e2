"""Rows on their way to a detector: what every codec decodes to, and what every input encodes.

`rows` numbers the rows as their source does (the physical line of a CSV file, the position in a JSON body); `rejects` are
the rows that could not be decoded. A batch holds the other rows, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from detector.rejects import Reject

Scalar = str | int | float | bool | None


class TableBatch(NamedTuple):
    """Consecutive rows of a table.

    `frame` holds exactly the requested columns, in the requested order. `rows` are the physical lines at which the rows
    start (a CSV header is line 1; in Parquet the row's number, counted from 1). `blank` counts skipped blank lines.
    """

    frame: pl.DataFrame
    rows: npt.NDArray[np.int64]
    rejects: list[Reject]
    blank: int = 0


class RecordBatch(NamedTuple):
    """Records such as JSON objects, by column."""

    values: Mapping[str, Sequence[Scalar]]  # by requested key
    rows: Sequence[int]
    rejects: list[Reject]
    blank: int = 0
    typed: bool = False  # number columns hold floats and None only
    flat: bool = False  # the records hold no other keys, so nothing can be nested
