"""Whether single columns still hold what they held: the population stability index of each.

The reference is the first rows that this process served; against it stand the latest ones, older rows fading out. Between
shares q of the reference and p of the present PSI = sum (p - q) ln(p / q): below 0.1 nothing has changed, above 0.25 much
has. Numbers and dates are counted between the reference's deciles, categories by value, missing cells by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import Column

REFERENCE_ROWS = 2000  # rows
DECAY_ROWS = 2000  # rows after which a row counts for 1/e
MAX_SAMPLE = 1024  # rows of those that are counted at a time: columns are many, and a share of the rows tells as much
MOST_VALUES = 50  # of a category
SMOOTH = 0.5


class PopulationStability:
    """Counts the cells of one model's columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._gathered: list[np.ndarray] = []
        self._edges: list[np.ndarray] = []
        self._reference: list[np.ndarray] = []
        self._present: list[np.ndarray] = []

    def add(self, matrix: np.ndarray) -> None:
        """Count rows, `float64[rows, columns]`."""
        if self._reference:
            some = evenly_spaced(matrix, MAX_SAMPLE)
            fade = np.exp(-len(some) / DECAY_ROWS)
            self._present = [fade * old + new for old, new in zip(self._present, self._counted(some), strict=True)]
            return
        self._gathered.append(matrix)
        if sum(map(len, self._gathered)) >= REFERENCE_ROWS:
            first = np.concatenate(self._gathered)
            self._edges = [_edges(column, first[:, place]) for place, column in enumerate(self._columns)]
            self._reference = self._counted(first)
            self._present = [np.zeros_like(counts) for counts in self._reference]
            self._gathered = []

    def indices(self) -> dict[str, float]:
        """Give each column's index; none before there is a reference and as much to hold against it."""
        names = [column.name for column in self._columns]
        pairs = zip(names, self._present, self._reference, strict=False)
        return {name: psi(present, reference) for name, present, reference in pairs if present.sum() >= DECAY_ROWS / 2}

    def _counted(self, matrix: np.ndarray) -> list[np.ndarray]:
        """Count the cells of each column in its bins, the last one for missing cells."""
        counted = []
        for place, edges in enumerate(self._edges):
            cells = matrix[:, place]
            bins = np.where(np.isnan(cells), len(edges) + 1, np.searchsorted(edges, cells))
            counted.append(np.bincount(bins, minlength=len(edges) + 2).astype(float))
        return counted


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """Give about so many rows at most, evenly_spaced spread: those that come together may be alike."""
    return rows[:: max(1, -(-len(rows) // most))]


def psi(present: np.ndarray, reference: np.ndarray) -> float:
    """Give the population stability index between two sets of counts."""
    p = (present + SMOOTH) / (present + SMOOTH).sum()
    q = (reference + SMOOTH) / (reference + SMOOTH).sum()
    return float(((p - q) * np.log(p / q)).sum())


def _edges(column: Column, cells: np.ndarray) -> np.ndarray:
    """Give where a column's bins end."""
    if column.kind in {"category", "boolean"}:
        return np.arange(min(column.codes + 1, MOST_VALUES)) + 0.5 if column.kind == "category" else np.array([0.5])
    known = cells[~np.isnan(cells)]
    return np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))) if len(known) else np.empty(0)
