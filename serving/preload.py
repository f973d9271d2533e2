"""The first run of a graph, before any request waits for it: memory is allocated, and a graph that cannot run is found.

The bundle holds the scores of the calibration rows, not the rows, so example rows are made: each column runs through its
training range.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import Column
from detector.errors import BundleCorrupt
from detector.scorer import Scorer

SIZES = (1, 64, 2048)  # rows; the last is the graph's own batch


def preload(scorer: Scorer) -> None:
    """Score and explain example rows, alone and in batches.

    Raises:
        BundleCorrupt: the graph fails on them, or has no score for any.
    """
    rows = example_rows(scorer.columns, max(SIZES))
    try:
        for size in SIZES:
            score = scorer.graph.explain(scorer.input.examples(rows, size)).score
            if scorer.classifier:
                scorer.classifier.classify(rows[:size])
    except Exception as error:  # whatever ONNX Runtime raises
        raise BundleCorrupt(f"{scorer.folder} cannot score rows like its training rows: {type(error).__name__}") from error
    if not np.isfinite(score).any():
        raise BundleCorrupt(f"{scorer.folder} has no score for any row like its training rows")


def example_rows(columns: Sequence[Column], rows: int) -> np.ndarray:
    """Return `float64[rows, columns]` of cells spread evenly over the training range, each column in its own order."""
    random = np.random.default_rng(0)
    return np.column_stack([random.permutation(_cells(column, rows)) for column in columns])


def _cells(column: Column, rows: int) -> np.ndarray:
    if column.kind in {"category", "boolean"}:
        codes = len(column.vocabulary) if column.kind == "category" else 2
        return (np.arange(rows) % max(1, codes)).astype(float)
    if column.lowest is None or column.highest is None:
        return np.full(rows, np.nan)
    return np.linspace(column.lowest, column.highest, rows)
