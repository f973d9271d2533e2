"""Parsing one column's cells: which are missing, which number each one stands for, and which cannot be read.

Each parser takes a polars series of text or of a native type and returns `Parsed`. All interfaces use these parsers, so
CSV, JSON, Parquet and data frames agree; `training.kinds` uses them to infer the kind of a column.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import polars as pl

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
BOOLEANS = {"true": 1, "yes": 1, "t": 1, "1": 1, "false": 0, "no": 0, "f": 0, "0": 0}
DAY = 86_400  # seconds
LAST_SECOND = 253_402_300_800  # the end of the year 9999
FEW = 64  # numbers that Python formats faster than a call of polars takes
INFINITE = r"^[+-]?inf(inity)?$"
INTEGRAL = re.compile(r"([+-]?\d+)\.0+")
DATE_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S%.f", "%d.%m.%Y", "%d.%m.%Y %H:%M")
ZONED_FORMATS = ("%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M%#z")


class Parsed(NamedTuple):
    """A column's cells as numbers."""

    values: np.ndarray  # float64[rows], NaN = missing
    bad: np.ndarray | None = None  # bool[rows]: cells that cannot be read; None = none
    infinite: int = 0  # cells with an infinity, which are missing now


def missing_words(more: Iterable[str] = ()) -> frozenset[str]:
    """Return all words that mean a missing cell, trimmed and in lower case."""
    return MISSING | {word.strip().lower() for word in more}


def numbers(series: pl.Series, words: frozenset[str] = MISSING) -> Parsed:
    """Parse numbers. An infinity is missing and counted; a finite literal beyond float64 cannot be read."""
    if series.dtype == pl.String:
        return _numbers_in_text(series, words)
    if not (series.dtype.is_numeric() or series.dtype in {pl.Boolean, pl.Null}):
        return _numbers_in_text(_as_text(series), words)
    values = series.cast(pl.Float64).to_numpy()
    infinite = np.isinf(values)
    missing_numbers = sentinels(words)
    missing = infinite | np.isin(values, missing_numbers) if missing_numbers else infinite
    if missing.any():
        values = np.where(missing, np.nan, values)
    return Parsed(values, infinite=int(np.count_nonzero(infinite)))


def dates(series: pl.Series, words: frozenset[str] = MISSING) -> Parsed:
    """Parse dates as epoch seconds, in UTC unless a cell states its offset; numbers are epoch seconds already."""
    if series.dtype.is_numeric():
        return numbers(series, words)
    if series.dtype == pl.Date:  # not by a cast to datetime, in which polars panics on far dates
        return Parsed(series.cast(pl.Int32).cast(pl.Float64).to_numpy() * DAY)
    if series.dtype == pl.Datetime:
        return Parsed(_seconds(series))
    return _dates_in_text(_as_text(series), words)


def booleans(series: pl.Series, words: frozenset[str] = MISSING) -> Parsed:
    """Parse true/false, yes/no, t/f and 1/0, in any case, as 1 and 0."""
    return _by_distinct_text(series, words, lambda text: BOOLEANS.get(category_text(text).lower()))


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
    trimmed = _as_text(series).str.strip_chars()
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


def _numbers_in_text(series: pl.Series, words: frozenset[str]) -> Parsed:
    trimmed = texts(series, words)
    infinite = trimmed.str.to_lowercase().str.contains(INFINITE).fill_null(value=False).to_numpy()
    parsed = trimmed.cast(pl.Float64, strict=False)
    values = parsed.fill_null(np.nan).to_numpy()
    beyond = np.isinf(values) & ~infinite
    bad = (trimmed.is_not_null() & parsed.is_null()).to_numpy() | beyond
    values = np.where(infinite | bad | np.isin(values, sentinels(words)), np.nan, values)
    return Parsed(values, bad & ~infinite, int(np.count_nonzero(infinite)))


@functools.cache
def sentinels(words: frozenset[str]) -> tuple[float, ...]:
    """Return the numbers among the user's words for a missing cell, such as -999."""
    return tuple(float(word) for word in words - MISSING if _is_number(word))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _dates_in_text(series: pl.Series, words: frozenset[str]) -> Parsed:
    """Parse texts as dates; each format is tried on the texts that no earlier format matched."""
    trimmed = texts(series, words)
    plain = trimmed.str.replace("T", " ", literal=True).str.replace(r"(?i)\s?z$", "+00:00").str.replace_all("/", "-")
    instants, present = _instants(plain, DATE_FORMATS[0]), trimmed.is_not_null()
    for date_format in (*DATE_FORMATS[1:], *ZONED_FORMATS):
        if not (instants.is_null() & present).any():
            return Parsed(_seconds(instants))
        instants = instants.zip_with(instants.is_not_null(), _instants(plain, date_format))
    undated = instants.is_null().to_numpy()
    epoch = _numbers_in_text(trimmed, words)
    return Parsed(np.where(undated, epoch.values, _seconds(instants)), undated & np.asarray(epoch.bad), epoch.infinite)


def _instants(texts: pl.Series, date_format: str) -> pl.Series:
    """Parse dates of one format; null for a text in another format."""
    if date_format in ZONED_FORMATS:
        return texts.str.to_datetime(date_format, time_unit="us", time_zone="UTC", strict=False).dt.replace_time_zone(None)
    return texts.str.to_datetime(date_format, time_unit="us", strict=False)


def _seconds(instants: pl.Series) -> np.ndarray:
    return instants.dt.epoch("us").cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6


def _by_distinct_text(series: pl.Series, words: frozenset[str], value_of: Callable[[str], int | None]) -> Parsed:
    """Call `value_of` once per distinct text; a text for which it returns None cannot be read."""
    series = _as_text(series)
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


def _as_text(series: pl.Series) -> pl.Series:
    """Return a column as text, so that a value has the same text whatever its source."""
    if series.dtype == pl.String:
        return series
    if series.dtype.is_float():
        return series.fill_nan(None).cast(pl.String)
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Duration, pl.Object):  # polars cannot cast these
        return pl.Series(series.name, [None if cell is None else str(cell) for cell in series.to_list()], dtype=pl.String)
    return series.cast(pl.String)
