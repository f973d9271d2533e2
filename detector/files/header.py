"""The header of a delimited file: its names, and the separator it was written with."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from detector.columns import format_names
from detector.errors import TableError
from detector.files import blocks
from detector.files.record import BrokenRecord, UnterminatedQuote, read_record
from detector.files.stream import BOM, ByteStream
from detector.files.utf8 import UNDECODED, decode, encode

FIRST_LOOK = 1 << 16
SEPARATORS = ",;\t|"
WITH_DECIMAL_COMMA = ";\t|,"  # a comma that might be either is rather a decimal one
SAMPLES = 5
BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")
QUOTED = re.compile(r'(?:^|(?<=[,;\t|]))"[^"]*"', re.MULTILINE)
BARE_RETURN = re.compile(r"\r(?!\n)")
UTF16 = "is written in UTF-16: save it as UTF-8"
NO_TEXT = {  # how bytes begin that are no text, and what to do
    b"\xff\xfe": UTF16,
    b"\xfe\xff": UTF16,
    b"\x1f\x8b": "is compressed with gzip: end its name in .gz, or unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: end its name in .zst, or unpack it first",
    b"PAR1": "is Parquet: give it as a file that ends in .parquet",
    b"PK\x03\x04": "is a zip archive, as a spreadsheet is: save the table as CSV",
}


class Header(NamedTuple):
    """What the header says, and how much of the file it takes."""

    names: tuple[str, ...]
    separator: str
    lines: int
    bytes: int


def read_header(stream: ByteStream, *, decimal_comma: bool = False) -> Header:
    """Take the header off the stream, with the blank lines before it.

    Raises:
        TableError: the file is empty, or its header cannot be used.
    """
    if stream.peek(len(BOM)) == BOM:
        stream.read(len(BOM))
    separators = WITH_DECIMAL_COMMA if decimal_comma else SEPARATORS
    try:
        header = first_header(stream, separators)
    except BrokenRecord as broken:
        raise TableError(f"{stream.name}: a quote in the header does not close properly at {broken.found}") from broken
    stream.read(header.bytes)
    return header


def first_header(stream: ByteStream, separators: str) -> Header:
    """Look for the header in a few bytes, and only if it is not all there, in as many as a record may take."""
    try:
        return find_header(stream.name, first_text(stream, FIRST_LOOK), separators)
    except (UnterminatedQuote, TableError):
        return find_header(stream.name, first_text(stream, blocks.MAX_RECORD_BYTES), separators)


def first_text(stream: ByteStream, size: int) -> str:
    """Decode the whole lines among the first bytes."""
    data = stream.peek(size)
    what = next((what for start, what in NO_TEXT.items() if data.startswith(start)), None)
    if what:
        raise TableError(f"{stream.name} {what}")
    ended = len(data) < size
    whole = data if ended else data[: data.rfind(b"\n") + 1]
    if data and not whole:
        raise TableError(f"{stream.name}: the first line does not end within {size >> 20} MB, so this is no table of text")
    text = decode(whole)
    return text if text.endswith("\n") else text + "\n"


def find_header(name: str, text: str, separators: str) -> Header:
    """Read the first record.

    Raises:
        Broken: its quotes do not work out.
        TableError: there is none, or its names cannot be used.
    """
    start = end_of_blank_lines(text)
    if start == len(text):
        raise TableError(f"{name} is empty: it has not even a header")
    separator = sniff(text[start : start + FIRST_LOOK], separators)
    fields, stop = read_record(text, start, separator)
    check_bytes(name, text[start:stop])
    names = tuple(field.strip() for field in fields)
    check_names(name, names)
    return Header(names, separator, text.count("\n", 0, stop), len(encode(text[:stop])))


def end_of_blank_lines(text: str) -> int:
    """Give where the first line starts that is not blank."""
    blank = BLANK_LINES.match(text)
    return blank.end() if blank else 0


def sniff(text: str, separators: str) -> str:
    """Pick the separator that the header holds, that the lines after it hold as often, and that it holds most."""
    lines = QUOTED.sub("", text).split("\n", SAMPLES + 1)[: SAMPLES + 1]
    header, *samples = (Counter(line) for line in lines)

    def fitness(separator: str) -> tuple[bool, int, int]:
        times = header[separator]
        return times > 0, sum(sample[separator] == times for sample in samples), times

    return max(separators, key=fitness)


def check_bytes(name: str, header: str) -> None:
    """Refuse a header in another encoding, or with line ends that nothing has written since 2001.

    Raises:
        TableError: says what it is, and what to save instead.
    """
    if UNDECODED.search(header):
        raise TableError(f"{name}: the header is not UTF-8: save the file as UTF-8")
    if BARE_RETURN.search(header):
        raise TableError(f"{name}: its lines end in bare carriage returns: save it with LF or CRLF")


def check_names(name: str, names: tuple[str, ...]) -> None:
    """Refuse a header in which a column has no name, or two have the same.

    Raises:
        TableError: names the columns and where they stand.
    """
    unnamed = [place for place, column in enumerate(names, 1) if not column]
    if unnamed:
        places = ", ".join(map(str, unnamed[:5]))
        index = " (pandas: to_csv(index=False))" if unnamed == [1] else ""
        raise TableError(f"{name}: the header has no name for column {places} of {len(names)}: name or drop it{index}")
    twice = [column for column, times in Counter(names).items() if times > 1]
    if twice:
        places = " and ".join(str(place) for place, column in enumerate(names, 1) if column == twice[0])
        raise TableError(f"{name}: the header names {format_names(twice)} more than once (columns {places})")
