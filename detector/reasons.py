"""Why a row was flagged: the columns with the largest share of its score, in the user's own units.

A contribution keeps its sign and a row's contributions sum to its score; the *share* that a reason states is the
positive part of a contribution over the sum of positive parts, so shares lie between 0 and 1. A row's first reason is
always told, another one only if its share does not read as 0 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from detector import cells
from detector.columns import Column
from detector.graph import Outputs

Explain = Literal["anomalies", "all", "none"]

MISSING = "missing"
SOME_DATE = "a date"  # where there is no date to be near to
SCHEMA = {
    "at": pl.Int64,
    "rank": pl.Int64,
    "column": pl.String,
    "found": pl.String,
    "expected": pl.String,
    "share": pl.Float64,
}
FOUND_DIGITS = 6  # significant digits of a number that was found ...
EXPECTED_DIGITS = 3  # ... and of one that was expected
TINY = float(np.finfo(float).tiny)
POWERS = tuple(float(f"1e{power}") for power in range(-12, 18))


def rank(
    frame: pl.DataFrame, matrix: np.ndarray, outputs: Outputs, columns: Sequence[Column], extra: Sequence[str], top: int
) -> pl.DataFrame:
    """Give up to `top` reasons for each row, one a line, best first (`SCHEMA`; `at` is the row's position).

    `frame` and `matrix` hold the same rows; terms that belong to no column (`extra`) have nothing found or expected.
    """
    shares = shares_of(outputs.contribution)
    order = largest(shares, top)
    at, ranks = np.nonzero(worth_telling(np.take_along_axis(shares, order, axis=1)))
    place = order[at, ranks]
    found, expected = _in_words(_Cells(at, place, frame, matrix, outputs.expected), columns)
    return pl.DataFrame(
        {
            "at": at,
            "rank": ranks + 1,
            "column": pl.Series([*(column.name for column in columns), *extra]).gather(place),
            "found": found,
            "expected": expected,
            "share": shares[at, place],
        },
        schema=SCHEMA,
    )


def as_texts(reasons: pl.DataFrame, rows: int, top: int) -> list[pl.Series]:
    """Give the series `reason_1` to `reason_<top>`, null where a row has none."""
    percent = (pl.col("share") * 100).round().cast(pl.Int64)
    cell = pl.format("{} = {} (expected {}, {} % of the score)", "column", "found", "expected", percent)
    term = pl.format("{} ({} % of the score)", "column", percent)
    said = reasons.select(pl.coalesce(cell, term)).to_series()
    at, ranks = reasons["at"].to_numpy(), reasons["rank"].to_numpy()
    groups = [(f"reason_{place}", np.flatnonzero(ranks == place)) for place in range(1, top + 1)]
    return [_spread(said.gather(some), at[some], rows, name) for name, some in groups]


def as_structs(reasons: pl.DataFrame, rows: int) -> pl.Series:
    """Give the series `reasons`: for each row a list of structs (column, found, expected, share)."""
    struct = pl.struct("column", "found", "expected", "share").alias("reasons")
    grouped = reasons.group_by("at", maintain_order=True).agg(struct)
    every = pl.DataFrame({"at": np.arange(rows)}).join(grouped, on="at", how="left", maintain_order="left")
    return every["reasons"]


def shares_of(contribution: np.ndarray) -> np.ndarray:
    """Give each contribution's share of its row's score, `float64[rows, terms]`."""
    positive = np.maximum(contribution, 0.0)
    shares: np.ndarray = positive / np.maximum(positive.sum(axis=1, keepdims=True), TINY)
    return shares


def largest(shares: np.ndarray, top: int) -> np.ndarray:
    """Give the places of each row's largest shares, `int[rows, top]`, largest first."""
    top = min(top, shares.shape[1])
    rows = np.arange(len(shares))[:, None]
    some = np.argpartition(-shares, top - 1, axis=1)[:, :top]
    within = np.argsort(-shares[rows, some], axis=1, kind="stable")
    places: np.ndarray = some[rows, within]
    return places


def worth_telling(shares: np.ndarray) -> np.ndarray:
    """Tell which of each row's shares, largest first, are worth a reason: the first, and those that round to 1 % or more."""
    worth: np.ndarray = np.round(100 * shares) > 0
    worth[:, :1] = shares[:, :1] > 0
    return worth


class _Cells(NamedTuple):
    """The cells to tell of, one an entry, and the table that they stand in."""

    at: np.ndarray  # int[cells], the row's position
    place: np.ndarray  # int[cells], the column's; behind the last one stand the terms that belong to no column
    frame: pl.DataFrame
    matrix: np.ndarray
    expected: np.ndarray  # float64[rows, columns]

    def only(self, some: np.ndarray) -> _Cells:
        """Give some of the cells."""
        return self._replace(at=self.at[some], place=self.place[some])


def _in_words(told: _Cells, columns: Sequence[Column]) -> tuple[pl.Series, pl.Series]:
    """Tell what stood in each cell and what was expected: all numbers at once, all dates at once, else by column."""
    terms = [""] * (int(told.place.max(initial=0)) + 1)
    kinds = np.array([*(column.kind for column in columns), *terms])[told.place]
    if len(kinds) and (kinds == "number").all():
        return _words(told, "number", columns)
    by_column = np.unique(told.place[np.isin(kinds, ("boolean", "category"))])
    groups = [np.flatnonzero(kinds == kind) for kind in ("number", "date", "")]
    groups += [np.flatnonzero(told.place == place) for place in by_column]
    words = [_words(told.only(group), str(kinds[group[0]]), columns) for group in groups if len(group)]
    back = np.argsort(np.concatenate(groups))
    nothing = pl.Series(dtype=pl.String)
    found, expected = (pl.concat([nothing, *(pair[side] for pair in words)]).gather(back) for side in (0, 1))
    return found, expected


def _words(told: _Cells, kind: str, columns: Sequence[Column]) -> tuple[pl.Series, pl.Series]:
    """Tell of cells that are all numbers, all dates, all of one column, or of none."""
    if kind == "":
        nothing = pl.Series([None] * len(told.at), dtype=pl.String)
        return nothing, nothing
    values, expected = told.matrix[told.at, told.place], told.expected[told.at, told.place]
    if kind == "number":
        spread = np.array([(column.highest or 0.0) - (column.lowest or 0.0) for column in columns])[told.place]
        found = cells.number_texts(_rounded(values, spread, FOUND_DIGITS))
        usual = cells.number_texts(_rounded(expected, spread, EXPECTED_DIGITS))
    elif kind == "date":
        usual = cells.date_texts(np.round(expected / 60) * 60).zip_with(pl.Series(~np.isnan(expected)), pl.Series([SOME_DATE]))
        found = cells.date_texts(values)
    else:
        column = columns[told.place[0]]
        found = cells.texts(told.frame[column.name].gather(told.at)).str.replace(r"^([+-]?\d+)\.0+$", "$1")
        usual = pl.Series([column.text_of(code) for code in expected], dtype=pl.String)
    missing = np.isnan(values)
    return found.zip_with(pl.Series(~missing), pl.Series([MISSING])) if missing.any() else found, usual


def _rounded(values: np.ndarray, spread: np.ndarray, digits: int) -> np.ndarray:
    """Round to so many significant digits of the value, or of the column's range (`spread`) where that is finer."""
    size = np.where(spread > 0, np.minimum(np.abs(values), spread), np.abs(values))
    decimals = digits + 12 - np.searchsorted(POWERS, size, side="right")
    factor = 10.0 ** np.clip(decimals, 0, 12)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = np.round(values * factor) / factor + 0.0  # no minus before a nought
    return np.where(np.isfinite(rounded), rounded, values)


def _spread(texts: pl.Series, at: np.ndarray, rows: int, name: str) -> pl.Series:
    """Put texts at their rows."""
    return pl.Series(name, [None], dtype=pl.String).new_from_index(0, rows).scatter(at, texts)
