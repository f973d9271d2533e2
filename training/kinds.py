"""The kind of each column of a table: number, category, boolean, date; or ignored, with the reason.

Only kinds are inferred from the whole table. Whatever could leak (vocabularies, scales, constancy) is learned from
training rows alone, in `training.layout`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from detector import cells
from detector.columns import Column, Kind, format_names, suggest_names
from detector.errors import SettingError
from detector.manifest import IgnoredColumn

MAX_UNREADABLE = 0.01  # share of cells that may be unreadable in a column of numbers or dates
IDENTIFIER_SHARE = 0.9  # a column with a larger share of distinct texts looks like an identifier
MIN_ROWS = 20  # with fewer rows no column is called an identifier or a counter
DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
BOOLEAN_WORDS = cells.BOOLEANS.keys() - {"0", "1"}  # 0 and 1 are numbers: a 2 may follow


class ColumnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The kinds that the user named, and the columns with a special role.

    `time` orders the rows and is no feature unless it is among the dates; `key` identifies a series and is no feature.
    """

    category: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time: str | None = None
    key: str | None = None

    def named(self) -> list[str]:
        """Return every column that an option names."""
        return [*self.category, *self.numeric, *self.date, *self.ignore, *filter(None, [self.time, self.key])]

    def kind_of(self, name: str) -> Kind | None:
        """Return the kind that the user gave a column, if any."""
        by_kind: dict[Kind, tuple[str, ...]] = {"category": self.category, "number": self.numeric, "date": self.date}
        return next((kind for kind, names in by_kind.items() if name in names), None)


class InferredColumns(NamedTuple):
    """The columns to train on, and the ignored ones with the reason."""

    columns: list[Column]
    ignored: list[IgnoredColumn]


def infer(frame: pl.DataFrame, options: ColumnOptions, missing: frozenset[str]) -> InferredColumns:
    """Infer the kind of each column from the whole table; `missing` holds the words that mean a missing cell.

    Raises:
        SettingError: an option names a column that is not there or contradicts another, or no column is left.
    """
    check_options(options, frame.columns)
    found = {name: _kind_or_reason(frame[name], options, missing) for name in frame.columns}
    columns = [Column(name=name, kind=kind) for name, kind in found.items() if not isinstance(kind, IgnoredColumn)]
    ignored = [kind for kind in found.values() if isinstance(kind, IgnoredColumn)]
    if not columns:
        raise SettingError("no column is left to learn from: " + "; ".join(f"{i.name}: {i.reason}" for i in ignored))
    return InferredColumns(columns, ignored)


def check_options(options: ColumnOptions, names: list[str]) -> None:
    """Raise unless a table with these column names can satisfy the options.

    Raises:
        SettingError: an option names a column that is not there, or contradicts another.
    """
    unknown = [name for name in options.named() if name not in names]
    if unknown:
        raise SettingError(
            f"the table has no column {format_names(unknown)}{suggest_names(unknown, names)}; it has {format_names(names)}"
        )
    listed = [*options.category, *options.numeric, *options.date, *options.ignore]
    repeated = sorted({name for name in listed if listed.count(name) > 1})
    if repeated:
        raise SettingError(f"column {format_names(repeated)} is named by more than one of the options for columns: keep one")


def _kind_or_reason(series: pl.Series, options: ColumnOptions, missing: frozenset[str]) -> Kind | IgnoredColumn:
    name = series.name
    reasons: dict[str | None, str] = {}
    if name not in options.date:
        reasons[options.time] = "orders the rows; --date makes it a feature too"
    reasons[options.key] = "identifies the series"
    reasons.update(dict.fromkeys(options.ignore, "ignored by option"))
    if name in reasons:
        return IgnoredColumn(name, reasons[name])
    named_kind = options.kind_of(name)
    kind = named_kind or _infer_kind(series, missing)
    if isinstance(kind, IgnoredColumn):
        return kind
    if kind == "number" and not np.isfinite(cells.numbers(series, missing).values).any():
        return IgnoredColumn(name, "holds no number at all")
    if kind == "number" and named_kind is None and _is_counter(cells.numbers(series, missing).values):
        return IgnoredColumn(name, "counts the rows one by one; --numeric keeps it")
    return kind


def _infer_kind(series: pl.Series, missing: frozenset[str]) -> Kind | IgnoredColumn:
    """Infer a column's kind from its type, or from all its texts."""
    if series.dtype == pl.Boolean:
        return "boolean"
    if series.dtype.is_numeric():
        return "number"
    if series.dtype.is_temporal() and series.dtype not in (pl.Time, pl.Duration):
        return "date"
    texts = cells.texts(series, missing).drop_nulls()
    return _kind_of_texts(texts) if len(texts) else IgnoredColumn(series.name, "all its cells are missing")


def _kind_of_texts(texts: pl.Series) -> Kind | IgnoredColumn:
    numbers = cells.numbers(texts)
    if _is_mostly_readable(numbers, len(texts)):
        return "number"
    if _is_mostly_readable(cells.dates(texts), len(texts)):
        return "date"
    if 2 * int(texts.str.contains(DECIMAL_COMMA).sum()) > len(texts):
        return IgnoredColumn(
            texts.name, f"most are like {texts[0]}: --decimal-comma reads them as numbers, --category keeps the texts"
        )
    distinct = texts.unique()
    if set(distinct.str.to_lowercase()) <= BOOLEAN_WORDS:
        return "boolean"
    if len(texts) >= MIN_ROWS and len(distinct) > IDENTIFIER_SHARE * len(texts):
        return IgnoredColumn(
            texts.name,
            f"looks like an identifier: {len(distinct)} different texts in {len(texts)} rows{_numeric_hint(numbers)}",
        )
    return "category"


def _numeric_hint(numbers: cells.Parsed) -> str:
    """Return how to keep a column most of whose texts are numbers."""
    readable = int(np.isfinite(numbers.values).sum())
    if 2 * readable <= len(numbers.values):
        return ""
    return f", {readable} of them numbers: --numeric keeps it, --missing names a text that means none"


def _is_mostly_readable(parsed: cells.Parsed, rows: int) -> bool:
    bad = 0 if parsed.bad is None else int(parsed.bad.sum())
    return bad < rows and bad <= max(MAX_UNREADABLE * rows, rows >= MIN_ROWS)


def _is_counter(values: np.ndarray) -> bool:
    """Return whether the values are whole numbers that rise by one from row to row."""
    return len(values) >= MIN_ROWS and bool(np.all(np.diff(values) == 1)) and bool(np.all(values % 1 == 0))
