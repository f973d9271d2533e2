"""Why a row was flagged: the columns with the largest share of its score, in the user's own units.

A contribution keeps its sign and a row's contributions sum to its score. The *share* that a reason states is the positive
part of a contribution over the sum of positive parts, so shares lie between 0 and 1. A row's first reason is always
reported, a further one only if its share rounds to 1 % or more, or if its value is a category never seen in training.

`column_reasons` explains rows of a table column by column, `row_reasons` a few records one by one, `image_reasons` images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec
import numpy as np
import polars as pl

Explain = Literal["anomalies", "all", "none"]

MISSING = "missing"
ANY_DATE = "a date"  # expected, where training saw no date to compare with
SCHEMA = {
    "at": pl.Int64,
    "rank": pl.Int64,
    "column": pl.String,
    "found": pl.String,
    "expected": pl.String,
    "share": pl.Float64,
}
STRUCT = pl.Struct({name: SCHEMA[name] for name in ("column", "found", "expected", "share")})
FOUND_DIGITS = 6  # significant digits of a number that was found ...
EXPECTED_DIGITS = 3  # ... and of one that was expected
REPORTED = 0.00501  # the least share that rounds to 1 %
TINY = float(np.finfo(float).tiny)
POWERS = tuple(float(f"1e{power}") for power in range(-12, 18))


class Reason(msgspec.Struct, frozen=True, gc=False):
    """A column to blame; a term of the score that belongs to no column has neither found nor expected."""

    column: str
    found: str | None
    expected: str | None
    share: float


class Reasons(Protocol):
    """The reasons of some rows; a row is known by its position among the accepted rows of its batch."""

    def __len__(self) -> int:
        """Return the number of rows that have reasons, or of reasons; 0 if there are none."""

    def by_row(self) -> Mapping[int, Sequence[Reason]]:
        """Return the reasons of each row that has any, the largest share first."""

    def table(self) -> pl.DataFrame:
        """Return one line per reason (`SCHEMA`)."""


class ReasonTable:
    """Reasons that were made column by column."""

    def __init__(self, frame: pl.DataFrame) -> None:
        """Wrap a table of `SCHEMA`."""
        self._frame = frame

    def __len__(self) -> int:
        """Return the number of reasons."""
        return self._frame.height

    def by_row(self) -> dict[int, list[Reason]]:
        """Return the reasons of each row that has any."""
        reasons: dict[int, list[Reason]] = {}
        columns = (self._frame[name].to_list() for name in ("at", "column", "found", "expected", "share"))
        for at, *fields in zip(*columns, strict=True):
            reasons.setdefault(at, []).append(Reason(*fields))
        return reasons

    def table(self) -> pl.DataFrame:
        """Return one line per reason."""
        return self._frame


class ReasonLists:
    """Reasons that were made row by row."""

    def __init__(self, by_row: Mapping[int, Sequence[Reason]]) -> None:
        """Wrap the reasons of each row."""
        self._by_row = by_row

    def __len__(self) -> int:
        """Return the number of rows that have reasons."""
        return len(self._by_row)

    def by_row(self) -> Mapping[int, Sequence[Reason]]:
        """Return the reasons of each row that has any."""
        return self._by_row

    def table(self) -> pl.DataFrame:
        """Return one line per reason."""
        lines = [
            (at, rank, reason.column, reason.found, reason.expected, reason.share)
            for at, reasons in self._by_row.items()
            for rank, reason in enumerate(reasons, 1)
        ]
        return pl.DataFrame(lines, schema=SCHEMA, orient="row")


NO_REASONS = ReasonLists({})


def as_texts(reasons: pl.DataFrame, rows: int, top: int) -> list[pl.Series]:
    """Return the series `reason_1` to `reason_<top>`, null where a row has no such reason."""
    percent = (pl.col("share") * 100).round().cast(pl.Int64)
    of_column = pl.format("{} = {} (expected {}, {} % of the score)", "column", "found", "expected", percent)
    of_term = pl.format("{} ({} % of the score)", "column", percent)
    texts = reasons.select(pl.coalesce(of_column, of_term)).to_series()
    at, ranks = reasons["at"].to_numpy(), reasons["rank"].to_numpy()
    by_rank = [(f"reason_{rank}", np.flatnonzero(ranks == rank)) for rank in range(1, top + 1)]
    return [_scatter(texts.gather(lines), at[lines], rows, name) for name, lines in by_rank]


def as_structs(reasons: pl.DataFrame, rows: int) -> pl.Series:
    """Return the series `reasons`: for each row a list of structs (column, found, expected, share)."""
    struct = pl.struct("column", "found", "expected", "share").alias("reasons")
    grouped = reasons.group_by("at", maintain_order=True).agg(struct)
    every = pl.DataFrame({"at": np.arange(rows)}).join(grouped, on="at", how="left", maintain_order="left")
    return every["reasons"]


def shares_of(contribution: np.ndarray) -> np.ndarray:
    """Return each contribution's share of its row's score, `float64[rows, terms]`."""
    positive = np.maximum(contribution, 0.0)
    shares: np.ndarray = positive / np.maximum(positive.sum(axis=1, keepdims=True), TINY)
    return shares


def largest(shares: np.ndarray, top: int) -> np.ndarray:
    """Return the indices of each row's largest shares, `int[rows, top]`, largest first."""
    top = min(top, shares.shape[1])
    rows = np.arange(len(shares))[:, None]
    candidates = np.argpartition(-shares, top - 1, axis=1)[:, :top]
    order = np.argsort(-shares[rows, candidates], axis=1, kind="stable")
    indices: np.ndarray = candidates[rows, order]
    return indices


def ranking_shares(shares: np.ndarray, columns: Sequence[int], is_unseen: np.ndarray, top: int) -> np.ndarray:
    """Return the shares to rank reasons by: a value that training never saw is among the `top` ones, however small its share.

    `columns` are the indices of the categories, `is_unseen` `bool[rows, categories]`.
    """
    found = shares[:, columns]
    is_raised = is_unseen & (found > 0)
    if not is_raised.any():
        return shares
    last = np.take_along_axis(shares, largest(shares, top)[:, -1:], axis=1)
    ranking = shares.copy()
    least = np.maximum(np.nextafter(last, 1.0), REPORTED)
    ranking[:, columns] = np.where(is_raised, np.maximum(found, least), found)
    return ranking


def is_reported(shares: np.ndarray) -> np.ndarray:
    """Return which shares of each row, sorted in descending order, become a reason: the first, and those of 1 % or more."""
    reported: np.ndarray = np.round(100 * shares) > 0
    reported[:, :1] = shares[:, :1] > 0
    return reported


def _scatter(texts: pl.Series, at: np.ndarray, rows: int, name: str) -> pl.Series:
    return pl.Series(name, [None], dtype=pl.String).new_from_index(0, rows).scatter(at, texts)
