"""Reading a block record by record: slow, and therefore only where `clean` refuses a block.

Every record is kept or rejected by itself. A quote that does not close costs its own line alone: reading begins anew on
the next one, so that the neighbours are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from detector.files import blocks
from detector.files.record import BrokenRecord, UnterminatedQuote, read_record
from detector.files.utf8 import UNDECODED, decode, encode, printable
from detector.rejects import Reject, shorten


@dataclass
class LenientBlock:
    """What a block held."""

    line: int  # that of the next record
    rows: list[int] = field(default_factory=list)
    records: list[str | list[str]] = field(default_factory=list)  # lines as they stand, and fields where quotes were
    rejects: list[Reject] = field(default_factory=list)
    blank: int = 0
    rest: bytes = b""  # a record that did not end

    def plain(self) -> bytes | None:
        """Give the records as lines again, if all are such lines; not one of them has a quote."""
        lines = [record for record in self.records if isinstance(record, str)]
        return encode("".join(lines)) if len(lines) == len(self.records) else None


class LenientReader:
    """Sifts the blocks of one file."""

    def __init__(self, file: str, columns: Sequence[str], separator: str) -> None:
        self._file = file
        self._columns = columns
        self._separator = separator

    def sift(self, block: bytes, line: int, *, last: bool) -> LenientBlock:
        """Read the records of a block of whole lines, the first being number `line`.

        A record that does not end in the block is left in `rest`, unless no block follows or it is too long to be one.
        """
        sifted = LenientBlock(line)
        text = decode(block)
        start = 0
        while start < len(text):
            end = text.index("\n", start)
            try:
                stop = self._take(text, start, end, sifted)
            except UnterminatedQuote as broken:
                if not last and len(text) - start <= blocks.MAX_RECORD_BYTES:
                    sifted.rest = encode(text[start:])
                    break
                stop = self._reject(broken, end + 1, sifted)
            except BrokenRecord as broken:
                stop = self._reject(broken, end + 1, sifted)
            sifted.line += text.count("\n", start, stop)
            start = stop
        return sifted

    def _take(self, text: str, start: int, end: int, sifted: LenientBlock) -> int:
        """Keep or skip the record that starts on the line from `start` to `end`; give where the next one starts."""
        columns = len(self._columns)
        record: str | list[str]
        if text.find('"', start, end) < 0:
            record, stop = text[start : end + 1], end + 1
            found = text.count(self._separator, start, end) + 1
        else:
            record, stop = read_record(text, start, self._separator, columns)
            found = len(record)
        if found == 1 and is_blank(text[start:end], columns):
            sifted.blank += 1
            return stop
        if found != columns:
            raise BrokenRecord(columns, f"{found} fields", f"{columns} fields")
        if not text.isascii() and UNDECODED.search(text, start, stop):
            return self._reject(undecodable(self.fields(record)), stop, sifted)
        sifted.rows.append(sifted.line)
        sifted.records.append(record)
        return stop

    def fields(self, record: str | list[str]) -> list[str]:
        """Give the fields of a record that was kept."""
        return record if isinstance(record, list) else record[:-1].removesuffix("\r").split(self._separator)

    def _reject(self, broken: BrokenRecord, stop: int, sifted: LenientBlock) -> int:
        """Reject what starts on this line; give where reading goes on."""
        column = self._columns[broken.place] if broken.place < len(self._columns) else ""
        found = shorten(printable(broken.found))
        sifted.rejects.append(Reject(sifted.line, column, found, broken.expected, self._file))
        return stop


def is_blank(line: str, columns: int) -> bool:
    """Tell a blank line from a record: in a table of one column, spaces are a cell."""
    return not (line.strip() if columns > 1 else line.removesuffix("\r"))


def undecodable(fields: Sequence[str]) -> BrokenRecord:
    """Point at the first field that is no UTF-8."""
    place = next(place for place, text in enumerate(fields) if UNDECODED.search(text))
    return BrokenRecord(place, fields[place], "UTF-8")
