"""The kind of each column of a table (number, category, boolean, date) and how it is written; or ignored, with the reason.

Only kinds and formats are inferred from the whole table. Whatever could leak (vocabularies, scales, constancy) is learned
from training rows alone, in `training.layout`. Nothing is decided silently: a column that is read in a special way keeps its
format in the manifest, and one that looks like another kind keeps a note; the summary of the training shows both.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells, date_format
from detector.columns import Column, Kind, format_names, suggest_names
from detector.errors import SettingError
from detector.manifest import IgnoredColumn
from detector.number_format import PLAIN
from training.date_formats import MIN_ROWS, infer_date_format, is_readable
from training.number_formats import infer_number_format
from training.texts import choices, column_of_texts, number_column

FEWEST_DIGITS = 6  # of whole numbers that look like identifiers when none of many rows repeats one
MANY_ROWS = 200
EXPECTED_REPEATS = 5.0  # among numbers drawn at random from their range: having none proves that they are identifiers
DIRECTIVES = {"yyyy": "%Y", "yy": "%y", "mm": "%m", "dd": "%d", "hh": "%H", "ss": "%S"}  # of patterns such as dd/mm/yyyy


ColumnCallback = Callable[[int, int], None]


class ColumnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The kinds that the user named, how cells are written, and the columns with a special role.

    `time` orders the rows and is no feature unless it is among the dates; `key` identifies a series and is no feature.
    `date_format` holds formats of dates, each for one column (NAME=FORMAT) or for all; with `decimal_comma`, texts write
    decimals with a comma.
    """

    category: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time: str | None = None
    key: str | None = None
    date_format: tuple[str, ...] = ()
    decimal_comma: bool = False

    def named(self) -> list[str]:
        """Return every column that an option names."""
        return [*self.category, *self.numeric, *self.date, *self.ignore, *filter(None, [self.time, self.key])]

    def kind_of(self, name: str) -> Kind | None:
        """Return the kind that the user gave a column, if any."""
        by_kind: dict[Kind, tuple[str, ...]] = {"category": self.category, "number": self.numeric, "date": self.date}
        return next((kind for kind, names in by_kind.items() if name in names), None)

    def date_format_of(self, name: str) -> str | None:
        """Return the format of dates that the user gave a column, or all of them; None if there is none.

        Raises:
            SettingError: it is no format.
        """
        general = [text for text in self.date_format if "=" not in text]
        own = [text.partition("=")[2] for text in self.date_format if text.partition("=")[:2] == (name, "=")]
        return parse_date_format((own or general)[-1]) if own or general else None


class InferredColumns(NamedTuple):
    """The columns to train on, the ignored ones with the reason, and the format of the column that orders the rows."""

    columns: list[Column]
    ignored: list[IgnoredColumn]
    time_format: str = ""


def ignore_columns(done: int, columns: int) -> None:
    """Do nothing: the default callback."""
    del done, columns


def infer(
    frame: pl.DataFrame, options: ColumnOptions, missing: frozenset[str], on_column: ColumnCallback = ignore_columns
) -> InferredColumns:
    """Infer the kind of each column from the whole table; `missing` holds the words that mean a missing cell.

    `on_column` receives the number of columns that are done, and of all; a wide table takes minutes.

    Raises:
        SettingError: an option names a column that is not there or contradicts another, the column that orders the rows
            holds no times, or no column is left.
    """
    check_options(options, frame.columns)
    found: list[Column | IgnoredColumn] = []
    for name in frame.columns:
        found.append(_column_or_reason(frame[name], options, missing))
        on_column(len(found), frame.width)
    columns = [column for column in found if isinstance(column, Column)]
    ignored = [column for column in found if isinstance(column, IgnoredColumn)]
    if not columns:
        raise SettingError("no column is left to learn from: " + "; ".join(f"{i.name}: {i.reason}" for i in ignored))
    time_format = "" if options.time is None else _time_format(frame[options.time], options, missing)
    return InferredColumns(columns, ignored, time_format)


def check_options(options: ColumnOptions, names: list[str]) -> None:
    """Raise unless a table with these column names can satisfy the options.

    Raises:
        SettingError: an option names a column that is not there, or contradicts another.
    """
    of_formats = [text.partition("=")[0] for text in options.date_format if "=" in text]
    unknown = [name for name in dict.fromkeys([*options.named(), *of_formats]) if name not in names]
    if unknown:
        raise SettingError(
            f"the table has no column {format_names(unknown)}{suggest_names(unknown, names)}; it has {format_names(names)}"
        )
    listed = [*options.category, *options.numeric, *options.date, *options.ignore]
    repeated = sorted({name for name in listed if listed.count(name) > 1})
    if repeated:
        raise SettingError(f"column {format_names(repeated)} is named by more than one of the options for columns: keep one")
    for text in options.date_format:
        parse_date_format(text.partition("=")[2] if "=" in text else text)


def parse_date_format(text: str) -> str:
    """Return a format of dates as `detector.date_format` knows it, from directives, a pattern such as dd/mm/yy, or a unit.

    Raises:
        SettingError: it is none.
    """
    if text in date_format.UNITS or "%" in text:
        return text
    clock = re.sub(r"(?i)hh:mm", "hh:%M", text)
    found = re.sub("|".join(DIRECTIVES), lambda part: DIRECTIVES[part[0].lower()], clock, flags=re.IGNORECASE)
    if "%d" in found and "%m" in found and "%y" in found.lower():
        return found
    units = ", ".join(date_format.UNITS)
    raise SettingError(f"--date-format {text} is not a date format: give directives such as %d/%m/%Y, or a unit: {units}")


