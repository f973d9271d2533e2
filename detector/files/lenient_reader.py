"""The lenient reader: reads a block record by record; slow, so it is used only for blocks that `fast_reader` leaves.

Each record is kept or rejected on its own. A quote that does not close costs only its own line: reading resumes on the
next line, so the records around it are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from detector.files import blocks
from detector.files.record import BrokenRecord, UnterminatedQuote, read_record
from detector.files.utf8 import UNDECODED, decode, encode, printable
from detector.rejects import Reject, shorten

ENCODING = "UTF-8, or the encoding of the file named, such as --encoding cp1252 or latin-1"


@dataclass
class LenientBlock:
    """The records of a block."""

    line: int  # the line number of the next record
    rows: list[int] = field(default_factory=list)
    records: list[str | list[str]] = field(default_factory=list)  # the line, or the fields of a record with quotes
    rejects: list[Reject] = field(default_factory=list)
    blank: int = 0
    rest: bytes = b""  # a record that did not end in the block

    def plain_lines(self) -> bytes | None:
        """Return the records as lines; None if one of them has quotes."""
        lines = [record for record in self.records if isinstance(record, str)]
        return encode("".join(lines)) if len(lines) == len(self.records) else None


class LenientReader:
    """Reads the blocks of one file record by record."""

    def __init__(self, file: str, columns: Sequence[str], separator: str, wanted: Collection[str]) -> None:
        self._file = file
        self._is_wanted = [column in wanted for column in columns]
        self._columns = columns
        self._separator = separator

    def read(self, data: bytes, line: int, *, last: bool) -> LenientBlock:
        """Read the records of a block of whole lines, the first being line number `line`.

        A record that does not end in the block is left in `rest`, unless it is the last block or the record is too long.
        """
        block = LenientBlock(line)
        text = decode(data)
        start = 0
        while start < len(text):
            end = text.index("\n", start)
            try:
                stop = self._read_record(text, start, end, block)
            except UnterminatedQuote as broken:
                if not last and len(text) - start <= blocks.MAX_RECORD_BYTES:
                    block.rest = encode(text[start:])
                    break
                stop = self._reject(broken, end + 1, block)
            except BrokenRecord as broken:
                stop = self._reject(broken, end + 1, block)
            block.line += text.count("\n", start, stop)
            start = stop
        return block

    def _read_record(self, text: str, start: int, end: int, block: LenientBlock) -> int:
        """Keep, reject or skip the record that starts on the line `text[start:end]`; return the start of the next one."""
        columns = len(self._columns)
        record: str | list[str]
        if text.find('"', start, end) < 0:
            record, stop = text[start : end + 1], end + 1
            count = text.count(self._separator, start, end) + 1
        else:
            record, stop = read_record(text, start, self._separator, columns)
            count = len(record)
        if count == 1 and is_blank(text[start:end], columns):
            block.blank += 1
            return stop
        if count != columns:
            raise BrokenRecord(columns, f"{count} fields", f"{columns} fields")
        if not text.isascii() and UNDECODED.search(text, start, stop):
            broken = undecodable(self.fields(record), self._is_wanted)
            if broken:
                return self._reject(broken, stop, block)
            record = printable(record) if isinstance(record, str) else [printable(text) for text in record]
        block.rows.append(block.line)
        block.records.append(record)
        return stop

    def fields(self, record: str | list[str]) -> list[str]:
        """Return the fields of a record that was kept."""
        return record if isinstance(record, list) else record[:-1].removesuffix("\r").split(self._separator)

    def _reject(self, broken: BrokenRecord, stop: int, block: LenientBlock) -> int:
        """Reject the record that starts on this line; return the position at which reading resumes."""
        column = self._columns[broken.index] if broken.index < len(self._columns) else ""
        found = shorten(printable(broken.found))
        block.rejects.append(Reject(block.line, column, found, broken.expected, self._file))
        return stop


def is_blank(line: str, columns: int) -> bool:
    """Return whether a line is blank; in a table of one column, spaces are a cell."""
    return not (line.strip() if columns > 1 else line.removesuffix("\r"))


def undecodable(fields: Sequence[str], is_wanted: Sequence[bool]) -> BrokenRecord | None:
    """Return the error for the first field that is read and is not UTF-8; None if there is none."""
    index = next((index for index, text in enumerate(fields) if is_wanted[index] and UNDECODED.search(text)), None)
    return None if index is None else BrokenRecord(index, fields[index], ENCODING)
