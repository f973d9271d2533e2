"""Drift by column: whether the rows of a run spread over a column's bins as its training rows did.

The population stability index of independent rows that are like the m training rows is (1/n + 1/m) times a chi-squared
variable with one degree of freedom fewer than there are bins. So a few rows can have a large index by chance: a column has
drifted if its index is above 0.25, the usual limit for a large change, and above what chance alone reaches once in 1,000 runs,
whatever the number of columns. Neighbouring rows of a series are alike: as many as a window has tell as much as one.
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
FIRST_CELLS = 2**18  # all of the first rows are counted ...
BATCH_CELLS = 2**12  # ... then a sample of each batch, which is a small part of what scoring it takes


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """How much a column has changed since training."""

    column: str
    stability_index: Annotated[float, Meta(description="population stability index against the training rows")]
    has_drifted: Annotated[bool, Meta(description="whether the index is above 0.25 and above chance")]


class DriftCounts:
    """Counts the cells of a run, batch by batch; of long runs a sample."""

    def __init__(self, columns: Sequence[Column], stretch: int = 1) -> None:
        """Compare with the profiles of these columns; those that have none are left out.

        As many rows as a `stretch` tell as much as one: more than one of a series.
        """
        self._stretch = stretch
        self._profiled = [(index, column) for index, column in enumerate(columns) if column.bin_rows]
        self._edges = [np.array(column.bins) for _, column in self._profiled]
        self._counts = [np.zeros(len(column.bin_rows)) for _, column in self._profiled]
        width = max(1, len(self._profiled))
        self._first_rows, self._batch_rows = FIRST_CELLS // width, max(1, BATCH_CELLS // width)
        self._samples: list[tuple[np.ndarray, float]] = []  # rows that are not counted yet, and what each of them weighs
        self._sampled = 0  # rows in `_samples`
        self._rows = self._squares = 0.0  # sums of the sampled rows' weights, and of their squares

    def add(self, matrix: np.ndarray) -> None:
        """Count rows, `float64[rows, columns]`."""
        if not self._profiled or not len(matrix):
            return
        first = max(0, self._first_rows - int(self._rows))
        sample = evenly_spaced(matrix, max(first, self._batch_rows)).copy()
        weight = len(matrix) / len(sample)
        self._rows += len(matrix)
        self._squares += len(sample) * weight**2
        self._samples.append((sample, weight))
        self._sampled += len(sample)
        if self._sampled >= self._first_rows:  # many at once, because each count of a column has a price of its own
            self._count()

    def _count(self) -> None:
        rows = np.concatenate([sample for sample, _ in self._samples])
        weights = np.concatenate([np.full(len(sample), weight) for sample, weight in self._samples])
        for at, ((index, _), edges) in enumerate(zip(self._profiled, self._edges, strict=True)):
            self._counts[at] += bin_counts(edges, rows[:, index], weights)
        self._samples, self._sampled = [], 0

    def columns(self) -> tuple[ColumnDrift, ...]:
        """Return the index of each column, the largest first; empty without rows or profiles."""
        if not self._rows:
            return ()
        if self._samples:
            self._count()
        rows = self._rows**2 / self._squares  # as many unweighted rows tell as much
        scale = rows / self._rows
        found = [self._drift(column, scale * counts) for (_, column), counts in zip(self._profiled, self._counts, strict=True)]
        return tuple(sorted(found, key=lambda drift: -drift.stability_index))

    def _drift(self, column: Column, counts: np.ndarray) -> ColumnDrift:
        reference = np.array(column.bin_rows, dtype=float)
        index = stability_index(counts, reference)
        probability = 1 - CHANCE / len(self._profiled)
        by_chance = self._stretch * (1 / counts.sum() + 1 / reference.sum()) * chi_squared_quantile(probability, len(counts) - 1)
        has_drifted = bool(index > max(LARGE_CHANGE, by_chance))
        return ColumnDrift(column=column.name, stability_index=round(index, 4), has_drifted=has_drifted)


def chi_squared_quantile(probability: float, degrees: int) -> float:
    """Return a quantile of the chi-squared distribution, by the approximation of Wilson and Hilferty (1931)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)) ** 3
