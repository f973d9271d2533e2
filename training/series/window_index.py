"""The rows of a series in order, the windows on them, and contiguous blocks of time to hold out.

Training takes rows in any order and sorts them by key and time. Then `detector.windows` decides, as in scoring, which rows
are rejected and after which gaps a window starts anew.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.inputs.series import CHUNK, KeyedRows, too_old
from detector.rejects import Reject
from detector.windows import Window, Windows

BLOCKS = 4  # held out in turn


class WindowIndex(NamedTuple):
    """Rows by key and time, and the windows on them."""

    rows: np.ndarray  # int64[rows], each row's index in the table
    block: np.ndarray  # int64[rows], each row's block of time, 0 to BLOCKS - 1
    starts: np.ndarray  # int64[windows], the first row of each
    is_first: np.ndarray  # bool[windows], the first after a key's start or a gap
    length: int  # rows of a window

    def blocks(self) -> list[int]:
        """Return the blocks in which windows end: not all in a short series."""
        return [int(block) for block in np.unique(self._last_block())]

    def training(self, held_out: int) -> np.ndarray:
        """Return the windows without a row in the block `held_out`: `int64[windows]`, their first rows."""
        first, last = self.block[self.starts], self._last_block()
        starts: np.ndarray = self.starts[(held_out < first) | (last < held_out)]
        return starts

    def held_out(self, block: int) -> np.ndarray:
        """Return the windows whose newest row is in a block: `int64[windows]`, indices into `starts`."""
        return np.flatnonzero(self._last_block() == block)

    def _last_block(self) -> np.ndarray:
        blocks: np.ndarray = self.block[self.starts + self.length - 1]
        return blocks


def median_step(keyed: KeyedRows) -> float:
    """Return the median time between consecutive rows of a key; 1 if there are none."""
    order, codes = _sort_order(keyed)
    steps = np.diff(keyed.times[order])[np.diff(codes[order]) == 0]
    steps = steps[steps > 0]
    return float(np.median(steps)) if len(steps) else 1.0


def index_windows(keyed: KeyedRows, window: Window, row_numbers: np.ndarray) -> tuple[WindowIndex, list[Reject]]:
    """Sort rows and index their windows; reject rows whose time another row of their key has."""
    order, _ = _sort_order(keyed)
    keys, times = [keyed.keys[index] for index in order.tolist()], keyed.times[order]
    # A single column of row positions, so that each window starts with the position of its first row.
    sorted_rows = KeyedRows(keyed.at[order], keys, times, np.arange(len(order), dtype=np.float64)[:, None])
    windows = Windows(window, 1)
    starts, is_first, rejects = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=bool)], []
    is_kept = np.ones(len(order), dtype=bool)
    for start in range(0, len(order), CHUNK):
        chunk = sorted_rows.chunk(start)
        cut = windows.update(chunk.keys, chunk.times, chunk.matrix)
        starts.append(cut.windows[:, 0, 0].astype(np.int64))
        is_first.append(cut.is_first)
        is_kept[start + np.array(list(cut.too_old), dtype=np.int64)] = False
        rejects += too_old(cut, chunk, window, row_numbers, "")
    new_positions = np.cumsum(is_kept) - 1
    index = WindowIndex(
        rows=keyed.at[order][is_kept],
        block=_blocks_of_time(times[is_kept]),
        starts=new_positions[np.concatenate(starts)],
        is_first=np.concatenate(is_first),
        length=window.length,
    )
    return index, rejects


def _blocks_of_time(times: np.ndarray) -> np.ndarray:
    """Divide time into blocks of equally many rows; return each row's block, `int64[rows]`."""
    if not len(times):
        return np.empty(0, dtype=np.int64)
    bounds = np.sort(times)[[len(times) * block // BLOCKS for block in range(1, BLOCKS)]]
    return np.searchsorted(bounds, times, side="right")


def _sort_order(keyed: KeyedRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows' order by key and time, and each row's key as a number."""
    _, codes = np.unique(np.array(keyed.keys, dtype=object).astype(str), return_inverse=True)
    return np.lexsort((keyed.times, codes)), codes
