"""Drift by column: the population stability index (PSI).

The reference is the first rows that this process scored; they are compared with the latest rows, whose weight decays
exponentially. With shares q of the reference and p of the latest rows, PSI = sum (p - q) ln(p / q): below 0.1 means no
change, above 0.25 a large one. Numbers and dates are binned by the reference's deciles, categories by value; missing cells
have a bin of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import Column

REFERENCE_ROWS = 2000
DECAY_ROWS = 2000  # rows after which a row's weight is 1/e
MAX_SAMPLE = 1024  # rows that are binned of each block: there may be many columns, and a sample serves as well
MAX_CATEGORIES = 50
PRIOR_COUNT = 0.5  # added to every bin, so that an empty one has a finite logarithm


class PopulationStability:
    """Counts the cells of one model's columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._reference_rows: list[np.ndarray] = []
        self._edges: list[np.ndarray] = []
        self._reference: list[np.ndarray] = []
        self._latest: list[np.ndarray] = []

    def add(self, matrix: np.ndarray) -> None:
        """Count rows, `float64[rows, columns]`."""
        if self._reference:
            sample = evenly_spaced(matrix, MAX_SAMPLE)
            decay = np.exp(-len(sample) / DECAY_ROWS)
            self._latest = [decay * old + new for old, new in zip(self._latest, self._counts(sample), strict=True)]
            return
        self._reference_rows.append(matrix)
        if sum(map(len, self._reference_rows)) >= REFERENCE_ROWS:
            reference = np.concatenate(self._reference_rows)
            self._edges = [_edges(column, cells) for column, cells in zip(self._columns, reference.T, strict=True)]
            self._reference = self._counts(reference)
            self._latest = [np.zeros_like(counts) for counts in self._reference]
            self._reference_rows = []

    def indices(self) -> dict[str, float]:
        """Return the index of each column; empty until there are enough rows behind the reference."""
        names = [column.name for column in self._columns]
        pairs = zip(names, self._latest, self._reference, strict=False)
        return {name: psi(latest, reference) for name, latest, reference in pairs if latest.sum() >= DECAY_ROWS / 2}

    def _counts(self, matrix: np.ndarray) -> list[np.ndarray]:
        """Return the bin counts of each column; the last bin counts missing cells."""
        counts = []
        for edges, cells in zip(self._edges, matrix.T, strict=True):
            bins = np.where(np.isnan(cells), len(edges) + 1, np.searchsorted(edges, cells))
            counts.append(np.bincount(bins, minlength=len(edges) + 2).astype(float))
        return counts


def evenly_spaced(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """Return at most `max_rows` rows at even intervals; neighbouring rows may be alike."""
    return rows[:: max(1, -(-len(rows) // max_rows))]


def psi(latest: np.ndarray, reference: np.ndarray) -> float:
    """Return the population stability index between two arrays of bin counts."""
    p = (latest + PRIOR_COUNT) / (latest + PRIOR_COUNT).sum()
    q = (reference + PRIOR_COUNT) / (reference + PRIOR_COUNT).sum()
    return float(((p - q) * np.log(p / q)).sum())


def _edges(column: Column, cells: np.ndarray) -> np.ndarray:
    """Return the edges between a column's bins."""
    if column.kind == "category":
        return np.arange(min(column.codes + 1, MAX_CATEGORIES)) + 0.5
    if column.kind == "boolean":
        return np.array([0.5])
    known = cells[~np.isnan(cells)]
    return np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))) if len(known) else np.empty(0)
