"""What each column of a table is: number, category, boolean, date, or nothing a detector could learn from.

Only kinds are read off the whole table; everything that could leak (vocabularies, scales, constancy) comes from
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

STRAY = 0.01  # share of cells that may be unreadable in a column that is a number or a date all the same
IDENTIFIER = 0.9  # share of different texts from which a column looks like an identifier
FEW = 20  # rows under which nothing is called an identifier
DECIMAL_COMMA = r"^[+-]?[0-9]+,[0-9]+$"
SPELT_BOOLEANS = cells.BOOLEANS.keys() - {"0", "1"}  # 0 and 1 are numbers: a 2 may follow one day


class ColumnOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user says of columns.

    `time` orders the rows and is no feature unless it is among the dates; `key` tells series apart and is none.
    """

    category: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    time: str | None = None
    key: str | None = None

    def named(self) -> list[str]:
        """Every column that is mentioned."""
        return [*self.category, *self.numeric, *self.date, *self.ignore, *filter(None, [self.time, self.key])]

    def kind_of(self, name: str) -> Kind | None:
        """Give the kind that the user said a column has, if any."""
        said: dict[Kind, tuple[str, ...]] = {"category": self.category, "number": self.numeric, "date": self.date}
        return next((kind for kind, names in said.items() if name in names), None)


class Kinds(NamedTuple):
    """The columns to learn from, and those left out with the reason."""

    columns: list[Column]
    ignored: list[IgnoredColumn]


def infer(frame: pl.DataFrame, wishes: ColumnOptions, words: frozenset[str]) -> Kinds:
    """Find out what each column of the whole table is.

    Raises:
        SettingError: a wish names a column that is not there or contradicts another, or no column is left.
    """
    check(wishes, frame.columns)
    found = {name: _judge(frame[name], wishes, words) for name in frame.columns}
    columns = [Column(name=name, kind=kind) for name, kind in found.items() if not isinstance(kind, IgnoredColumn)]
    ignored = [verdict for verdict in found.values() if isinstance(verdict, IgnoredColumn)]
    if not columns:
        raise SettingError("no column is left to learn from: " + "; ".join(f"{i.name}: {i.reason}" for i in ignored))
    return Kinds(columns, ignored)


def check(wishes: ColumnOptions, names: list[str]) -> None:
    """Refuse wishes that a table with these columns cannot meet.

    Raises:
        SettingError: one names a column that is not there, or contradicts another.
    """
    strange = [name for name in wishes.named() if name not in names]
    if strange:
        raise SettingError(
            f"the table has no column {format_names(strange)}{suggest_names(strange, names)}; it has {format_names(names)}"
        )
    flags = [*wishes.category, *wishes.numeric, *wishes.date, *wishes.ignore]
    twice = sorted({name for name in flags if flags.count(name) > 1})
    if twice:
        raise SettingError(f"column {format_names(twice)} is named by more than one of the options for columns: keep one")


def _judge(series: pl.Series, wishes: ColumnOptions, words: frozenset[str]) -> Kind | IgnoredColumn:
    """Say what one column is, or why it is left out."""
    name = series.name
    left_out: dict[str | None, str] = (
        {} if name in wishes.date else {wishes.time: "orders the rows; --date makes it a feature too"}
    )
    left_out[wishes.key] = "tells series apart"
    left_out.update(dict.fromkeys(wishes.ignore, "as asked"))
    if name in left_out:
        return IgnoredColumn(name, left_out[name])
    asked = wishes.kind_of(name)
    kind = asked or _kind(series, words)
    if isinstance(kind, IgnoredColumn):
        return kind
    if kind == "number" and not np.isfinite(cells.numbers(series, words).values).any():
        return IgnoredColumn(name, "holds no number at all")
    if kind == "number" and asked is None and _counts_rows(cells.numbers(series, words).values):
        return IgnoredColumn(name, "counts the rows one by one; --numeric keeps it")
    return kind


def _kind(series: pl.Series, words: frozenset[str]) -> Kind | IgnoredColumn:
    """Infer a column's kind from its type, else from all its texts."""
    if series.dtype == pl.Boolean:
        return "boolean"
    if series.dtype.is_numeric():
        return "number"
    if series.dtype.is_temporal() and series.dtype not in (pl.Time, pl.Duration):
        return "date"
    texts = cells.texts(series, words).drop_nulls()
    return _kind_of_texts(texts) if len(texts) else IgnoredColumn(series.name, "all its cells are missing")


def _kind_of_texts(texts: pl.Series) -> Kind | IgnoredColumn:
    """Infer a kind from the texts that are there."""
    as_numbers = cells.numbers(texts)
    if _mostly_readable(as_numbers, len(texts)):
        return "number"
    if _mostly_readable(cells.dates(texts), len(texts)):
        return "date"
    if 2 * _with_decimal_comma(texts) > len(texts):
        return IgnoredColumn(
            texts.name, f"most are like {texts[0]}: --decimal-comma reads them as numbers, --category keeps the texts"
        )
    distinct = texts.unique()
    if set(distinct.str.to_lowercase()) <= SPELT_BOOLEANS:
        return "boolean"
    if len(texts) >= FEW and len(distinct) > IDENTIFIER * len(texts):
        return IgnoredColumn(
            texts.name,
            f"looks like an identifier: {len(distinct)} different texts in {len(texts)} rows{_hint(as_numbers)}",
        )
    return "category"


def _hint(as_numbers: cells.Parsed) -> str:
    """Say how to keep a column whose texts are numbers but for some."""
    there = int(np.isfinite(as_numbers.values).sum())
    if 2 * there <= len(as_numbers.values):
        return ""
    return f", {there} of them numbers: --numeric keeps it, --missing names a text that means none"


def _with_decimal_comma(texts: pl.Series) -> int:
    """Count the texts that would be numbers but for their decimal comma."""
    return int(texts.str.contains(DECIMAL_COMMA).sum())


def _mostly_readable(parsed: cells.Parsed, rows: int) -> bool:
    """Tell whether so few cells are unreadable that they are faults rather than the rule."""
    bad = 0 if parsed.bad is None else int(parsed.bad.sum())
    return bad < rows and bad <= max(STRAY * rows, rows >= FEW)


def _counts_rows(values: np.ndarray) -> bool:
    """Tell whether a column counts the rows: whole numbers, each one more than the last."""
    return len(values) >= FEW and bool(np.all(np.diff(values) == 1)) and bool(np.all(values % 1 == 0))
