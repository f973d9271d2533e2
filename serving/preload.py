"""The first run of a graph, before any request waits for it: memory is laid out, and a graph that cannot run is found out.

The bundle keeps the calibration rows' scores and not the rows, so these are made: each column walks through what training saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detector.columns import Column, Encoded
from detector.errors import BundleCorrupt
from detector.scorer import Scorer

SIZES = (1, 64, 2048)  # rows; the last is the graph's own batch
MOST_CELLS = 2**20  # of windows


def preload(scorer: Scorer) -> None:
    """Score rows such as training saw, alone and in batches; of a series windows of them.

    Raises:
        BundleCorrupt: the graph fails on them, or has no score for any.
    """
    rows = made(scorer.columns, max(SIZES))
    window = scorer.manifest.window
    try:
        for size in SIZES:
            score = _windows(scorer, rows, size, window.length) if window else _rows(scorer, rows[:size])
    except Exception as error:  # whatever ONNX Runtime raises
        raise BundleCorrupt(f"{scorer.folder} cannot score rows such as it was trained on: {type(error).__name__}") from error
    if not np.isfinite(score).any():
        raise BundleCorrupt(f"{scorer.folder} has no score for any row such as it was trained on")


def _rows(scorer: Scorer, rows: np.ndarray) -> np.ndarray:
    """Give the scores of rows, which are explained too."""
    verdicts, _ = scorer.verdicts(Encoded(rows, np.ones(len(rows), dtype=bool), [], 0), "all")
    return verdicts.score


def _windows(scorer: Scorer, rows: np.ndarray, windows: int, length: int) -> np.ndarray:
    """Give the scores of windows over rows, which are explained too; of many long ones fewer, because memory is finite."""
    some = min(windows, max(1, MOST_CELLS // (length * rows.shape[1])))
    at = np.arange(some)[:, None] + np.arange(length)
    return scorer.graph.explain(rows[at % len(rows)]).score


def made(columns: Sequence[Column], rows: int) -> np.ndarray:
    """Make `float64[rows, columns]` of cells that lie evenly within what training saw, each column in an order of its own."""
    random = np.random.default_rng(0)
    return np.column_stack([random.permutation(_cells(column, rows)) for column in columns])


def _cells(column: Column, rows: int) -> np.ndarray:
    """Give cells of one column."""
    if column.kind in {"category", "boolean"}:
        known = len(column.vocabulary) if column.kind == "category" else 2
        return (np.arange(rows) % max(1, known)).astype(float)
    if column.lowest is None or column.highest is None:
        return np.full(rows, np.nan)
    return np.linspace(column.lowest, column.highest, rows)
