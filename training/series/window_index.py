"""The rows of a series in order, the windows on them, and contiguous blocks to hold out.

Training may get its rows in any order: they are sorted by key and time. From there on `detector.windows` decides what
scoring decides: which rows are rejected, where a gap begins a window anew.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.columns import Column
from detector.inputs.series import CHUNK, KeyedRows, too_old
from detector.manifest import IgnoredColumn
from detector.rejects import Reject
from detector.windows import Window, Windows

BLOCKS = 4  # held out in turn


class Rows(NamedTuple):
    """Rows by key and time, and the windows on them."""

    places: np.ndarray  # int64[rows], where each stands in the table
    block: np.ndarray  # int64[rows], which block of time it lies in, 0 to BLOCKS - 1
    starts: np.ndarray  # int64[windows], the first row of each
    begun: np.ndarray  # bool[windows], the first after a key's beginning or a gap

    def blocks(self, length: int) -> list[int]:
        """Give the blocks in which windows end; in the first few rows of a short series none do."""
        return [int(block) for block in np.unique(self.block[self.starts + length - 1])]

    def learning(self, held_out: int, length: int) -> np.ndarray:
        """Give the windows of which no row lies in a block: `int64[windows]`, their first rows."""
        first, last = self.block[self.starts], self.block[self.starts + length - 1]
        starts: np.ndarray = self.starts[(held_out < first) | (last < held_out)]
        return starts

    def held_out(self, block: int, length: int) -> np.ndarray:
        """Give the windows whose newest row lies in a block: `int64[windows]`, their places among all windows."""
        return np.flatnonzero(self.block[self.starts + length - 1] == block)


class Material(NamedTuple):
    """A table made ready."""

    columns: list[Column]
    ignored: list[IgnoredColumn]
    window: Window
    matrix: np.ndarray  # float64[rows, columns], in the order of `rows`
    rows: Rows
    rejects: list[Reject]
    infinite: int

    def windows(self, starts: np.ndarray) -> np.ndarray:
        """Cut some windows: `float64[windows, time, columns]`."""
        return self.matrix[starts[:, None] + np.arange(self.window.length)]


def usual_step(keyed: KeyedRows) -> float:
    """Give the median step in time from a row to the next of its key; 1 where there is none."""
    order, codes = _order(keyed)
    steps = np.diff(keyed.times[order])[np.diff(codes[order]) == 0]
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 1.0


def arrange(keyed: KeyedRows, window: Window, rows: np.ndarray) -> tuple[Rows, list[Reject]]:
    """Sort rows and cut their windows; rejects those whose time another row of their key has, `rows` numbering them."""
    order, _ = _order(keyed)
    keys, times = [keyed.keys[place] for place in order.tolist()], keyed.times[order]
    sorted_rows = KeyedRows(keyed.at[order], keys, times, np.arange(len(order), dtype=np.float64)[:, None])
    windows = Windows(window, 1)
    first, begun, rejects = [], [], []
    stays = np.ones(len(order), dtype=bool)
    for start in range(0, len(order), CHUNK):
        part = sorted_rows.chunk(start)
        cut = windows.update(part.keys, part.times, part.matrix)
        first.append(cut.windows[:, 0, 0].astype(np.int64))
        begun.append(cut.is_first)
        stays[start + np.array(list(cut.too_old), dtype=np.int64)] = False
        rejects += too_old(cut, part, window, rows, "")
    renumbered = np.cumsum(stays) - 1
    starts = renumbered[np.concatenate(first)] if first else np.empty(0, dtype=np.int64)
    kept = times[stays]
    whole = Rows(keyed.at[order][stays], _blocks(kept), starts, np.concatenate(begun) if begun else np.empty(0, dtype=bool))
    return whole, rejects


def _blocks(times: np.ndarray) -> np.ndarray:
    """Cut time into blocks of as many rows: gives each row's, `int64[rows]`."""
    if not len(times):
        return np.empty(0, dtype=np.int64)
    bounds = np.sort(times)[[len(times) * block // BLOCKS for block in range(1, BLOCKS)]]
    return np.searchsorted(bounds, times, side="right")


def _order(keyed: KeyedRows) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows' order by key and time, and a number for each row's key."""
    _, codes = np.unique(np.array(keyed.keys, dtype=object).astype(str), return_inverse=True)
    return np.lexsort((keyed.times, codes)), codes
