"""Reasons for many rows of a table at once, column by column. `row_reasons` gives the same texts for a few rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from detector import cells
from detector.columns import Column
from detector.graph import Outputs
from detector.reasons import (
    ANY_DATE,
    EXPECTED_DIGITS,
    FOUND_DIGITS,
    MISSING,
    POWERS,
    SCHEMA,
    is_reported,
    largest,
    ranking_shares,
    shares_of,
)
from detector.unseen import UnseenCategories


def rank(
    frame: pl.DataFrame, matrix: np.ndarray, outputs: Outputs, columns: Sequence[Column], extra: Sequence[str], top: int
) -> pl.DataFrame:
    """Return up to `top` reasons for each row, one per line, best first (`SCHEMA`; `at` is the row's position).

    `frame` and `matrix` hold the same rows. Terms that belong to no column (`extra`) have neither found nor expected.
    """
    shares = shares_of(outputs.contribution)
    categories = UnseenCategories(columns)
    ranking = ranking_shares(shares, categories.indices, categories.find(matrix), top)
    order = largest(ranking, top)
    at, ranks = np.nonzero(is_reported(np.take_along_axis(ranking, order, axis=1)))
    index = order[at, ranks]
    found, expected = _texts(_Cells(at, index, frame, matrix, outputs.expected), columns)
    return pl.DataFrame(
        {
            "at": at,
            "rank": ranks + 1,
            "column": pl.Series([*(column.name for column in columns), *extra]).gather(index),
            "found": found,
            "expected": expected,
            "share": shares[at, index],
        },
        schema=SCHEMA,
    )


class _Cells(NamedTuple):
    """The cells to describe, one per entry, and the table that holds them."""

    at: np.ndarray  # int[cells], the row's position
    column: np.ndarray  # int[cells]; indices after the last column are terms that belong to no column
    frame: pl.DataFrame
    matrix: np.ndarray
    expected: np.ndarray  # float64[rows, columns]

    def select(self, entries: np.ndarray) -> _Cells:
        return self._replace(at=self.at[entries], column=self.column[entries])


def _texts(described: _Cells, columns: Sequence[Column]) -> tuple[pl.Series, pl.Series]:
    """Return what each cell held and what was expected: all numbers at once, all dates at once, the rest by column."""
    terms = [""] * (int(described.column.max(initial=0)) + 1)
    kinds = np.array([*(column.kind for column in columns), *terms])[described.column]
    if len(kinds) and (kinds == "number").all():
        return _texts_of_kind(described, "number", columns)
    by_column = np.unique(described.column[np.isin(kinds, ("boolean", "category"))])
    groups = [np.flatnonzero(kinds == kind) for kind in ("number", "date", "")]
    groups += [np.flatnonzero(described.column == index) for index in by_column]
    texts = [_texts_of_kind(described.select(group), str(kinds[group[0]]), columns) for group in groups if len(group)]
    original_order = np.argsort(np.concatenate(groups))
    nothing = pl.Series(dtype=pl.String)
    found, expected = (pl.concat([nothing, *(pair[side] for pair in texts)]).gather(original_order) for side in (0, 1))
    return found, expected


def _texts_of_kind(described: _Cells, kind: str, columns: Sequence[Column]) -> tuple[pl.Series, pl.Series]:
    """Describe cells that are all numbers, all dates, all of one column, or of no column (kind "")."""
    if kind == "":
        nothing = pl.Series([None] * len(described.at), dtype=pl.String)
        return nothing, nothing
    values, usual = described.matrix[described.at, described.column], described.expected[described.at, described.column]
    if kind == "number":
        spread = np.array([(column.highest or 0.0) - (column.lowest or 0.0) for column in columns])[described.column]
        found = cells.number_texts(_rounded(values, spread, FOUND_DIGITS))
        expected = cells.number_texts(_rounded(usual, spread, EXPECTED_DIGITS))
    elif kind == "date":
        expected = cells.date_texts(np.round(usual / 60) * 60).zip_with(pl.Series(~np.isnan(usual)), pl.Series([ANY_DATE]))
        found = cells.date_texts(values)
    else:
        column = columns[described.column[0]]
        found = cells.texts(described.frame[column.name].gather(described.at)).str.replace(r"^([+-]?\d+)\.0+$", "$1")
        expected = pl.Series([column.text_of(code) for code in usual], dtype=pl.String)
        if column.kind == "category" and (unseen := values == column.unseen).any():
            found = (found + f", {column.unseen_note}").zip_with(pl.Series(unseen), found)
    missing = np.isnan(values)
    return found.zip_with(pl.Series(~missing), pl.Series([MISSING])) if missing.any() else found, expected


def _rounded(values: np.ndarray, spread: np.ndarray, digits: int) -> np.ndarray:
    """Round to significant digits of the value, or of the column's range (`spread`) where that is finer."""
    size = np.where(spread > 0, np.minimum(np.abs(values), spread), np.abs(values))
    decimals = digits + 12 - np.searchsorted(POWERS, size, side="right")
    factor = 10.0 ** np.clip(decimals, 0, 12)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.round(values * factor) / factor + 0.0  # turns -0.0 into 0.0
    return np.where(np.isfinite(rounded), rounded, values)
