"""Columns of a detector, and the conversion of a table to `float64[rows, columns]` and back.

A `Column` describes how one column of the user's table enters the graph. `encode` applies all of them to a table from any
source; `as_frame` converts a matrix that a graph returned to a table. `detector.cells` parses one column.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells, date_format
from detector.errors import TableError
from detector.number_format import NumberFormat
from detector.rejects import Reject, shorten

Kind = Literal["number", "category", "boolean", "date"]

NO_COLUMN = "no column of this model"  # what is found in a foreign record
EXPECTED = {
    "number": "a number",
    "category": "a text",
    "boolean": "true or false",
    "date": "a date such as 2026-01-31 18:30:00",
}
MAX_RARE = 10_000  # rare values that a column remembers
SHORTEST_START = 3  # characters of a name that may stand for all of it
FINITE = "a finite number (--missing inf reads an infinity as missing)"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the graph's input.

    A category's code is its index in `vocabulary`. All rare values share the code after the vocabulary, and a value never
    seen in training has the code after that (`unseen`). `lowest` and `highest` are the range of numbers in the training
    rows (dates: epoch seconds). `unit`, `thousands` and `decimal` say how its texts write numbers
    (`detector.number_format`), `date_format` how it writes dates (`detector.date_format`). `note` is what training says about
    a doubtful column. `bins` and `bin_rows` are the profile of its training cells (`detector.profile`): the edges between bins,
    and the rows in each; empty for dates, which move on, for pixels, and in bundles of release 0.1.
    """

    name: str
    kind: Kind
    vocabulary: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    constant: bool = False
    missing_rate: float = 0.0
    lowest: float | None = None
    highest: float | None = None
    unit: str = ""
    thousands: str = ""
    decimal: str = "."
    date_format: str = ""
    note: str = ""
    bins: tuple[float, ...] = ()
    bin_rows: tuple[int, ...] = ()

    @property
    def number_format(self) -> NumberFormat:
        """How its texts write numbers."""
        return NumberFormat(self.unit, self.thousands, self.decimal)

    @property
    def expected(self) -> str:
        """What its cells hold, for messages."""
        if self.kind == "number":
            return f"{EXPECTED['number']} {self.number_format.describe()}".strip()
        if self.kind == "date" and self.date_format:
            what = date_format.describe(self.date_format)
            return f"a date in {what}" if self.date_format in date_format.UNITS else f"a date {what}"
        return EXPECTED[self.kind]

    @property
    def codes(self) -> int:
        """The number of codes seen in training: the vocabulary, and one code for all rare values."""
        return len(self.vocabulary) + bool(self.rare)

    @property
    def unseen(self) -> int:
        """The code of a value never seen in training."""
        return self.codes

    @property
    def unseen_note(self) -> str:
        """What is said of such a value; of very many values training keeps only the most frequent."""
        return "never seen in training" if len(self.rare) < MAX_RARE else "not among the most frequent values of training"

    def code_of(self, text: str) -> int:
        """Return the code of a category."""
        return self.coding.get(cells.category_text(text), self.unseen)

    @property
    def coding(self) -> dict[str, int]:
        """The code of every category seen in training."""
        seen = {text: code for code, text in enumerate(self.vocabulary)}
        return seen | dict.fromkeys(self.rare, len(self.vocabulary))

    def text_of(self, code: float) -> str:
        """Return the category of a code, for display."""
        index = int(code)
        return self.vocabulary[index] if 0 <= index < len(self.vocabulary) else "a rare value"


class Encoded(NamedTuple):
    """A table as the graph takes it."""

    matrix: np.ndarray  # float64[accepted rows, columns], NaN = missing
    accepted: np.ndarray  # bool[rows of the frame]
    rejects: list[Reject]
    infinite: int  # cells with an infinity


def encode(
    frame: pl.DataFrame,
    columns: Sequence[Column],
    rows: np.ndarray,
    *,
    file: str = "",
    missing: Iterable[str] = (),
    finite: bool = False,
) -> Encoded:
    """Convert the cells of a table to `float64[rows, columns]`.

    `rows` are the row numbers to report in rejects; `missing` are additional words for a missing cell. A row with a cell
    that cannot be read is left out, and rejected for its first such cell; with `finite`, as for training, an infinity cannot.

    Raises:
        TableError: the table lacks a column.
    """
    require_columns(frame.columns, columns)
    words = cells.missing_words(missing)
    matrix = np.empty((frame.height, len(columns)))
    first_bad = np.full(frame.height, -1)  # the index of each row's first column that cannot be read
    infinite = 0
    for index, column in enumerate(columns):
        series = frame[column.name]
        parsed = parse(series, column, words)
        matrix[:, index] = parsed.values
        infinite += parsed.infinite
        beyond = np.isinf(parsed.values) if finite and parsed.infinite else None
        for bad in (parsed.bad, cells.not_text(series), beyond):
            if bad is not None:
                first_bad[bad & (first_bad < 0)] = index
    accepted = first_bad < 0
    if accepted.all():
        return Encoded(matrix, accepted, [], infinite)
    rejects = [_reject(frame, columns[first_bad[at]], int(rows[at]), int(at), file) for at in np.flatnonzero(~accepted)]
    return Encoded(matrix[accepted], accepted, rejects, infinite)


