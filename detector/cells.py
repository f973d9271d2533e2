"""Parsing one column's cells: which are missing, which number each one stands for, and which cannot be read.

Each parser takes a polars series of text or of a native type and returns `Parsed`. All interfaces use these parsers, so
CSV, JSON, Parquet and data frames agree; `training.kinds` uses them to infer the kind of a column.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector.date_format import FIRST_SECOND, LAST_SECOND, is_numeric, seconds_of_numbers, seconds_of_texts
from detector.number_format import PLAIN, NumberFormat

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
PLACEHOLDERS = frozenset(  # what spreadsheets, databases and people write in place of a number, a date or a boolean
    [
        *("-", "--", "---", "\u2013", "\u2014", "?", "??", "???", ".", "..", "...", "*", "#", "-nan", "nat", "nil", "nd", "n/d"),
        *(
            "n.a.",
            "n.a",
            "no data",
            "not available",
            "(null)",
            "<null>",
            "[null]",
            "\\n",
            "<na>",
            "<nan>",
            "#n/a",
            "#n/a n/a",
            "#na",
        ),
        *("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "#error!", "#error", "#spill!", "#calc!", "#nv", "#wert!"),
        *("#bezug!", "#zahl!", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
    ]
)
BOOLEANS = {"true": 1, "yes": 1, "t": 1, "1": 1, "false": 0, "no": 0, "f": 0, "0": 0}
DAY = 86_400  # seconds
FEW = 64  # numbers that Python formats faster than a call of polars takes
INFINITE = r"^[+-]?inf(inity)?$"
INTEGRAL = re.compile(r"([+-]?\d+)\.0+")
NUMBERS = "numbers"  # the format of a time that is no date: it counts in a unit of its own


class Parsed(NamedTuple):
    """A column's cells as numbers."""

    values: np.ndarray  # float64[rows], NaN = missing
    bad: np.ndarray | None = None  # bool[rows]: cells that cannot be read; None = none
    infinite: int = 0  # cells with an infinity

    @property
    def unread(self) -> int:
        """The number of cells that cannot be read."""
        return 0 if self.bad is None else int(np.count_nonzero(self.bad))


def missing_words(more: Iterable[str] = ()) -> frozenset[str]:
    """Return all words that mean a missing cell, trimmed and in lower case."""
    return MISSING | {word.strip().lower() for word in more}


@functools.cache
def number_words(words: frozenset[str]) -> frozenset[str]:
    """Return all words that mean a missing cell in a column of numbers, dates or booleans, where a placeholder is no value."""
    return words | PLACEHOLDERS


def numbers(series: pl.Series, words: frozenset[str] = MISSING, written: NumberFormat = PLAIN) -> Parsed:
    """Parse numbers, in texts as they are `written`.

    An infinity lies beyond all finite numbers, unless a word for a missing cell spells one; a finite literal beyond
    float64 cannot be read.
    """
    if series.dtype == pl.String:
        return _numbers_in_text(series, words, written)
    if not (series.dtype.is_numeric() or series.dtype in {pl.Boolean, pl.Null}):
        return _numbers_in_text(as_text(series), words, written)
    values = series.cast(pl.Float64).to_numpy()
    infinite = np.isinf(values)
    missing = np.isin(values, sentinels(words)) if sentinels(words) else np.zeros(len(values), dtype=bool)
    if infinity_is_missing(words):
        missing |= infinite
    if missing.any():
        values = np.where(missing, np.nan, values)
    return Parsed(values, infinite=int(np.count_nonzero(infinite)))


