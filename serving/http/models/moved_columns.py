"""Which columns moved, where the drift test says that the data has.

These are the columns that the scores of the latest rows come from, and those whose cells spread otherwise than in training.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.columns import Column
from detector.graph import Outputs
from detector.reasons import Reason
from detector.row_reasons import RowExplainer
from detector.scorer import Scorer
from serving.files.drift import ColumnDrift, DriftCounts
from serving.monitoring.recent import RecentStatistics

STRONG = 2.0  # evidence of drift at the 1 % level
TOP = 3


class Drift(NamedTuple):
    """How the latest rows differ from the calibration rows."""

    median: float  # of the latest scores
    usual: float  # of the calibration scores
    columns: list[Reason]  # what the mean of the latest rows is blamed for; none if the scores fell
    changed: list[ColumnDrift]  # since training; none where the bundle has no profile of its training cells


def find_drift(scorer: Scorer, recent: RecentStatistics) -> Drift | None:
    """Return the drift of the latest rows; None without strong evidence."""
    if (recent.martingale or 0.0) <= STRONG or not len(recent.latest_cells):
        return None
    median, usual = (
        float(np.median(scores)) for scores in (recent.latest[-len(recent.latest_cells) :], scorer.calibration.scores)
    )
    explains = median > usual and scorer.manifest.image is None  # pixels are no columns to name
    blamed = _blamed(scorer, recent.latest_cells) if explains else []
    counts = DriftCounts(scorer.columns)
    counts.add(recent.latest_cells)
    return Drift(median, usual, blamed, [column for column in counts.columns() if column.has_drifted][:TOP])


def _blamed(scorer: Scorer, rows: np.ndarray) -> list[Reason]:
    """Return the reasons of the mean row: means of numbers and dates, the most frequent category."""
    columns = scorer.columns
    outputs = scorer.graph.explain(rows)
    found, expected = (_typical(columns, values) for values in (rows, outputs.expected))
    mean = Outputs(outputs.score[:1], outputs.contribution.mean(axis=0, keepdims=True), expected)
    explainer = RowExplainer(columns, scorer.manifest.score.extra_terms)
    (reasons,) = explainer.explain(found, mean, TOP, lambda _, column: columns[column].text_of(found[0, column]))
    return reasons


def _typical(columns: tuple[Column, ...], values: np.ndarray) -> np.ndarray:
    """Return the mean of each column of numbers or dates, and the most frequent code of others, as one row."""
    row = np.full((1, len(columns)), np.nan)
    for index, column in enumerate(columns):
        known = values[~np.isnan(values[:, index]), index]
        if len(known):
            codes, counts = np.unique(known, return_counts=True)
            row[0, index] = known.mean() if column.kind in {"number", "date"} else codes[counts.argmax()]
    return row
