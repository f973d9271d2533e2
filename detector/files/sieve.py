"""Reading a block record by record: slow, and therefore only where `clean` refuses a block.

Every record is kept or rejected by itself. A quote that does not close costs its own line alone: reading begins anew on
the next one, so that the neighbours are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from detector.files import blocks
from detector.files.record import Broken, Unterminated, read_record
from detector.files.utf8 import UNDECODED, decode, encode, legible
from detector.rejects import Reject, shorten


@dataclass
class Sifted:
    """What a block held."""

    line: int  # that of the next record
    rows: list[int] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    blank: int = 0
    rest: bytes = b""  # a record that did not end


class Sieve:
    """Sifts the blocks of one file."""

    def __init__(self, file: str, columns: Sequence[str], separator: str) -> None:
        self._file = file
        self._columns = columns
        self._separator = separator

    def sift(self, block: bytes, line: int, *, last: bool) -> Sifted:
        """Read the records of a block of whole lines, the first being number `line`.

        A record that does not end in the block is left in `rest`, unless no block follows or it is too long to be one.
        """
        sifted = Sifted(line)
        text = decode(block)
        start = 0
        while start < len(text):
            end = text.index("\n", start)
            try:
                stop = self._take(text, start, end, sifted)
            except Unterminated as broken:
                if not last and len(text) - start <= blocks.LONGEST:
                    sifted.rest = encode(text[start:])
                    break
                stop = self._reject(broken, end + 1, sifted)
            except Broken as broken:
                stop = self._reject(broken, end + 1, sifted)
            sifted.line += text.count("\n", start, stop)
            start = stop
        return sifted

    def _take(self, text: str, start: int, end: int, sifted: Sifted) -> int:
        """Keep or skip the record that starts on the line from `start` to `end`; give where the next one starts."""
        columns = len(self._columns)
        if text.find('"', start, end) < 0:
            fields, stop = text[start:end].removesuffix("\r").split(self._separator), end + 1
        else:
            fields, stop = read_record(text, start, self._separator, columns)
        if len(fields) == 1 and is_blank(text[start:end], columns):
            sifted.blank += 1
            return stop
        if len(fields) != columns:
            raise Broken(columns, f"{len(fields)} fields", f"{columns} fields")
        if not text.isascii() and UNDECODED.search(text, start, stop):
            raise undecodable(fields)
        sifted.rows.append(sifted.line)
        sifted.records.append(fields)
        return stop

    def _reject(self, broken: Broken, stop: int, sifted: Sifted) -> int:
        """Reject one line; give where the next one starts."""
        column = self._columns[broken.place] if broken.place < len(self._columns) else ""
        found = shorten(legible(broken.found))
        sifted.rejects.append(Reject(sifted.line, column, found, broken.expected, self._file))
        return stop


def is_blank(line: str, columns: int) -> bool:
    """Tell a blank line from a record: in a table of one column, spaces are a cell."""
    return not (line.strip() if columns > 1 else line.removesuffix("\r"))


def undecodable(fields: Sequence[str]) -> Broken:
    """Point at the first field that is no UTF-8."""
    place = next(place for place, text in enumerate(fields) if UNDECODED.search(text))
    return Broken(place, fields[place], "UTF-8")
