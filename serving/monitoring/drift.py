"""Whether rows still come as the calibration rows did: a conformal test martingale.

Under the hypothesis that calibration rows and served rows are exchangeable, the capital of a bettor against their p-values
is a martingale that starts at 1: it ever reaches c with a probability of at most 1/c (Ville). So a hundredfold capital is
evidence against the hypothesis at 1 %, whenever one looks. p-values are conformal among all rows so far (calibration's
and served ones), smoothed by a random tie-break, so that they are uniform and independent (Vovk et al. 2005); the bettor
is the Simple Jumper of Vovk et al. 2021, "Retrain or not retrain".
"""

from __future__ import annotations

import math

import numpy as np

BINS = 200  # scores are ranked among so many groups; ties are broken at random, so that the test stays exact
JUMP = 0.01  # the share of the capital that changes its bet after each row


class Martingale:
    """Bets against exchangeability, one score after the other."""

    def __init__(self, calibration: np.ndarray, seed: int = 0) -> None:
        """Take the calibration scores, `float64[rows]`."""
        self._edges = np.unique(np.quantile(calibration, np.linspace(0, 1, BINS + 1)[1:-1]))
        places = np.searchsorted(self._edges, calibration)
        self._counts: list[int] = np.bincount(places, minlength=len(self._edges) + 1).tolist()
        self._total = len(calibration)
        self._random = np.random.default_rng(seed)
        self._low = self._even = self._high = 1 / 3  # the shares of the capital that bet on low p-values, none, and high ones
        self.log = 0.0  # of the capital

    def add(self, scores: np.ndarray) -> None:
        """Bet on `float64[rows]` scores in their order."""
        places = np.searchsorted(self._edges, scores).tolist()
        for place, chance in zip(places, self._random.random(len(places)).tolist(), strict=True):
            self._bet(self._p_value(place, chance) - 0.5)

    def _bet(self, off: float) -> None:
        """Bet on one p-value, which is so far off the middle."""
        low = ((1 - JUMP) * self._low + JUMP / 3) * (1 - off)
        even = (1 - JUMP) * self._even + JUMP / 3
        high = ((1 - JUMP) * self._high + JUMP / 3) * (1 + off)
        gain = low + even + high
        self._low, self._even, self._high = low / gain, even / gain, high / gain
        self.log += math.log(gain)

    def _p_value(self, place: int, chance: float) -> float:
        """Rank a row among all before it and itself."""
        self._counts[place] += 1
        self._total += 1
        return (sum(self._counts[place + 1 :]) + chance * self._counts[place]) / self._total
