"""One record of delimited text: separated fields, some of them quoted (RFC 4180).

Python's csv module reads the same language, but it refuses long fields and does not report where a record ends, which a
reader needs to resume after a broken quote.
"""

from __future__ import annotations

import re
from functools import cache

QUOTED = re.compile(r'"[^"]*+(?:""[^"]*+)*+')  # a quoted field, without its closing quote


class BrokenRecord(Exception):
    """A record with invalid quoting: the index of the field, what was found and what was expected."""

    def __init__(self, index: int, found: str, expected: str) -> None:
        super().__init__(index, found, expected)
        self.index = index
        self.found = found
        self.expected = expected


class UnterminatedQuote(BrokenRecord):
    """A quote that does not close in the given text."""


def read_record(text: str, start: int, separator: str, max_fields: int | None = None) -> tuple[list[str], int]:
    """Return the fields of the record that starts at `start`, and the start of the next record.

    The text must end with a line break. A record of several lines with more than `max_fields` fields is given up: it is
    caused by a stray quote.

    Raises:
        BrokenRecord: a quoted field continues after its closing quote, or there are too many fields.
        UnterminatedQuote: the text ends inside a quoted field.
    """
    fields: list[str] = []
    line_end = text.index("\n", start)
    while True:
        field, stop = read_field(text, start, separator, len(fields))
        fields.append(field)
        if text[stop] != separator:
            return fields, stop + (2 if text[stop] == "\r" else 1)
        start = stop + 1
        if max_fields is not None and len(fields) > max_fields and start > line_end:
            raise BrokenRecord(max_fields, f"more than {max_fields} fields", f"{max_fields} fields")


def read_field(text: str, start: int, separator: str, index: int) -> tuple[str, int]:
    """Return one field, and the position of the separator or line break after it."""
    if text[start] == '"':
        return read_quoted(text, start, separator, index)
    stop = end_of(unquoted(separator), text, start)
    field = text[start:stop]
    return (field if text[stop] == separator else field.removesuffix("\r")), stop


def read_quoted(text: str, start: int, separator: str, index: int) -> tuple[str, int]:
    """Return the text between the quotes, and the position of the separator or line break after them."""
    stop = end_of(QUOTED, text, start)
    if stop == len(text):
        raise UnterminatedQuote(index, rest_of_line(text, start), "a quote that closes")
    field = text[start + 1 : stop].replace('""', '"')
    stop += 1
    if text[stop] != separator and not text.startswith(("\n", "\r\n"), stop):
        raise BrokenRecord(index, rest_of_line(text, start), "a separator after the closing quote")
    return field, stop


@cache
def unquoted(separator: str) -> re.Pattern[str]:
    """Return the pattern of a field without quotes."""
    return re.compile(f"[^{re.escape(separator)}\n]*+")


def end_of(pattern: re.Pattern[str], text: str, start: int) -> int:
    """Return the end of a pattern's match at `start`."""
    found = pattern.match(text, start)
    return found.end() if found else start


def rest_of_line(text: str, start: int) -> str:
    """Return the text up to the end of the line."""
    return text[start : text.index("\n", start)]
