"""Finding how a column writes dates: the order of day, month and year, or the unit in which numbers count.

The whole column decides. A format is accepted only if no other one reads the column too; otherwise the column is refused,
with the formats among which the user chooses by `--date-format`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from detector import cells
from detector.date_format import COMPACT, UNITS

MAX_UNREADABLE = 0.01  # share of cells that may be unreadable in a column of numbers or dates
MIN_ROWS = 20  # with fewer rows none may
FEWEST_DAYS = 8  # different days of the month that tell days from years of two digits
LAST_DAY = 31  # of a month
DAYS_PER_YEAR = 3  # as many different days as years, at least
SEPARATORS = "/-."
ORDERS = ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")
FULL_YEAR = ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y")
NAMED_MONTH = ("%d %B %Y", "%d-%B-%Y", "%d-%B-%y", "%d %B %y", "%d/%B/%Y", "%B %d, %Y", "%A, %d %B %Y", "%d. %B %Y")
ISO = r"^[0-9]{4}[-/][0-9]{1,2}[-/][0-9]|^[0-9]{1,2}\.[0-9]{1,2}\.[0-9]{4}"
COMPACT_SHAPE = r"^(?:19|20|21)[0-9]{6}"
MONTHS = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
NAMED_SHAPE = rf"(?i)^(?:[a-z]{{2,9}},? )?(?:[0-9]{{1,2}}\.?[ /\-]{MONTHS}|{MONTHS}[a-z]* [0-9])"
SHAPE = r"^\D{0,2}([0-9]{1,2})([/.\-])([0-9]{1,2})[/.\-]([0-9]{2,4})(?:\D|$)"


class FoundDateFormat(NamedTuple):
    """A format of dates; or, if several read the column or none does, those to choose among."""

    name: str | None
    choices: tuple[str, ...] = ()


def infer_date_format(series: pl.Series, words: frozenset[str]) -> FoundDateFormat:
    """Return the format of a column of texts or numbers."""
    if series.dtype.is_temporal():
        return FoundDateFormat("")
    if series.dtype.is_numeric():
        return FoundDateFormat(_unit(cells.numbers(series, words).values))
    texts = cells.texts(series, cells.number_words(words)).drop_nulls()
    texts = texts.filter(pl.Series(~np.isin(cells.numbers(texts).values, cells.sentinels(words))))
    return _of_texts(texts) if len(texts) else FoundDateFormat(None)


def _of_texts(texts: pl.Series) -> FoundDateFormat:
    if _are_mostly(texts, ISO) and is_readable(_unread(texts, ""), len(texts)):
        return FoundDateFormat("")
    numbers = cells.numbers(texts)
    if is_readable(numbers.unread, len(texts)):
        return FoundDateFormat(_unit(numbers.values))
    shapes = {COMPACT_SHAPE: COMPACT, NAMED_SHAPE: NAMED_MONTH}
    for date_format in (each for shape, formats in shapes.items() if _are_mostly(texts, shape) for each in formats):
        if is_readable(_unread(texts, date_format), len(texts)):
            return FoundDateFormat(date_format)
    if _are_mostly(texts, SHAPE):
        for separator in SEPARATORS:
            for orders in (FULL_YEAR, ORDERS):
                found = _ordered(texts, [order.format(separator) for order in orders])
                if found:
                    return found
    return FoundDateFormat(None)


def are_mostly_dates(texts: pl.Series) -> bool:
    """Return whether most texts look like dates, in whatever format."""
    return any(_are_mostly(texts, shape) for shape in (ISO, COMPACT_SHAPE, NAMED_SHAPE, SHAPE))


def _are_mostly(texts: pl.Series, shape: str) -> bool:
    """Return whether most texts have the shape of a date: looking costs little, and trying many formats costs more."""
    return 2 * int(texts.str.contains(shape).sum()) > len(texts)


def is_readable(unread: int, rows: int) -> bool:
    """Return whether so few cells are unread that the column may be of this kind or format."""
    return unread < rows and unread <= max(MAX_UNREADABLE * rows, rows >= MIN_ROWS)


def _ordered(texts: pl.Series, formats: list[str]) -> FoundDateFormat | None:
    """Return the only order of day, month and year that reads the column; None if none does."""
    unread = {each: _unread(texts, each) for each in formats}
    possible = [each for each, count in unread.items() if is_readable(count, len(texts))]
    if any(unread[each] == 0 for each in possible):
        possible = [each for each in possible if unread[each] == 0]
    if not possible:
        return None
    told = [each for each in possible if "%Y" in each or _is_year_told(texts, is_first=each.startswith("%y"))]
    return FoundDateFormat(told[0]) if len(told) == 1 else FoundDateFormat(None, tuple(possible))


def _is_year_told(texts: pl.Series, *, is_first: bool) -> bool:
    """Return whether years of two digits are beyond doubt: they are no days, or far fewer than the days of the other parts."""
    parts = texts.str.extract_groups(SHAPE).struct
    first, middle, last = (parts.field(group).cast(pl.Int64, strict=False).drop_nulls() for group in ("1", "3", "4"))
    year, days = (first, last.n_unique()) if is_first else (last, max(first.n_unique(), middle.n_unique()))
    return bool((year > LAST_DAY).any()) or days >= max(FEWEST_DAYS, DAYS_PER_YEAR * year.n_unique())


def _unit(values: np.ndarray) -> str | None:
    """Return the unit in which numbers count dates; None if they do not, or in more than one."""
    present = values[np.isfinite(values)]
    if not len(present):
        return None
    formats = [*COMPACT, *UNITS]
    unread = {each: _unread(pl.Series(present), each) for each in formats}
    possible = [each for each in formats if is_readable(unread[each], len(present))]
    return possible[0] if possible else None


def _unread(series: pl.Series, date_format: str) -> int:
    return cells.dates(series, date_format=date_format).unread
