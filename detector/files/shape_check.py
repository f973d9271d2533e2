"""The shape check: proves that every line of a block is one record with the right number of fields.

polars fills short records with nulls, reads blank lines as records, and notices long records only when it reads all
columns. Its result is therefore accepted only if this count, over the bytes themselves, agrees.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]

NEWLINE, RETURN, QUOTE = b'\n\r"'
PIECE = 1 << 17  # bytes that stay in the cache


def has_shape(block: bytes, separator: str, columns: int, rows: int, *, filled: bool) -> bool:
    """Return whether the block has exactly `rows` lines with `columns` fields each.

    `filled`: the last column was read without a null, so no line is too short, and the total number of separators
    decides. Otherwise every line is checked.
    """
    if b"\r" in block and block.count(b"\r") != block.count(b"\r\n"):
        return False
    cells = np.frombuffer(block, np.uint8)
    expected = rows * (columns - 1)
    if filled and columns > 1 and b'"' not in block:
        # Every record of polars is a full line, so the total is right only if polars dropped no line.
        return count(cells, ord(separator)) == expected
    return count(cells, NEWLINE) == rows and fields_fit(cells, ord(separator), columns, expected, filled=filled)


def fields_fit(cells: Bytes, separator: int, columns: int, expected: int, *, filled: bool) -> bool:
    """Return whether quotes are valid, and every line has its `columns - 1` of the `expected` separators."""
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
    """Return how often a byte occurs; counted piece by piece."""
    return sum(int(np.count_nonzero(cells[start : start + PIECE] == byte)) for start in range(0, cells.size, PIECE))


def well_quoted(cells: Bytes, quotes: Positions, separator: int) -> bool:
    """Return whether quotes enclose whole fields, are doubled inside them, and no field spans a line end."""
    if quotes.size % 2:
        return False
    opening, closing = quotes[::2], quotes[1::2]
    doubled = opening[1:] == closing[:-1] + 1
    before = cells[opening - 1]  # for a quote at the start of the block this is the last byte, a line break
    opens = (before == separator) | (before == NEWLINE)
    opens[1:] |= doubled
    after = cells[closing + 1]
    closes = (after == separator) | (after == NEWLINE) | (after == RETURN)
    closes[:-1] |= doubled
    breaks = np.flatnonzero(cells == NEWLINE)
    return bool(opens.all() and closes.all() and outside(breaks, quotes).size == breaks.size)


def outside(positions: Positions, quotes: Positions) -> Positions:
    """Return the positions that are not inside quotes."""
    return positions[np.searchsorted(quotes, positions) % 2 == 0] if quotes.size else positions


def each_line_full(cells: Bytes, separators: Positions, columns: int) -> bool:
    """Return whether each group of `columns - 1` separators is on its own line."""
    breaks = np.flatnonzero(cells == NEWLINE)
    lines = separators.reshape(-1, columns - 1)
    return bool((lines[:, -1] < breaks).all() and (lines[1:, 0] > breaks[:-1]).all())