def dates(series: pl.Series, words: frozenset[str] = MISSING, date_format: str = "") -> Parsed:
    """Parse dates as epoch seconds, in UTC unless a cell states its offset; numbers only in the format's unit."""
    if series.dtype == pl.Date:  # not by a cast to datetime, in which polars panics on far dates
        return _in_calendar(series.cast(pl.Int32).cast(pl.Float64).to_numpy() * DAY)
    if series.dtype == pl.Datetime:
        return _in_calendar(series.dt.epoch("us").cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6)
    if series.dtype.is_numeric():
        found = numbers(series, words).values
        seconds = seconds_of_numbers(found, date_format)
        return Parsed(seconds, np.isnan(seconds) & ~np.isnan(found))
    trimmed = texts(series, number_words(words))
    seconds = seconds_of_texts(trimmed, date_format)
    unread = np.isnan(seconds) & trimmed.is_not_null().to_numpy()
    if unread.any() and is_numeric(date_format):
        seconds = np.where(unread, seconds_of_numbers(_numbers_in_text(trimmed, words, PLAIN).values, date_format), seconds)
    bad = np.isnan(seconds) & trimmed.is_not_null().to_numpy()
    if sentinels(words):
        bad &= ~np.isin(_numbers_in_text(trimmed, MISSING, PLAIN).values, sentinels(words))
    return Parsed(seconds, bad)


def _in_calendar(seconds: np.ndarray) -> Parsed:
    """Return dates of which those before the year 1000 or after 9999 cannot be read."""
    bad = (seconds < FIRST_SECOND) | (seconds >= LAST_SECOND)
    return Parsed(np.where(bad, np.nan, seconds), bad) if bad.any() else Parsed(seconds)


def times(series: pl.Series, words: frozenset[str] = MISSING, time_format: str = "") -> Parsed:
    """Parse what orders the rows of a series: dates, or numbers in a unit of their own if the format is `NUMBERS`."""
    return numbers(series, number_words(words)) if time_format == NUMBERS else dates(series, words, time_format)


def booleans(series: pl.Series, words: frozenset[str] = MISSING) -> Parsed:
    """Parse true/false, yes/no, t/f and 1/0, in any case, as 1 and 0."""
    return _by_distinct_text(series, number_words(words), lambda text: BOOLEANS.get(category_text(text).lower()))


def categories(series: pl.Series, words: frozenset[str], coding: Mapping[str, int], unseen: int) -> Parsed:
    """Parse categories as their codes; a text without a code becomes `unseen`."""
    return _by_distinct_text(series, words, lambda text: coding.get(category_text(text), unseen))


def category_text(text: str) -> str:
    """Return the text that identifies a category: trimmed, and without the `.0` of an integral float."""
    trimmed = text.strip()
    integral = INTEGRAL.fullmatch(trimmed)
    return integral[1] if integral else trimmed


def texts(series: pl.Series, words: frozenset[str] = MISSING) -> pl.Series:
    """Return a column as trimmed text, with null for every missing cell."""
    trimmed = as_text(series).str.strip_chars()
    missing = trimmed.str.to_lowercase().is_in(list(words))
    return pl.select(pl.when(~missing).then(trimmed)).to_series().rename(series.name)


def number_texts(values: np.ndarray) -> pl.Series:
    """Format numbers, `float64[rows]`, without the `.0` of integral ones."""
    if len(values) <= FEW:
        size = np.abs(values)
        if ((size == 0) | ((size >= 1e-4) & (size < 1e15))).all():  # noqa: PLR2004 - Python and polars format these alike
            return pl.Series([repr(value).removesuffix(".0") for value in values.tolist()], dtype=pl.String)
    return pl.Series(values).cast(pl.String).str.replace(r"\.0$", "")


def date_texts(values: np.ndarray) -> pl.Series:
    """Format epoch seconds, `float64[rows]`, as ISO 8601; seconds outside of years 1 to 9999 are formatted as numbers."""
    in_calendar = np.abs(np.nan_to_num(values)) < LAST_SECOND
    micros = pl.Series(np.where(in_calendar, values, np.nan) * 1e6, nan_to_null=True).cast(pl.Int64).cast(pl.Datetime("us"))
    dates = micros.dt.strftime("%Y-%m-%d %H:%M:%S")
    return pl.select(pl.coalesce(pl.lit(dates), pl.lit(number_texts(values)))).to_series()


