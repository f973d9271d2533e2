"""The kind of a column that was read as text, and what to say about it.

A column of texts is one of numbers or dates if nearly all texts are, however they are written; else a boolean, a category,
or an identifier. If most of its texts are numbers or dates but for a symbol, a note names the option that changes the kind.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl

from detector import cells
from detector.columns import Column, format_names
from detector.manifest import IgnoredColumn
from detector.number_format import NumberFormat
from training.date_formats import MIN_ROWS, FoundDateFormat, are_mostly_dates, infer_date_format, is_readable
from training.number_formats import infer_number_format, numbers_with_symbols

IDENTIFIER_SHARE = 0.9  # a column with a larger share of distinct texts looks like an identifier
BOOLEAN_WORDS = cells.BOOLEANS.keys() - {"0", "1"}  # 0 and 1 are numbers: a 2 may follow


class TextOptions(Protocol):
    """What the user says about how texts are written."""

    @property
    def decimal_comma(self) -> bool:
        """Whether decimals have a comma."""

    def date_format_of(self, name: str) -> str | None:
        """Return the format of a column's dates; None if the user gave none."""


def column_of_texts(texts: pl.Series, options: TextOptions) -> Column | IgnoredColumn:
    """Return the column that texts, none of them missing, are; or why it is ignored."""
    name = texts.name
    is_placeholder = texts.str.to_lowercase().is_in(list(cells.PLACEHOLDERS))
    present, note = texts.filter(~is_placeholder), _placeholder_note(texts.filter(is_placeholder))
    if not len(present):
        found = format_names(texts.unique().sort())
        return IgnoredColumn(name, f"holds only {found}, which mean no value; --category keeps them")
    written = infer_number_format(present, decimal_comma=options.decimal_comma)
    numbers = cells.numbers(present, written=written)
    if is_readable(numbers.unread, len(present)):
        return number_column(name, written, note)
    dates = _dates_of(present, options)
    if dates.name is not None:
        return Column(name=name, kind="date", date_format=dates.name, note=note)
    if set(present.unique().str.to_lowercase()) <= BOOLEAN_WORDS:
        return Column(name=name, kind="boolean", note=note)
    reason = f"looks like dates, but {choices(name, present, dates)}" if dates.choices else ""
    if _have_decimal_commas(present):
        reason = f"most are like {present[0]}: --decimal-comma reads them as numbers"
    if reason:
        return IgnoredColumn(name, f"{reason}, --category keeps the texts")
    return _category_or_identifier(texts, _doubt(name, present, numbers))


def number_column(name: str, written: NumberFormat, note: str = "") -> Column:
    """Return a column of numbers that are written in a format."""
    return Column(name=name, kind="number", unit=written.unit, thousands=written.thousands, decimal=written.decimal, note=note)


def _category_or_identifier(texts: pl.Series, doubt: str) -> Column | IgnoredColumn:
    name, distinct = texts.name, texts.n_unique()
    if len(texts) >= MIN_ROWS and distinct > IDENTIFIER_SHARE * len(texts):
        reason = f"looks like an identifier: {distinct} different texts in {len(texts)} rows"
        return IgnoredColumn(name, ", ".join(filter(None, [reason, doubt])))
    return Column(name=name, kind="category", note=f"is a category; {doubt}" if doubt else "")


def _have_decimal_commas(texts: pl.Series) -> bool:
    """Return whether texts are numbers if commas are decimal."""
    written = infer_number_format(texts, decimal_comma=True)
    return is_readable(cells.numbers(texts, written=written).unread, len(texts)) and bool(
        texts.str.contains(",", literal=True).any()
    )


def _dates_of(present: pl.Series, options: TextOptions) -> FoundDateFormat:
    """Return the format of dates that texts are written in, or those among which the user must choose."""
    given = options.date_format_of(present.name)
    if given is not None and is_readable(cells.dates(present, date_format=given).unread, len(present)):
        return FoundDateFormat(given)
    return infer_date_format(present, cells.MISSING)


def choices(name: str, present: pl.Series, found: FoundDateFormat) -> str:
    """Return why the format of dates cannot be told, and how the user tells it."""
    examples = " or ".join(f"--date-format {name}={each}" for each in found.choices[:3] or ("%d/%m/%Y",))
    if found.choices:
        return f"day, month and year of {present[0]} cannot be told apart in this column: choose {examples}"
    return (
        f"{present[0]} is not a date in a format or unit that all cells of the column share: name the format, such as {examples}"
    )


def _placeholder_note(placeholders: pl.Series) -> str:
    if not len(placeholders):
        return ""
    noun = "cell" if len(placeholders) == 1 else "cells"
    return f"{len(placeholders):,} {noun} with {format_names(placeholders.unique().sort(), 4)} read as missing"


def _doubt(name: str, present: pl.Series, numbers: cells.Parsed) -> str:
    """Return why a column most of whose texts are numbers or dates is not taken for one, and what would change that."""
    bad = np.asarray(numbers.bad)
    others = present.filter(pl.Series(bad)).value_counts(sort=True, name="n")[present.name]
    if 2 * int(bad.sum()) < len(present):
        return (
            f"{len(present) - int(bad.sum())} of {len(present)} texts are numbers, but not {format_names(others, 2)}: "
            f"--numeric {name} keeps it and rejects these, --missing names a text that means none"
        )
    symbols = numbers_with_symbols(present)
    if 2 * int(symbols.sum()) > len(present):
        return (
            f"its texts are numbers with different symbols, such as {format_names(others, 2)}: --numeric {name} reads those "
            f"in the most frequent unit and rejects the others, --category {name} keeps the texts"
        )
    if are_mostly_dates(present):
        return (
            f"most of its texts look like dates, such as {present[0]}, but no format reads all of them: "
            f"--date-format {name}=%d/%m/%Y (its own format) reads those that have it and rejects the others"
        )
    return ""
