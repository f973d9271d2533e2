"""Drift test: a conformal test martingale, which tests whether served rows are exchangeable with the calibration rows.

Under that hypothesis the capital of a bettor against their p-values is a martingale that starts at 1: it ever reaches c
with probability at most 1/c (Ville's inequality). A capital of 100 is evidence of drift at the 1 % level, no matter how
often it is looked at. Each p-value is conformal among the calibration rows and all rows served so far, with random
tie-breaking, so that p-values are uniform and independent (Vovk et al. 2005). The bettor is the Simple Jumper of Vovk et
al. 2021, "Retrain or not retrain".
"""

from __future__ import annotations

import math

import numpy as np

BINS = 200  # scores are ranked by bin; random tie-breaking within a bin keeps the test exact
JUMP = 0.01  # the share of the capital that changes its bet after each row


class Martingale:
    """Bets against exchangeability, one score at a time."""

    def __init__(self, calibration: np.ndarray, seed: int = 0) -> None:
        """Start with the calibration scores, `float64[rows]`."""
        self._edges = np.unique(np.quantile(calibration, np.linspace(0, 1, BINS + 1)[1:-1]))
        bins = np.searchsorted(self._edges, calibration)
        self._counts: list[int] = np.bincount(bins, minlength=len(self._edges) + 1).tolist()
        self._total = len(calibration)
        self._random = np.random.default_rng(seed)
        self._low = self._even = self._high = 1 / 3  # shares of the capital that bet on low p-values, on none, on high ones
        self.log_capital = 0.0  # natural logarithm

    def add(self, scores: np.ndarray) -> None:
        """Bet on `float64[rows]` scores, in order."""
        bins = np.searchsorted(self._edges, scores).tolist()
        for index, tie_break in zip(bins, self._random.random(len(bins)).tolist(), strict=True):
            self._bet(self._p_value(index, tie_break) - 0.5)

    def _bet(self, deviation: float) -> None:
        """Bet on one p-value, given as its deviation from 1/2."""
        low = ((1 - JUMP) * self._low + JUMP / 3) * (1 - deviation)
        even = (1 - JUMP) * self._even + JUMP / 3
        high = ((1 - JUMP) * self._high + JUMP / 3) * (1 + deviation)
        growth = low + even + high
        self._low, self._even, self._high = low / growth, even / growth, high / growth
        self.log_capital += math.log(growth)

    def _p_value(self, index: int, tie_break: float) -> float:
        """Return the smoothed p-value of a row in bin `index` among all rows before it and itself."""
        self._counts[index] += 1
        self._total += 1
        return (sum(self._counts[index + 1 :]) + tie_break * self._counts[index]) / self._total
