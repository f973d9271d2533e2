"""One record of delimited text: fields between separators, some of them quoted, as RFC 4180 has it.

Python's csv module reads the same language, but cannot say where a record ends, which a reader must know that begins
anew after a broken quote; and it refuses long cells.
"""

from __future__ import annotations

import re
from functools import cache

QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+')  # a quoted field up to its closing quote, which is not taken


class BrokenRecord(Exception):
    """A record whose quotes do not work out: at which field, what was found there, what was expected."""

    def __init__(self, place: int, found: str, expected: str) -> None:
        super().__init__(place, found, expected)
        self.place = place
        self.found = found
        self.expected = expected


class UnterminatedQuote(BrokenRecord):
    """A quote that does not close in the text at hand."""


def read_record(text: str, start: int, separator: str, most: int | None = None) -> tuple[list[str], int]:
    """Give the fields of the record that starts at `start`, and where the next record does.

    The text ends with a line break. A record of several lines is given up once it has more than `most` fields: only a
    stray quote makes it run on.

    Raises:
        Broken: a quoted field goes on behind its closing quote, or there are too many fields.
        Unterminated: the text ends inside a quoted field.
    """
    fields: list[str] = []
    line_end = text.index("\n", start)
    while True:
        field, stop = read_field(text, start, separator, len(fields))
        fields.append(field)
        if text[stop] != separator:
            return fields, stop + (2 if text[stop] == "\r" else 1)
        start = stop + 1
        if most is not None and len(fields) > most and start > line_end:
            raise BrokenRecord(most, f"more than {most} fields", f"{most} fields")


def read_field(text: str, start: int, separator: str, place: int) -> tuple[str, int]:
    """Give one field, and where the separator or the line break behind it stands."""
    if text[start] == '"':
        return read_quoted(text, start, separator, place)
    stop = end_of(bare(separator), text, start)
    field = text[start:stop]
    return (field if text[stop] == separator else field.removesuffix("\r")), stop


def read_quoted(text: str, start: int, separator: str, place: int) -> tuple[str, int]:
    """Give what stands between the quotes, and where the separator or the line break behind them stands."""
    stop = end_of(QUOTED, text, start)
    if stop == len(text):
        raise UnterminatedQuote(place, rest_of_line(text, start), "a quote that closes")
    field = text[start + 1 : stop].replace('""', '"')
    stop += 1
    if text[stop] != separator and not text.startswith(("\n", "\r\n"), stop):
        raise BrokenRecord(place, rest_of_line(text, start), "a separator after the closing quote")
    return field, stop


@cache
def bare(separator: str) -> re.Pattern[str]:
    """Give the pattern of a field without quotes."""
    return re.compile(f"[^{re.escape(separator)}\n]*+")


def end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Give where a pattern that is there ends."""
    found = pattern.match(text, start)
    return found.end() if found else start


def rest_of_line(text: str, start: int) -> str:
    """Give what a person sees where it went wrong."""
    return text[start : text.index("\n", start)]
