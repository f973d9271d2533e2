"""Drift by column, since the start of a process: its latest rows beside the first ones, by `detector.profile`.

The reference is the first rows that this process scored; they are compared with the latest rows, whose weight decays
exponentially.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import Column
from detector.profile import bin_counts, bin_edges, evenly_spaced, stability_index

REFERENCE_ROWS = 2000
DECAY_ROWS = 2000  # rows after which a row's weight is 1/e
MAX_SAMPLE = 1024  # rows that are binned of each block: there may be many columns, and a sample serves as well


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
            self._edges = [bin_edges(column, cells) for column, cells in zip(self._columns, reference.T, strict=True)]
            self._reference = self._counts(reference)
            self._latest = [np.zeros_like(counts) for counts in self._reference]
            self._reference_rows = []

    def indices(self) -> dict[str, float]:
        """Return the index of each column; empty until there are enough rows behind the reference."""
        names = [column.name for column in self._columns]
        pairs = zip(names, self._latest, self._reference, strict=False)
        return {name: stability_index(latest, reference) for name, latest, reference in pairs if latest.sum() >= DECAY_ROWS / 2}

    def _counts(self, matrix: np.ndarray) -> list[np.ndarray]:
        """Return the bin counts of each column; the last bin counts missing cells."""
        return [bin_counts(edges, cells) for edges, cells in zip(self._edges, matrix.T, strict=True)]
