"""Drift by column: whether the rows of a run spread over a column's bins as its training rows did.

The population stability index of independent rows that are like the m training rows is (1/n + 1/m) times a chi-squared
variable with one degree of freedom fewer than there are bins. So a few rows can have a large index by chance: a column has
drifted if its index is above 0.25, the usual limit for a large change, and above what chance alone reaches once in 1,000 runs,
whatever the number of columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from detector.columns import Column
from detector.profile import LARGE_CHANGE, bin_counts, evenly_spaced, stability_index

CHANCE = 0.001
MAX_SAMPLE = 1024  # rows that are binned of each batch ...
MAX_SAMPLE_CELLS = 2**15  # ... and cells


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How much a column has changed since training."""

    column: str
    stability_index: Annotated[float, Meta(description="population stability index against the training rows")]
    has_drifted: Annotated[bool, Meta(description="whether the index is above 0.25 and above chance")]


class DriftCounts:
    """Counts the cells of a run, batch by batch; of long batches a sample."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Compare with the profiles of these columns; those that have none are left out."""
        self._profiled = [(index, column) for index, column in enumerate(columns) if column.bin_rows]
        self._edges = [np.array(column.bins) for _, column in self._profiled]
        self._counts = [np.zeros(len(column.bin_rows)) for _, column in self._profiled]
        self._max_rows = min(MAX_SAMPLE, max(1, MAX_SAMPLE_CELLS // max(1, len(self._profiled))))
        self._rows = self._squares = 0.0  # sums of the sampled rows' weights, and of their squares

    def add(self, matrix: np.ndarray) -> None:
        """Count rows, `float64[rows, columns]`."""
        if not self._profiled or not len(matrix):
            return
        sample = evenly_spaced(matrix, self._max_rows)
        weight = len(matrix) / len(sample)
        self._rows += len(matrix)
        self._squares += len(sample) * weight**2
        for at, ((index, _), edges) in enumerate(zip(self._profiled, self._edges, strict=True)):
            self._counts[at] += weight * bin_counts(edges, sample[:, index])

    def columns(self) -> tuple[ColumnDrift, ...]:
        """Return the index of each column, the largest first; empty without rows or profiles."""
        if not self._rows:
            return ()
        rows = self._rows**2 / self._squares  # as many unweighted rows tell as much
        scale = rows / self._rows
        found = [self._drift(column, scale * counts) for (_, column), counts in zip(self._profiled, self._counts, strict=True)]
        return tuple(sorted(found, key=lambda drift: -drift.stability_index))

    def _drift(self, column: Column, counts: np.ndarray) -> ColumnDrift:
        reference = np.array(column.bin_rows, dtype=float)
        index = stability_index(counts, reference)
        probability = 1 - CHANCE / len(self._profiled)
        by_chance = (1 / counts.sum() + 1 / reference.sum()) * chi_squared_quantile(probability, len(counts) - 1)
        has_drifted = bool(index > max(LARGE_CHANGE, by_chance))
        return ColumnDrift(column=column.name, stability_index=round(index, 4), has_drifted=has_drifted)


def chi_squared_quantile(probability: float, degrees: int) -> float:
    """Return a quantile of the chi-squared distribution, by the approximation of Wilson and Hilferty (1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)) ** 3