def _numbers_in_text(series: pl.Series, words: frozenset[str], written: NumberFormat) -> Parsed:
    if written.is_plain and not sentinels(words):  # most columns: all cells are finite numbers
        values = series.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
        if np.isfinite(values).all():
            return Parsed(values)
    trimmed = texts(series, number_words(words))
    infinite = trimmed.str.to_lowercase().str.contains(INFINITE).fill_null(value=False).to_numpy()
    plain = trimmed if written.is_plain else written.plain(trimmed)
    parsed = plain.cast(pl.Float64, strict=False)
    values = parsed.fill_null(np.nan).to_numpy()
    bad = (trimmed.is_not_null() & parsed.is_null()).to_numpy() | np.isinf(values)
    bad &= ~infinite
    values = np.where(bad | np.isin(values, sentinels(words)), np.nan, values)
    if infinite.any():
        beyond = np.where(trimmed.str.starts_with("-").fill_null(value=False).to_numpy(), -np.inf, np.inf)
        values = np.where(infinite, np.nan if infinity_is_missing(words) else beyond, values)
    return Parsed(values, bad, int(np.count_nonzero(infinite)))


@functools.cache
def infinity_is_missing(words: frozenset[str]) -> bool:
    """Return whether one of the user's words for a missing cell spells an infinity: then each of them is missing."""
    return any(re.fullmatch(INFINITE, word) for word in words)


@functools.cache
def sentinels(words: frozenset[str]) -> tuple[float, ...]:
    """Return the numbers among the user's words for a missing cell, such as -999."""
    return tuple(float(word) for word in words - MISSING if _is_number(word) and not re.fullmatch(INFINITE, word))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _by_distinct_text(series: pl.Series, words: frozenset[str], value_of: Callable[[str], int | None]) -> Parsed:
    """Call `value_of` once per distinct text; a text for which it returns None cannot be read."""
    series = as_text(series)
    distinct = series.unique().drop_nulls()
    values_by_text = {text: float("nan") if text.strip().lower() in words else value_of(text) for text in distinct}
    readable = {text: value for text, value in values_by_text.items() if value is not None}
    if not readable:
        return Parsed(np.full(len(series), np.nan), series.is_not_null().to_numpy())
    values = series.replace_strict(
        pl.Series(list(readable), dtype=pl.String),
        pl.Series(list(readable.values()), dtype=pl.Float64, strict=False),
        default=None,
        return_dtype=pl.Float64,
    )
    numbers = values.fill_null(np.nan).to_numpy()
    if len(readable) == len(values_by_text):
        return Parsed(numbers)
    unreadable = [text for text, value in values_by_text.items() if value is None]
    return Parsed(numbers, series.is_in(unreadable).fill_null(value=False).to_numpy())


def as_text(series: pl.Series) -> pl.Series:
    """Return a column as text, so that a value has the same text whatever its source; bytes are text if they are UTF-8."""
    if series.dtype == pl.String:
        return series
    if series.dtype.is_float():
        return series.fill_nan(None).cast(pl.String)
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Duration, pl.Object):  # polars cannot cast these
        return pl.Series(series.name, [None if cell is None else cell_text(cell) for cell in series], dtype=pl.String)
    return series.cast(pl.String)


def cell_text(cell: object) -> str:
    """Return any cell as text: lists and structs as JSON, bytes as they are if they are UTF-8, else escaped."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace")
    if isinstance(cell, pl.Series | list | dict):
        return msgspec.json.encode(_without_bytes(cell), enc_hook=str).decode()
    return str(cell)


def _without_bytes(cell: object) -> object:
    """Return a nested cell with text in place of bytes, which JSON lacks."""
    if isinstance(cell, dict):
        return {key: _without_bytes(value) for key, value in cell.items()}
    if isinstance(cell, pl.Series | list):
        return [_without_bytes(value) for value in cell]
    return cell_text(cell) if isinstance(cell, bytes) else cell


def not_text(series: pl.Series) -> np.ndarray | None:
    """Return which cells are bytes that are no UTF-8; None if the column holds no bytes."""
    if series.dtype != pl.Binary:
        return None
    return np.array([cell is not None and not is_utf8(cell) for cell in series.to_list()], dtype=bool)


def is_utf8(cell: bytes) -> bool:
    """Return whether bytes are text."""
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True