def as_frame(matrix: np.ndarray, columns: Sequence[Column]) -> pl.DataFrame:
    """Convert `float64[rows, columns]` to a table that `encode` converts back: dates as ISO text, NaN as null."""
    return pl.DataFrame([_cells(matrix[:, index], column) for index, column in enumerate(columns)])


def require_columns(names: Sequence[str], columns: Iterable[Column]) -> None:
    """Raise unless a table has all columns.

    Raises:
        TableError: a column is missing; the message suggests similar names and lists the table's columns.
    """
    absent = [column.name for column in columns if column.name not in names]
    if not absent:
        return
    noun = "column" if len(absent) == 1 else "columns"
    raise TableError(
        f"the table lacks the {noun} {format_names(absent)}{suggest_names(absent, names)}; it has {format_names(names)}"
    )


def foreign_record(row: int, keys: Sequence[str], wanted: Iterable[str], file: str = "", advice: str = "") -> Reject:
    """Return the reject of a record that has no column of the model, so that it is no row of it; `advice` says what it is."""
    found = f"{NO_COLUMN}, but {format_names(keys)}" if keys else NO_COLUMN
    return Reject(row, "", shorten(found), f"at least one of {format_names(wanted)}{advice and f'; {advice}'}", file)


def is_foreign(reject: Reject) -> bool:
    """Return whether a reject is of a record without any column of the model."""
    return reject.found.startswith(NO_COLUMN)


def suggest_names(wanted: Iterable[str], names: Sequence[str]) -> str:
    """Return similar names as a suffix of a message; empty if there are none."""
    similar = {name for word in wanted for name in similar_names(word, names)}
    return f" (near: {format_names(sorted(similar))})" if similar else ""


def similar_names(word: str, names: Sequence[str], count: int = 2) -> list[str]:
    """Return the names that a word may stand for: misspelt, in another case, the start of one, or one with an ending."""
    lower = {name: name.lower() for name in names}
    start = word.lower()
    near = difflib.get_close_matches(start, lower.values(), n=count)
    found = [name for name, text in lower.items() if text in near]
    if len(start) >= SHORTEST_START:
        found += [
            name
            for name, text in lower.items()
            if text.startswith(start) or (len(text) >= SHORTEST_START and start.startswith(text))
        ]
    return list(dict.fromkeys(found))[:count]


def format_names(names: Iterable[str], max_names: int = 20) -> str:
    """Return quoted names for a message, the first `max_names` of them."""
    quoted = [repr(name) for name in names]
    return ", ".join(quoted[:max_names]) + (f" and {len(quoted) - max_names} more" if len(quoted) > max_names else "")


def parse(series: pl.Series, column: Column, words: frozenset[str]) -> cells.Parsed:
    """Parse the cells of a column as it is written."""
    match column.kind:
        case "number":
            return cells.numbers(series, words, column.number_format)
        case "date":
            return cells.dates(series, words, column.date_format)
        case "boolean":
            return cells.booleans(series, words)
        case "category":
            return cells.categories(series, words, column.coding, column.unseen)


def _cells(values: np.ndarray, column: Column) -> pl.Series:
    """Convert one column's numbers to cells; the code of rare values becomes the most frequent rare value."""
    values = np.ascontiguousarray(values)
    missing = np.isnan(values)
    match column.kind:
        case "number":
            return pl.Series(column.name, values, nan_to_null=True)
        case "date":
            texts = cells.date_texts(np.round(values))
            return texts.zip_with(pl.Series(~missing), pl.Series([None], dtype=pl.String)).rename(column.name)
        case "boolean":
            return pl.Series(column.name, values, nan_to_null=True).cast(pl.Boolean)
        case "category":
            categories = pl.Series([*column.vocabulary, *column.rare[:1]], dtype=pl.String)
            codes = pl.Series(values, nan_to_null=True).cast(pl.Int64)
            return categories.gather(codes).rename(column.name)


def _reject(frame: pl.DataFrame, column: Column, row: int, at: int, file: str) -> Reject:
    series, expected = frame[column.name], column.expected
    if (undecoded := cells.not_text(series[at : at + 1])) is not None and undecoded[0]:
        expected = "UTF-8"
    elif column.kind == "number" and cells.numbers(series[at : at + 1]).infinite:
        expected = FINITE
    return Reject(row=row, column=column.name, found=shorten(found_text(series, at)), expected=expected, file=file)


def found_text(series: pl.Series, at: int) -> str:
    """Return a cell as a reject shows it: lists and structs as JSON."""
    try:
        cell = series[at]
    except pl.exceptions.PanicException:  # Python has no such date
        return str(series[at : at + 1].to_physical()[0])
    if isinstance(cell, pl.Series | list | dict):
        return cells.cell_text(cell)
    return repr(cells.cell_text(cell) if isinstance(cell, bytes) and cells.is_utf8(cell) else cell)
