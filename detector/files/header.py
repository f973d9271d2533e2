"""The header of a delimited file: column names and separator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from detector.columns import format_names
from detector.errors import TableError
from detector.files import blocks
from detector.files.record import BrokenRecord, UnterminatedQuote, read_record
from detector.files.stream import BOM, ByteStream
from detector.files.utf8 import UNDECODED, decode, encode

FIRST_BYTES = 1 << 16
SEPARATORS = ",;\t|"
SEPARATORS_WITH_DECIMAL_COMMA = ";\t|,"  # on equal evidence a comma is a decimal comma
SAMPLE_LINES = 5
BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")
QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"[^"]*"', re.MULTILINE)
SEPARATOR_LINE = re.compile(r'"?sep=(?P<separator>[,;|\t])"?[^\S\n]*\n', re.IGNORECASE)  # written by Excel, for Excel
COMMENTS = re.compile(r"(?m)^#(?P<text>[^\n]*)\n")
COMMENTS_END = re.compile(r"(?:(?:#[^\n]*|[^\S\n]*)\n)*")
NUMBER = re.compile(r"[+-]?[0-9]*[.,]?[0-9]+")
FIELDS = re.compile(r"\s*[,;\t|]\s*|\s+")
BARE_RETURN = re.compile(r"\r(?!\n)")
OTHER_FORMATS = {  # first bytes of files that are not text -> what the file is, and what to do
    b"\x1f\x8b": "is compressed with gzip: end its name in .gz, or unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: end its name in .zst, or unpack it first",
    b"PAR1": "is Parquet: give it as a file that ends in .parquet",
    b"PK\x03\x04": "is a zip archive, as a spreadsheet is: save the table as CSV",
}


class Header(NamedTuple):
    """The column names, the separator, and the length of the header with the lines before it.

    The separator " " stands for any run of blanks.
    """

    names: tuple[str, ...]
    separator: str
    lines: int
    bytes: int


def read_header(stream: ByteStream, *, decimal_comma: bool = False) -> Header:
    """Read the header and the blank lines before it from the stream.

    Raises:
        TableError: the file is empty, or its header cannot be used.
    """
    if stream.peek(len(BOM)) == BOM:
        stream.read(len(BOM))
    separators = SEPARATORS_WITH_DECIMAL_COMMA if decimal_comma else SEPARATORS
    try:
        header = first_header(stream, separators)
    except BrokenRecord as broken:
        raise TableError(f"{stream.name}: a quote in the header does not close properly at {broken.found}") from broken
    stream.read(header.bytes)
    return header


def first_header(stream: ByteStream, separators: str) -> Header:
    """Find the header in the first bytes; if it does not end there, in as many bytes as a record may have."""
    try:
        return find_header(stream.name, first_text(stream, FIRST_BYTES), separators)
    except (UnterminatedQuote, TableError):
        return find_header(stream.name, first_text(stream, blocks.MAX_RECORD_BYTES), separators)


def first_text(stream: ByteStream, size: int) -> str:
    """Decode the whole lines among the first `size` bytes."""
    data = stream.peek(size)
    advice = next((advice for start, advice in OTHER_FORMATS.items() if data.startswith(start)), None)
    if advice:
        raise TableError(f"{stream.name} {advice}")
    if data[:2].count(0) == 1 == data[2:4].count(0):
        raise TableError(f"{stream.name} looks like UTF-16: read it with --encoding utf-16-le or utf-16-be")
    is_all = len(data) < size
    lines = data if is_all else data[: data.rfind(b"\n") + 1]
    if data and not lines:
        raise TableError(f"{stream.name}: the first line does not end within {size >> 20} MB, so this is not a text table")
    text = decode(lines)
    return text if text.endswith("\n") else text + "\n"


def find_header(name: str, text: str, separators: str) -> Header:
    """Parse the first record as a header.

    Raises:
        BrokenRecord: its quoting is invalid.
        TableError: there is none, or its names cannot be used.
    """
    start = end_of_blank_lines(text)
    if start == len(text):
        raise TableError(f"{name} is empty: it has not even a header")
    named = SEPARATOR_LINE.match(text, start)
    start = end_of_comments(text, named.end() if named else start)
    separator = named["separator"] if named else detect_separator(text[start : start + FIRST_BYTES], separators)
    if separator == " ":
        stop = text.index("\n", start) + 1
        fields = text[start:stop].split()
    else:
        fields, stop = read_record(text, start, separator)
    check_bytes(name, text[start:stop])
    names = tuple(field.strip() for field in fields)
    check_names(name, names)
    return Header(names, separator, text.count("\n", 0, stop), len(encode(text[:stop])))


def end_of_blank_lines(text: str) -> int:
    """Return the position of the first line that is not blank."""
    blank = BLANK_LINES.match(text)
    return blank.end() if blank else 0


def end_of_comments(text: str, start: int) -> int:
    """Return the start of the header after lines of comments; the last comment is the header if the next line is data."""
    comments = list(COMMENTS.finditer(text, start, COMMENTS_END.match(text, start).end()))  # type: ignore[union-attr]  # matches always
    if not comments:
        return start
    end = end_of_blank_lines_from(text, comments[-1].end())
    line = text[end : text.find("\n", end)] if end < len(text) else ""
    names = comments[-1]["text"].strip()
    is_data = bool(line) and bool(NUMBER.match(line.replace('"', "").strip()))
    if is_data and len(FIELDS.split(names)) == len(FIELDS.split(line.strip())):
        return comments[-1].start("text")
    return end if line else start


def end_of_blank_lines_from(text: str, start: int) -> int:
    """Return the position of the first line from `start` on that is not blank."""
    blank = BLANK_LINES.match(text, start)
    return blank.end() if blank else start


def detect_separator(text: str, separators: str) -> str:
    """Return the separator that is in the header, is as frequent in the lines after it, and is the most frequent."""
    lines = QUOTED.sub("", text).split("\n", SAMPLE_LINES + 1)[: SAMPLE_LINES + 1]
    header, *samples = (Counter(line) for line in lines)

    def evidence(separator: str) -> tuple[bool, int, int]:
        count = header[separator]
        return count > 0, sum(sample[separator] == count for sample in samples), count

    best = max(separators, key=evidence)
    return " " if not header[best] and has_columns_of_blanks(lines) else best


def has_columns_of_blanks(lines: Sequence[str]) -> bool:
    """Return whether runs of blanks separate as many names as there are cells, some of them numbers, in every line."""
    names, *records = (line.split() for line in lines if line.strip())
    return (
        len(names) > 1
        and bool(records)
        and all(len(cells) == len(names) and any(NUMBER.fullmatch(cell) for cell in cells) for cells in records)
    )


def check_bytes(name: str, header: str) -> None:
    """Raise unless a header is UTF-8 with LF or CRLF line ends.

    Raises:
        TableError: it is not; the message says what to save instead.
    """
    if UNDECODED.search(header):
        raise TableError(f"{name}: the header is not UTF-8: name its encoding, such as --encoding cp1252 or latin-1")
    if BARE_RETURN.search(header):
        raise TableError(f"{name}: its lines end in bare carriage returns: save it with LF or CRLF")


def check_names(name: str, names: tuple[str, ...]) -> None:
    """Raise unless all columns have different, non-empty names.

    Raises:
        TableError: they do not; the message lists the columns.
    """
    unnamed = [number for number, column in enumerate(names, 1) if not column]
    if unnamed:
        numbers = ", ".join(map(str, unnamed[:5]))
        hint = " (pandas: to_csv(index=False))" if unnamed == [1] else ""
        raise TableError(f"{name}: the header has no name for column {numbers} of {len(names)}: name or drop it{hint}")
    repeated = [column for column, count in Counter(names).items() if count > 1]
    if repeated:
        numbers = " and ".join(str(number) for number, column in enumerate(names, 1) if column == repeated[0])
        raise TableError(f"{name}: the header names {format_names(repeated)} more than once (columns {numbers})")
