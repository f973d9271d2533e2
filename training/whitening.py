"""The covariance of residuals on held-out rows, inverted: what makes a residual unusual, not just large.

scikit-learn's `LedoitWolf` (Ledoit & Wolf 2004) shrinks the residuals' correlation as far as the number of rows asks for.
"""

from __future__ import annotations

import numpy as np
from sklearn.covariance import LedoitWolf

LEAST_EIGENVALUE = 1e-4  # of the mean eigenvalue
PRIOR_ROWS = 10.0  # as many rows speak for the mean variance of all residuals as for a column's own


def precision(residuals: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Give the inverse covariance, `float64[features, features]`, of residuals `float64[rows, features]`.

    `present` is 1 where a cell was there. Each residual is put in units of its own deviation over the rows that have
    it, so that a column of large residuals does not decide how the others are shrunk.
    """
    if not residuals.shape[1]:
        return np.zeros((0, 0))
    squares, rows = (residuals**2 * present).sum(axis=0), present.sum(axis=0)
    usual = squares.sum() / max(rows.sum(), 1.0)
    deviation = np.sqrt((squares + PRIOR_ROWS * usual) / (rows + PRIOR_ROWS))
    correlation = LedoitWolf(assume_centered=True).fit(residuals * present / deviation).covariance_
    values, vectors = np.linalg.eigh(correlation)
    values = np.maximum(values, LEAST_EIGENVALUE * values.mean())
    inverse = (vectors / values) @ vectors.T / np.outer(deviation, deviation)
    return np.asarray((inverse + inverse.T) / 2)
