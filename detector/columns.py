"""What a column is, and how cells become numbers: a polars frame in, `float64[rows, columns]` and rejects out, and back.

A `Column` says how one column of the user's table enters the graph; `encode` applies all of them to a frame, whatever
file, request or stream it came from, and `as_frame` turns a matrix that a graph gave into cells. Next: `detector.cells`
parses one column, `detector.graph` takes the matrix.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.errors import TableError
from detector.rejects import Reject, shorten

Kind = Literal["number", "category", "boolean", "date"]

EXPECTED = {
    "number": "a number",
    "category": "a text",
    "boolean": "true or false",
    "date": "a date such as 2026-01-31 18:30:00",
}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column as the graph knows it.

    A category's code is its place in `vocabulary`; rare values share the code that follows the vocabulary, a value
    never seen in training has the code after that (`unseen`). `lowest` and `highest` are the training range of numbers
    (dates: epoch seconds).
    """

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    constant: bool = False
    missing_rate: float = 0.0
    lowest: float | None = None
    highest: float | None = None

    @property
    def codes(self) -> int:
        """How many codes training knows: the vocabulary, and one for all rare values together."""
        return len(self.vocabulary) + bool(self.rare)

    @property
    def unseen(self) -> int:
        """The code of a value that training never saw."""
        return self.codes

    def code_of(self, text: str) -> int:
        """Give the code of one category's text."""
        return self.coding.get(cells.category_text(text), self.unseen)

    @property
    def coding(self) -> dict[str, int]:
        """The code of every text that training saw."""
        seen = {text: code for code, text in enumerate(self.vocabulary)}
        return seen | dict.fromkeys(self.rare, len(self.vocabulary))

    def text_of(self, code: float) -> str:
        """Give the text of a code, for a person to read."""
        place = int(code)
        return self.vocabulary[place] if 0 <= place < len(self.vocabulary) else "a rare value"


class Encoded(NamedTuple):
    """A frame as the graph takes it."""

    matrix: np.ndarray  # float64[accepted rows, columns], NaN = missing
    accepted: np.ndarray  # bool[rows of the frame]
    rejects: list[Reject]
    infinite: int  # cells that spelt an infinity, now missing


def encode(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    rows: np.ndarray,
    *,
    file: str = "",
    missing: Iterable[str] = (),
) -> Encoded:
    """Turn the frame's cells into `float64[rows, columns]`.

    `rows` holds the number under which each row is known to the user; `missing` the extra words for a missing cell.
    A row with a cell that cannot be read is left out and rejected for its first such cell.

    Raises:
        TableError: the frame lacks a column.
    """
    require_columns(frame.columns, columns)
    words = cells.missing_words(missing)
    matrix = np.empty((frame.height, len(columns)))
    fault = np.full(frame.height, -1)
    infinite = 0
    for place, column in enumerate(columns):
        parsed = _parse(frame[column.name], column, words)
        matrix[:, place] = parsed.values
        infinite += parsed.infinite
        if parsed.bad is not None:
            fault[parsed.bad & (fault < 0)] = place
    accepted = fault < 0
    if accepted.all():
        return Encoded(matrix, accepted, [], infinite)
    rejects = [_reject(frame, columns[fault[at]], int(rows[at]), int(at), file) for at in np.flatnonzero(~accepted)]
    return Encoded(matrix[accepted], accepted, rejects, infinite)


def as_frame(matrix: np.ndarray, columns: Sequence[Column]) -> pl.DataFrame:
    """Turn `float64[rows, columns]` into cells that `encode` would read as the same: dates as ISO text, NaN as null."""
    return pl.DataFrame([_cells(matrix[:, place], column) for place, column in enumerate(columns)])


def require_columns(names: Sequence[str], columns: Iterable[Column]) -> None:
    """Check that a table has every column.

    Raises:
        TableError: one is missing; the message holds the nearest names and those that are there.
    """
    absent = [column.name for column in columns if column.name not in names]
    if not absent:
        return
    noun = "column" if len(absent) == 1 else "columns"
    raise TableError(
        f"the table lacks the {noun} {format_names(absent)}{suggest_names(absent, names)}; it has {format_names(names)}"
    )


def suggest_names(wanted: Iterable[str], names: Sequence[str]) -> str:
    """Name what may have been meant, as the tail of a message."""
    near = {name for word in wanted for name in difflib.get_close_matches(word, names, n=2)}
    return f" (near: {format_names(sorted(near))})" if near else ""


def format_names(names: Iterable[str], most: int = 20) -> str:
    """List names for a message, cut where nobody would read on."""
    named = [repr(name) for name in names]
    return ", ".join(named[:most]) + (f" and {len(named) - most} more" if len(named) > most else "")


def _parse(series: pl.Series, column: Column, words: frozenset[str]) -> cells.Parsed:
    """Parse one column by its kind."""
    match column.kind:
        case "number":
            return cells.numbers(series, words)
        case "date":
            return cells.dates(series, words)
        case "boolean":
            return cells.booleans(series, words)
        case "category":
            return cells.categories(series, words, column.coding, column.unseen)


def _cells(values: np.ndarray, column: Column) -> pl.Series:
    """Turn one column's numbers into cells; all rare values share a code, and the most frequent of them stands for it."""
    values = np.ascontiguousarray(values)
    absent = np.isnan(values)
    match column.kind:
        case "number":
            return pl.Series(column.name, values, nan_to_null=True)
        case "date":
            texts = cells.date_texts(np.round(values))
            return texts.zip_with(pl.Series(~absent), pl.Series([None], dtype=pl.String)).rename(column.name)
        case "boolean":
            return pl.Series(column.name, values, nan_to_null=True).cast(pl.Boolean)
        case "category":
            known = pl.Series([*column.vocabulary, *column.rare[:1]], dtype=pl.String)
            place = pl.Series(values, nan_to_null=True).cast(pl.Int64)
            return known.gather(place).rename(column.name)


def _reject(frame: pl.DataFrame, column: Column, row: int, at: int, file: str) -> Reject:
    """Describe the cell for which a row is rejected."""
    found = shorten(repr(frame[column.name][at]))
    return Reject(row=row, column=column.name, found=found, expected=EXPECTED[column.kind], file=file)
