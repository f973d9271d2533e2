"""The inverse covariance of residuals on held-out rows, so that a score measures how unusual a residual is, not its size.

scikit-learn's `LedoitWolf` (Ledoit & Wolf 2004) shrinks the correlation matrix of the residuals by the number of rows.
"""

from __future__ import annotations

import numpy as np
from sklearn.covariance import LedoitWolf

MAX_WHITENED = 1000  # features; of more the covariance would take gigabytes and minutes, and most rows are too few for it
MIN_EIGENVALUE = 1e-4  # of the mean eigenvalue
PRIOR_ROWS = 10.0  # weight of the mean variance of all residuals beside a column's own, in rows


def precision(residuals: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the inverse covariance, `float64[features, features]`, of residuals `float64[rows, features]`.

    `present` is 1 where a cell is present. Each residual is divided by its own deviation over the rows that have it, so
    that a column of large residuals does not determine how the others are shrunk.
    """
    if not residuals.shape[1]:
        return np.zeros((0, 0))
    deviation = np.sqrt(variances(residuals, present))
    correlation = LedoitWolf(assume_centered=True).fit(residuals * present / deviation).covariance_
    values, vectors = np.linalg.eigh(correlation)
    values = np.maximum(values, MIN_EIGENVALUE * values.mean())
    inverse = (vectors / values) @ vectors.T / np.outer(deviation, deviation)
    return np.asarray((inverse + inverse.T) / 2)


def variances(residuals: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the variance of each residual over the rows that have it, shrunk to the mean of all: `float64[features]`."""
    squares, rows = (residuals**2 * present).sum(axis=0), present.sum(axis=0)
    mean_square = squares.sum() / max(rows.sum(), 1.0)
    smoothed: np.ndarray = (squares + PRIOR_ROWS * mean_square) / (rows + PRIOR_ROWS)
    return smoothed
