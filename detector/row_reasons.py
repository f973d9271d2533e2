"""Reasons for a few records, one by one: the same texts as `column_reasons`, without making a table.

Making polars columns for three reasons takes longer than scoring a hundred rows. Tests hold both against each other.
"""

from __future__ import annotations

import bisect
import datetime as dt
import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from detector import cells
from detector.batch import Scalar, as_text
from detector.columns import Column
from detector.graph import Outputs
from detector.reasons import (
    ANY_DATE,
    EXPECTED_DIGITS,
    FOUND_DIGITS,
    MISSING,
    POWERS,
    Reason,
    is_reported,
    largest,
    ranking_shares,
    shares_of,
)
from detector.unseen import UnseenCategories

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - epoch seconds are UTC and are written without an offset
MAX_DECIMALS = 12
FACTORS = [10.0**decimals for decimals in range(MAX_DECIMALS + 1)]
MINUTE = 60

CellOf = Callable[[int, int], Scalar]  # row and column -> the cell as it was received


class RowExplainer:
    """Explains rows of one detector."""

    def __init__(self, columns: Sequence[Column], extra: Sequence[str]) -> None:
        """Explain rows of these columns; `extra` names the terms that belong to no column."""
        self._columns = columns
        self._extra = extra
        self._categories = UnseenCategories(columns)
        self._spreads = [(column.highest or 0.0) - (column.lowest or 0.0) for column in columns]

    def explain(self, matrix: np.ndarray, outputs: Outputs, top: int, cell_of: CellOf) -> list[list[Reason]]:
        """Return up to `top` reasons for each row of `float64[rows, columns]`, best first; `cell_of` returns cells to quote."""
        shares = shares_of(outputs.contribution)
        ranking, categories = shares, self._categories
        if categories.indices:
            ranking = ranking_shares(shares, categories.indices, categories.find(matrix), top)
        order, rows = largest(ranking, top), np.arange(len(shares))[:, None]
        best = shares[rows, order]
        counts = is_reported(ranking[rows, order]).sum(axis=1).tolist()
        return [
            [
                self._reason(index, share, matrix[row], outputs.expected[row], partial(cell_of, row))
                for index, share in zip(indices[:count], row_shares[:count], strict=True)
            ]
            for row, (indices, row_shares, count) in enumerate(zip(order.tolist(), best.tolist(), counts, strict=True))
        ]

    def _reason(
        self, index: int, share: float, row: np.ndarray, expected: np.ndarray, cell_of: Callable[[int], Scalar]
    ) -> Reason:
        if index >= len(self._columns):
            return Reason(self._extra[index - len(self._columns)], None, None, share)
        column = self._columns[index]
        found, usual = float(row[index]), float(expected[index])
        text_of: Callable[[float], str]
        match column.kind:
            case "number":
                text_of, spread = _number_text, self._spreads[index]
                found, usual = rounded(found, spread, FOUND_DIGITS), rounded(usual, spread, EXPECTED_DIGITS)
                expected_text = _number_text(usual)
            case "date":
                text_of = _date_text
                expected_text = ANY_DATE if math.isnan(usual) else _date_text(float(np.round(usual / MINUTE)) * MINUTE)
            case _:
                note = f", {column.unseen_note}" if column.kind == "category" and found == column.unseen else ""
                text_of = lambda _: cells.category_text(as_text(cell_of(index)) or "") + note  # noqa: E731 - one of three
                expected_text = column.text_of(usual)
        return Reason(column.name, MISSING if math.isnan(found) else text_of(found), expected_text, share)


def rounded(value: float, spread: float, digits: int) -> float:
    """Round to significant digits of the value, or of the column's range (`spread`) where that is finer."""
    size = min(abs(value), spread) if spread > 0 else abs(value)
    decimals = digits - bisect.bisect_right(POWERS, size) + MAX_DECIMALS
    factor = FACTORS[min(max(decimals, 0), MAX_DECIMALS)]
    scaled = value * factor
    return round(scaled) / factor if math.isfinite(scaled) else value


def _number_text(value: float) -> str:
    """Write a number as `cells.number_texts` does."""
    if value == 0 or 1e-4 <= abs(value) < 1e15:  # noqa: PLR2004 - Python and polars agree in this range
        return repr(value).removesuffix(".0")
    return str(cells.number_texts(np.array([value]))[0])


def _date_text(seconds: float) -> str:
    """Write epoch seconds as `cells.date_texts` does."""
    try:
        return (EPOCH + dt.timedelta(microseconds=int(seconds * 1e6))).isoformat(" ", "seconds")
    except (OverflowError, ValueError):
        return str(cells.date_texts(np.array([seconds]))[0])
