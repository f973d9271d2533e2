"""Proof that every line of a block is one record with the right number of fields.

polars fills short records with nulls, reads blank lines as records, and looks into long ones only if it reads all
columns. So what it read counts only if this count, over the bytes themselves, agrees.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.intp]

NEWLINE, RETURN, QUOTE = b'\n\r"'
PIECE = 1 << 17  # stays in the cache


def has_shape(block: bytes, separator: str, columns: int, rows: int, *, filled: bool) -> bool:
    """Tell whether the block is exactly `rows` lines of `columns` fields each.

    `filled` says that the last column was read and has no null, so that no line was short; then the total decides.
    Otherwise every line is looked at.
    """
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    cells = np.frombuffer(block, np.uint8)
    expected = rows * (columns - 1)
    if filled and columns > 1 and b'"' not in block:
        # polars made a record of every line, so none is left for a line that it might have dropped.
        return count(cells, ord(separator)) == expected
    return count(cells, NEWLINE) == rows and fields_fit(cells, ord(separator), columns, expected, filled=filled)


def fields_fit(cells: Bytes, separator: int, columns: int, expected: int, *, filled: bool) -> bool:
    """Tell whether quotes stand where they may, and separators where they must."""
    quotes = np.flatnonzero(cells == QUOTE)
    if quotes.size and not well_quoted(cells, quotes, separator):
        return False
    if columns == 1 and not filled:
        return False  # a blank line and an empty cell look the same
    if filled and count(cells, separator) == expected:
        return True
    separators = outside(np.flatnonzero(cells == separator), quotes)
    return separators.size == expected and (filled or each_line_full(cells, separators, columns))


def count(cells: Bytes, byte: int) -> int:
    """Count a byte, piece by piece."""
    return sum(int(np.count_nonzero(cells[at : at + PIECE] == byte)) for at in range(0, cells.size, PIECE))


def well_quoted(cells: Bytes, quotes: Places, separator: int) -> bool:
    """Tell whether quotes stand only around whole fields, doubled inside them, and every field ends on its line."""
    if quotes.size % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    doubled = opening[1:] == closing[:-1] + 1
    before = cells[opening - 1]  # for a quote that begins the block this is the last byte, a line break
    opens = (before == separator) | (before == NEWLINE)
    opens[1:] |= doubled
    after = cells[closing + 1]
    closes = (after == separator) | (after == NEWLINE) | (after == RETURN)
    closes[:-1] |= doubled
    breaks = np.flatnonzero(cells == NEWLINE)
    return bool(opens.all() and closes.all() and outside(breaks, quotes).size == breaks.size)


def outside(places: Places, quotes: Places) -> Places:
    """Give the places that are not inside quotes."""
    return places[np.searchsorted(quotes, places) % 2 == 0] if quotes.size else places


def each_line_full(cells: Bytes, separators: Places, columns: int) -> bool:
    """Tell whether the separators, taken in groups of one line each, all stand on their own line."""
    breaks = np.flatnonzero(cells == NEWLINE)
    lines = separators.reshape(-1, columns - 1)
    return bool((lines[:, -1] < breaks).all() and (lines[1:, 0] > breaks[:-1]).all())
