"""How a column writes dates: as ISO 8601, in another order of day, month and year, or as a number in some unit.

Training decides the format of each column of dates (`training.date_formats`), the manifest keeps it, and `detector.cells`
reads by it. A format is "" for ISO 8601, dd.mm.yyyy and
seconds since 1970, the name of a unit (`UNITS`), or directives such as %d/%m/%y: a time
of day may follow these. ISO 8601 with a year of four digits, which nobody can take for something else, is read in every
column.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import polars as pl

DAY = 86_400.0  # seconds
EPOCH_OF_SERIALS = -25_569.0 * DAY  # 1899-12-30: day 0 of spreadsheets
USUAL = "%Y-%m-%d %H:%M:%S%.f"
ISO = ("%Y-%m-%d", "%d.%m.%Y")
TIMES = ("", " %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S%.f%#z", " %H:%M%#z")
UNITS = {  # the seconds of one, and what a number counts
    "s": (1.0, "seconds since 1970"),
    "ms": (1e-3, "milliseconds since 1970"),
    "us": (1e-6, "microseconds since 1970"),
    "ns": (1e-9, "nanoseconds since 1970"),
    "serial": (DAY, "days since 1899-12-30, as in spreadsheets"),
}
COMPACT = ("%Y%m%d", "%Y%m%d%H%M", "%Y%m%d%H%M%S")  # by 8, 12 and 14 digits
PATTERNS = {"%d": "dd", "%m": "mm", "%y": "yy", "%Y": "yyyy"}  # what messages say where a format needs no other directive
FIRST_NUMBER, LAST_NUMBER = 31_536_000.0, 4_102_444_800.0  # 1971 to 2099: a number in another unit lies outside of these
FIRST_SECOND, LAST_SECOND = -30_610_224_000.0, 253_402_300_800.0  # of the years 1000 to 9999


def is_numeric(date_format: str) -> bool:
    """Return whether numbers are dates in a format."""
    return not date_format or date_format in UNITS or date_format in COMPACT


def describe(date_format: str) -> str:
    """Return what a date looks like, for messages."""
    if date_format in UNITS:
        return UNITS[date_format][1]
    if not date_format:
        return "like 2026-01-31 18:30:00"
    pattern = re.sub("|".join(PATTERNS), lambda directive: PATTERNS[directive[0]], date_format)
    return f"like {date_format if '%' in pattern else pattern}"


def seconds_of_numbers(values: np.ndarray, date_format: str) -> np.ndarray:
    """Return epoch seconds, `float64[rows]`; NaN where a number is no date in this format. Beside ISO 8601 they are seconds."""
    date_format = date_format or "s"
    if date_format in UNITS:
        unit = UNITS[date_format][0]
        seconds = values * unit + (EPOCH_OF_SERIALS if date_format == "serial" else 0.0)
        is_date = (seconds >= FIRST_NUMBER) & (seconds < LAST_NUMBER)
        return np.where(is_date, seconds, np.nan)
    if date_format in COMPACT:
        whole = np.where(np.isfinite(values) & (values % 1 == 0) & (np.abs(values) < 1e15), values, np.nan)  # noqa: PLR2004 - exact
        return seconds_of_texts(pl.Series(whole, nan_to_null=True).cast(pl.Int64).cast(pl.String), date_format)
    return np.full(len(values), np.nan)


def seconds_of_texts(texts: pl.Series, date_format: str) -> np.ndarray:
    """Return epoch seconds of trimmed texts, in UTC unless one states its offset; NaN where one is no date in this format."""
    seconds = _parse(texts, USUAL) if not date_format else np.full(len(texts), np.nan)
    present = texts.is_not_null().to_numpy()
    plain: pl.Series | None = None
    for directives in _directives(date_format):
        unread = np.isnan(seconds) & present
        if not unread.any():
            break
        plain = _normalized(texts) if plain is None else plain
        seconds = np.where(unread, _parse(plain, directives), seconds)
    return seconds


def _normalized(texts: pl.Series) -> pl.Series:
    """Return texts with one spelling of what separates date and time, of UTC, of a.m. and p.m."""
    plain = texts.str.replace(r"^([0-9]{4})/([0-9]{1,2})/", "${1}-${2}-").str.replace(r"([0-9])T([0-9])", "${1} ${2}")
    plain = plain.str.replace(r"(?i)\s?z$", "+00:00")
    return plain.str.replace(r"(?i)([0-9])\s*([ap])\.?m\.?$", "${1} ${2}m").str.replace_all(r",?\s+", " ")


def _directives(date_format: str) -> Sequence[str]:
    """Return everything that a text in a format may be, most likely first."""
    iso = [f"{date}{time}" for date in ISO for time in TIMES]
    if not date_format or date_format in UNITS:
        return iso
    own = date_format.replace(", ", " ")
    has_time = any(directive in own for directive in ("%H", "%I", "%T", "%R"))
    own_forms = [own] if has_time else [f"{own}{time}" for time in TIMES]
    return [*own_forms, *(directives for directives in iso if directives.startswith("%Y-"))]


def _parse(texts: pl.Series, directives: str) -> np.ndarray:
    if "z" in directives:
        instants = texts.str.to_datetime(directives, time_unit="us", time_zone="UTC", strict=False).dt.replace_time_zone(None)
    else:
        instants = texts.str.to_datetime(directives, time_unit="us", strict=False)
    seconds = instants.dt.epoch("us").cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6
    return np.where((seconds >= FIRST_SECOND) & (seconds < LAST_SECOND), seconds, np.nan)
