"""Profile of a column: how its cells spread over bins, so that cells that spread otherwise are told as drift.

Numbers and dates are binned by the deciles of a reference, categories by value; missing cells have a bin of their own. Two
profiles are compared by the population stability index: with shares q of the reference and p of other rows,
PSI = sum (p - q) ln(p / q). Below 0.1 it means no change, above 0.25 a large one.
"""

from __future__ import annotations

import numpy as np

from detector.columns import Column

MAX_CATEGORIES = 50
PRIOR_COUNT = 0.5  # added to every bin, so that an empty one has a finite logarithm
LARGE_CHANGE = 0.25


def bin_edges(column: Column, cells: np.ndarray) -> np.ndarray:
    """Return the edges between a column's bins, by its cells in a reference, `float64[rows]`."""
    if column.kind == "category":
        return np.arange(min(column.codes + 1, MAX_CATEGORIES)) + 0.5
    if column.kind == "boolean":
        return np.array([0.5])
    known = cells[np.isfinite(cells)]
    return np.unique(np.quantile(known, np.linspace(0.1, 0.9, 9))) if len(known) else np.empty(0)


def bin_counts(edges: np.ndarray, cells: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return how many cells each bin holds, or the sum of their `weights`: `float64[len(edges) + 2]`, missing cells last."""
    bins = np.where(np.isnan(cells), len(edges) + 1, np.searchsorted(edges, cells))
    return np.bincount(bins, weights, minlength=len(edges) + 2).astype(float)


def stability_index(latest: np.ndarray, reference: np.ndarray) -> float:
    """Return the population stability index between two arrays of bin counts."""
    p = (latest + PRIOR_COUNT) / (latest + PRIOR_COUNT).sum()
    q = (reference + PRIOR_COUNT) / (reference + PRIOR_COUNT).sum()
    return float(((p - q) * np.log(p / q)).sum())


def evenly_spaced(rows: np.ndarray, max_rows: int) -> np.ndarray:
    """Return at most `max_rows` rows at even intervals; neighbouring rows may be alike."""
    return rows[:: max(1, -(-len(rows) // max_rows))]
