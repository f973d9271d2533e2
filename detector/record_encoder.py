"""Records such as JSON objects straight to `float64[rows, columns]`: the fast path for a few rows.

Making polars columns of one row takes many times as long as scoring it. So plain cells (numbers as numbers, known texts,
dates written in full) are encoded here, by the rules of `detector.cells`; a batch with any other cell is left to
`columns.encode`, which alone rejects and counts.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from detector import cells
from detector.batch import Scalar, as_text
from detector.columns import Column
from detector.files.json_lines import Records
from detector.windows import Window

EPOCH, MICROSECOND = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.timedelta(microseconds=1)
MAX_KNOWN = 10_000  # texts whose code a column remembers
PLAIN_DATE = re.compile(r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}")
PLAIN_TIME = re.compile(PLAIN_DATE.pattern + r"(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})?")

Read = Callable[[Scalar], float]  # raises `NotPlain`


class NotPlain(Exception):
    """Raised where a cell needs the full parser."""


class RecordEncoder:
    """Encodes records for one detector."""

    def __init__(self, columns: Sequence[Column], missing: Iterable[str]) -> None:
        """Encode for these columns; `missing` holds further words for a missing cell."""
        words = cells.missing_words(missing)
        self._sentinels = cells.sentinels(words)
        self._names = tuple(column.name for column in columns)
        self.all_numbers = all(column.kind == "number" for column in columns)
        self._readers = [(column.name, column.kind == "number", _reader(column, words)) for column in columns]

    def encode(self, values: Mapping[str, Sequence[Scalar]], *, typed: bool = False) -> np.ndarray | None:
        """Return the cells of every column as `float64[rows, columns]`; None if a cell is not plain.

        `typed`: number columns hold floats and None only.
        """
        is_typed = typed and not self._sentinels
        if is_typed and type(values) is Records and values.is_numeric and values.wanted == self._names:
            return values.floats()
        columns = []
        try:
            for name, is_number, read in self._readers:
                given = values[name]
                columns.append(given if is_typed and is_number else [read(cell) for cell in given])
        except NotPlain:
            return None
        return np.ascontiguousarray(np.array(columns, dtype=np.float64).T)


class TimeKeyEncoder:
    """Encodes the time and the key of a series' records."""

    def __init__(self, window: Window, missing: Iterable[str]) -> None:
        """Encode for these windows; `missing` holds further words for a missing cell."""
        self._window = window
        self._words = cells.missing_words(missing)
        self._number = _number(cells.sentinels(self._words))

    def encode(self, values: Mapping[str, Sequence[Scalar]], only: str | None = None) -> tuple[list[str], np.ndarray] | None:
        """Return the key and the time, `float64[rows]`, of each row; None if one is not plain, or has another key than `only`."""
        times = values[self._window.time]
        try:
            keys = [""] * len(times) if self._window.key is None else [self._key(cell, only) for cell in values[self._window.key]]
            return keys, np.array([self._time(cell) for cell in times], dtype=np.float64)
        except NotPlain:
            return None

    def _key(self, cell: Scalar, only: str | None) -> str:
        text = cell if type(cell) is str else as_text(cell)
        key = only if text is None else cells.category_text(text)
        if key is None or (only is not None and key != only) or (text is not None and key.lower() in self._words):
            raise NotPlain
        return key

    def _time(self, cell: Scalar) -> float:
        if isinstance(cell, str) == (self._window.time_format == cells.NUMBERS):
            raise NotPlain
        if isinstance(cell, str):
            if not PLAIN_TIME.fullmatch(cell):
                raise NotPlain
            try:
                instant = dt.datetime.fromisoformat(cell)
                since = (instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)) - EPOCH
                return float(since // MICROSECOND) / 1e6  # rounded where `cells` rounds
            except (ValueError, OverflowError):
                raise NotPlain from None
        time = self._number(cell)
        if math.isnan(time):
            raise NotPlain
        return time


def _reader(column: Column, words: frozenset[str]) -> Read:
    """Return what reads a column's cells."""
    match column.kind:
        case "number":
            return _number(cells.sentinels(words))
        case "date":
            return _date
        case "boolean":
            return _TextReader(cells.number_words(words), lambda text: cells.BOOLEANS.get(text.lower()))
        case "category":
            coding, unseen = column.coding, column.unseen
            return _TextReader(words, lambda text: coding.get(text, unseen))


def _number(sentinels: tuple[float, ...]) -> Read:
    """Read numbers."""

    def read(cell: Scalar) -> float:
        if cell is None:
            return math.nan
        if type(cell) is float or type(cell) is int:
            try:
                number = math.nan if cell in sentinels else float(cell)
            except OverflowError:
                raise NotPlain from None
            if not math.isinf(number):
                return number
        raise NotPlain

    return read


def _date(cell: Scalar) -> float:
    """Read a date written in full, in UTC."""
    if cell is None:
        return math.nan
    if not isinstance(cell, str) or not PLAIN_DATE.fullmatch(cell):
        raise NotPlain
    try:
        return dt.datetime.fromisoformat(cell).replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        raise NotPlain from None


class _TextReader:
    """Reads texts, and remembers their codes."""

    def __init__(self, words: frozenset[str], value_of: Callable[[str], int | None]) -> None:
        self._words = words
        self._value_of = value_of
        self._known: dict[str, float] = {}

    def __call__(self, cell: Scalar) -> float:
        text = cell if type(cell) is str else as_text(cell)
        if text is None:
            return math.nan
        value = self._known.get(text)
        return self._look_up(text) if value is None else value

    def _look_up(self, text: str) -> float:
        missing = text.strip().lower() in self._words
        value = math.nan if missing else self._value_of(cells.category_text(text))
        if value is None:
            raise NotPlain
        if len(self._known) < MAX_KNOWN:
            self._known[text] = value
        return value
