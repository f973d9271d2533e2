"""Dates in whose order the rows of a table stand: rows that are scored later will have later dates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detector.columns import Column
from detector.manifest import IgnoredColumn
from training.date_formats import MIN_ROWS

IN_ORDER = 0.99  # of the steps from row to row; files that were appended have a step back
WEEK = 7 * 86_400.0  # seconds


class OrderingDates(NamedTuple):
    """The columns that remain, those that are left out, and the name of the first date that orders the rows; "" if none does."""

    columns: list[Column]
    ignored: list[IgnoredColumn]
    time: str = ""


def find_ordering_dates(columns: Sequence[Column], matrix: np.ndarray, kept: Sequence[str]) -> OrderingDates:
    """Find the dates that order the rows, `float64[rows, columns]`, and leave those out that cover less than a week.

    A detector learns the time of day and of week of a date. In less than a week some are absent, and so later rows would all
    look unusual. Columns in `kept`, which the user named as dates, stay.
    """
    ordering = [column for index, column in enumerate(columns) if column.kind == "date" and _orders(matrix[:, index])]
    spans = {column.name: float(np.ptp(_present(matrix[:, columns.index(column)]))) for column in ordering}
    short = {name for name, span in spans.items() if span < WEEK and name not in kept}
    if len(short) == len(columns):
        short = set()
    reason = "orders the rows and covers less than a week: all later rows would look unusual; --date keeps it"
    return OrderingDates(
        [column for column in columns if column.name not in short],
        [IgnoredColumn(name, reason) for name in spans if name in short],
        ordering[0].name if ordering else "",
    )


def _orders(values: np.ndarray) -> bool:
    present = _present(values)
    steps = np.diff(present)
    in_order = len(steps) > 0 and max(np.mean(steps >= 0), np.mean(steps <= 0)) >= IN_ORDER
    return bool(in_order) and len(np.unique(present)) >= MIN_ROWS


def _present(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = values[np.isfinite(values)]
    return found
