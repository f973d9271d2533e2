"""How the texts of a column write numbers: with a unit, with separators between thousands, with a decimal comma.

Training decides the format of each column (`training.number_formats`), the manifest keeps it, and `detector.cells` reads by
it, so all interfaces agree. A number that is no text has no format: it is in the column's unit.
"""

from __future__ import annotations

import functools
import re

import msgspec
import polars as pl

SPACES = " \u00a0\u2009\u202f"  # ordinary, no-break, thin, and narrow no-break
SPELLINGS = {",": ",", ".": r"\.", " ": f"[{SPACES}]", "'": "['\u2019]"}  # of a separator between thousands
NAMES = {",": "commas", ".": "points", " ": "spaces", "'": "apostrophes"}


class NumberFormat(msgspec.Struct, frozen=True):
    """How numbers are written; without arguments as in a program: -1234.5."""

    unit: str = ""  # before or after a number, such as % or kg; a number without it is in the same unit
    thousands: str = ""  # between groups of three digits
    decimal: str = "."

    @property
    def is_plain(self) -> bool:
        """Whether a parser of numbers reads it as it is."""
        return self == PLAIN

    def plain(self, texts: pl.Series) -> pl.Series:
        """Return texts as plain numbers; null where one is written in another way."""
        parts = texts.str.extract_groups(_pattern(self)).struct
        number = parts.field("number")
        if self.thousands:
            number = number.str.replace_all(SPELLINGS[self.thousands], "")
        if self.decimal != ".":
            number = number.str.replace(self.decimal, ".", literal=True)
        return parts.field("sign") + number

    def describe(self) -> str:
        """Return the format in words, such as `in kg and with a decimal comma`; empty if plain."""
        parts = [
            f"in {self.unit}" if self.unit else "",
            f"with {NAMES[self.thousands]} between thousands" if self.thousands else "",
            "with a decimal comma" if self.decimal == "," else "",
        ]
        return " and ".join(filter(None, [", ".join(filter(None, parts[:-1])), parts[-1]]))


PLAIN = NumberFormat()


@functools.cache
def _pattern(written: NumberFormat) -> str:
    """Return the pattern of a number: its sign and its digits as groups, the unit on either side of it."""
    decimal = re.escape(written.decimal)
    digits = r"[0-9]+"
    if written.thousands:
        digits = rf"(?:[1-9][0-9]{{0,2}}(?:{SPELLINGS[written.thousands]}[0-9]{{3}})+|[0-9]+)"
    number = rf"(?:{digits}(?:{decimal}[0-9]*)?|{decimal}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    unit = rf"(?:{re.escape(written.unit)})?" if written.unit else ""
    return rf"^(?<sign>[+-]?)\s*{unit}\s*(?<number>[+-]?{number})\s*{unit}$"
