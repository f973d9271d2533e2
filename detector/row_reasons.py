"""Reasons for a few rows, one object each: the same words as `detector.reasons`, without a table.

Making polars columns of three reasons takes longer than scoring a hundred rows; so where rows come few at a time, their
reasons are told here. `detector.reasons` is for tables, and both are tested against each other.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import numpy as np

from detector import cells
from detector.batch import Scalar
from detector.columns import Column
from detector.files.ndjson import as_text
from detector.graph import Outputs
from detector.reasons import EXPECTED_DIGITS, FOUND_DIGITS, MISSING, POWERS, SOME_DATE, largest, shares_of, worth_telling

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - epoch seconds are in UTC, and are written without saying so
MOST_DECIMALS = 12
FACTORS = [10.0**decimals for decimals in range(MOST_DECIMALS + 1)]
MINUTE = 60

CellOf = Callable[[int, int], Scalar]  # row and column -> the cell as it came


class Reason(msgspec.Struct, frozen=True, gc=False):
    """A column to blame; a term that belongs to no column has nothing found or expected."""

    column: str
    found: str | None
    expected: str | None
    share: float


class Teller:
    """Tells reasons of one detector's rows."""

    def __init__(self, columns: Sequence[Column], extra: Sequence[str]) -> None:
        """Take the detector's columns, and the terms that belong to none."""
        self._columns = columns
        self._extra = extra
        self._spreads = [(column.highest or 0.0) - (column.lowest or 0.0) for column in columns]

    def tell(self, matrix: np.ndarray, outputs: Outputs, top: int, cell_of: CellOf) -> list[list[Reason]]:
        """Give up to `top` reasons for each row of `float64[rows, columns]`, best first; `cell_of` gives cells to quote."""
        shares = shares_of(outputs.contribution)
        order = largest(shares, top)
        best = shares[np.arange(len(shares))[:, None], order]
        told = worth_telling(best).sum(axis=1).tolist()
        return [
            [
                self._reason(place, share, matrix[row], outputs.expected[row], partial(cell_of, row))
                for place, share in zip(places[:few], some[:few], strict=True)
            ]
            for row, (places, some, few) in enumerate(zip(order.tolist(), best.tolist(), told, strict=True))
        ]

    def _reason(
        self, place: int, share: float, row: np.ndarray, expected: np.ndarray, cell_of: Callable[[int], Scalar]
    ) -> Reason:
        """Tell one reason."""
        if place >= len(self._columns):
            return Reason(self._extra[place - len(self._columns)], None, None, share)
        column = self._columns[place]
        found, usual = float(row[place]), float(expected[place])
        read: Callable[[float], str]
        match column.kind:
            case "number":
                read, spread = _number, self._spreads[place]
                found, usual = rounded(found, spread, FOUND_DIGITS), rounded(usual, spread, EXPECTED_DIGITS)
                words = _number(usual)
            case "date":
                read, words = _date, SOME_DATE if math.isnan(usual) else _date(float(np.round(usual / MINUTE)) * MINUTE)
            case _:
                read, words = lambda _: cells.category_text(as_text(cell_of(place)) or ""), column.text_of(usual)
        return Reason(column.name, MISSING if math.isnan(found) else read(found), words, share)


def rounded(value: float, spread: float, digits: int) -> float:
    """Round to so many significant digits of the value, or of the column's range where that is finer."""
    size = min(abs(value), spread) if spread > 0 else abs(value)
    decimals = digits - bisect.bisect_right(POWERS, size) + MOST_DECIMALS
    factor = FACTORS[min(max(decimals, 0), MOST_DECIMALS)]
    scaled = value * factor
    return round(scaled) / factor if math.isfinite(scaled) else value


def _number(value: float) -> str:
    """Write a number as `cells.number_texts` does."""
    if value == 0 or 1e-4 <= abs(value) < 1e15:  # noqa: PLR2004 - Python and polars write these alike
        return repr(value).removesuffix(".0")
    return str(cells.number_texts(np.array([value]))[0])


def _date(seconds: float) -> str:
    """Write epoch seconds as `cells.date_texts` does."""
    try:
        return (EPOCH + dt.timedelta(microseconds=int(seconds * 1e6))).isoformat(" ", "seconds")
    except (OverflowError, ValueError):
        return str(cells.date_texts(np.array([seconds]))[0])