def _column_or_reason(series: pl.Series, options: ColumnOptions, missing: frozenset[str]) -> Column | IgnoredColumn:
    name = series.name
    if reason := _reason_to_ignore(series, options):
        return IgnoredColumn(name, reason)
    match options.kind_of(name):
        case "category":
            return Column(name=name, kind="category")
        case "number":
            return _checked_number(_named_number(series, options, missing), series, missing, is_named=True)
        case "date":
            return Column(name=name, kind="date", date_format=_required_date_format(series, "--date", options, missing))
    if any(text.startswith(f"{name}=") for text in options.date_format):
        return Column(name=name, kind="date", date_format=options.date_format_of(name) or "")
    return _checked_number(_infer_column(series, options, missing), series, missing, is_named=False)


def _reason_to_ignore(series: pl.Series, options: ColumnOptions) -> str:
    """Return why a column is no feature whatever its kind; "" if it may be one."""
    reasons: dict[str | None, str] = {}
    if series.name not in options.date:
        reasons[options.time] = "orders the rows; --date makes it a feature too"
    reasons[options.key] = "identifies the series"
    reasons.update(dict.fromkeys(options.ignore, "ignored by option"))
    undecoded = cells.not_text(series)
    if undecoded is not None and not is_readable(int(undecoded.sum()), len(series)):
        reasons.setdefault(series.name, "holds bytes that are not UTF-8 text")
    return reasons.get(series.name, "")


def _infer_column(series: pl.Series, options: ColumnOptions, missing: frozenset[str]) -> Column | IgnoredColumn:
    """Infer a column's kind from its type, or from all its texts."""
    name = series.name
    if series.dtype == pl.Boolean:
        return Column(name=name, kind="boolean")
    if series.dtype.is_numeric():
        return Column(name=name, kind="number")
    if series.dtype.is_temporal() and series.dtype not in (pl.Time, pl.Duration):
        return Column(name=name, kind="date")
    texts = cells.texts(series, missing).drop_nulls()
    return column_of_texts(texts, options) if len(texts) else IgnoredColumn(name, "all its cells are missing")


def _named_number(series: pl.Series, options: ColumnOptions, missing: frozenset[str]) -> Column:
    """Return a column that the user calls a number: texts that are not written like most of them will be rejected."""
    texts = cells.texts(series, cells.number_words(missing)).drop_nulls()
    is_text = not (series.dtype.is_numeric() or series.dtype == pl.Boolean) and len(texts)
    return number_column(series.name, infer_number_format(texts, decimal_comma=options.decimal_comma) if is_text else PLAIN)


def _checked_number(
    column: Column | IgnoredColumn, series: pl.Series, missing: frozenset[str], *, is_named: bool
) -> Column | IgnoredColumn:
    """Ignore a column of numbers without any, or whose new values will all be new; with a note if the user named it."""
    if isinstance(column, IgnoredColumn) or column.kind != "number":
        return column
    values = cells.numbers(series, missing, column.number_format).values
    present = values[np.isfinite(values)]
    if not len(present):
        return IgnoredColumn(column.name, "holds no number at all")
    habit = _habit(present)
    if not habit:
        return column
    why = f"{habit}: every new value will look unusual"
    if is_named:
        return msgspec.structs.replace(column, note="; ".join(filter(None, [column.note, why])))
    as_dates = infer_date_format(pl.Series(present), missing).name
    dates = f", --date reads it as dates ({date_format.describe(as_dates)})" if as_dates else ""
    return IgnoredColumn(column.name, f"{why}; --numeric keeps it{dates}")


def _habit(values: np.ndarray) -> str:
    """Return in which way values are never seen again; "" if they are numbers like any other."""
    if len(values) < MIN_ROWS:
        return ""
    steps = np.diff(values)
    if (steps == 1).all() and (values % 1 == 0).all():
        return "counts the rows one by one"
    distinct = np.unique(values)
    if len(distinct) >= MIN_ROWS and ((steps >= 0).all() or (steps <= 0).all()):
        return "only rises" if steps.sum() > 0 else "only falls"
    if len(distinct) == len(values) and (values % 1 == 0).all():
        span = distinct[-1] - distinct[0] + 1
        is_code = len(values) >= MANY_ROWS and distinct[0] >= 10.0 ** (FEWEST_DIGITS - 1) and distinct[-1] < 10 * distinct[0]
        if is_code or len(values) ** 2 / (2 * span) >= EXPECTED_REPEATS:
            return "never repeats a value, like an identifier"
    return ""


def _required_date_format(series: pl.Series, option: str, options: ColumnOptions, missing: frozenset[str]) -> str:
    """Return the format of a column that the user says holds dates.

    Raises:
        SettingError: it cannot be told, or there are several.
    """
    given = options.date_format_of(series.name)
    if given is not None:
        return given
    found = infer_date_format(series, missing)
    if found.name is not None:
        return found.name
    present = cells.texts(series, cells.number_words(missing)).drop_nulls()
    if not len(present):
        return ""
    raise SettingError(f"{option} {series.name}: {choices(series.name, present, found)}")


def _time_format(series: pl.Series, options: ColumnOptions, missing: frozenset[str]) -> str:
    """Return the format of the column that orders the rows: numbers of any unit, or dates.

    Raises:
        SettingError: it holds dates whose format cannot be told.
    """
    if options.date_format_of(series.name) is None:
        texts = cells.texts(series, cells.number_words(missing)).drop_nulls()
        unread = 0 if series.dtype.is_numeric() else cells.numbers(texts).unread
        if not series.dtype.is_temporal() and is_readable(unread, len(texts)):
            return cells.NUMBERS
    return _required_date_format(series, "--time", options, missing)
