"""What a model's latest rows look like: their scores, how many were flagged, and whether they still come as they did."""

from __future__ import annotations

import math

import numpy as np

from detector.scorer import Scorer
from serving.monitoring.drift import Martingale
from serving.monitoring.population_stability import DECAY_ROWS, PopulationStability, evenly_spaced

LATEST = 10_000  # scores that are held, for whoever wants to try another threshold
BET_ON = 256  # rows of a heap


class RecentStatistics:
    """Takes rows in heaps."""

    def __init__(self, scorer: Scorer) -> None:
        # Neighbouring windows of a series share rows: no bet on their exchangeability means anything.
        self._martingale = None if scorer.manifest.window else Martingale(scorer.calibration.scores)
        self._stability = PopulationStability(scorer.columns)
        self._faded = np.zeros(2)  # anomalies and rows
        self.rows = self.anomalies = self.rejected = 0
        self.alarms = 0  # of a series, that began
        self.latest = np.empty(0)  # scores, the oldest first; replaced, not changed

    def add(self, rows: int, anomalies: int, scores: np.ndarray, cells: np.ndarray) -> None:
        """Take a heap: how many rows and anomalies, the scores of the latest of them, `float64[some rows, columns]`."""
        self.rows += rows
        self.anomalies += anomalies
        self._faded = self._faded * np.exp(-rows / DECAY_ROWS) + (anomalies, rows)
        self.latest = np.concatenate([self.latest, scores])[-LATEST:]
        if self._martingale:
            self._martingale.add(evenly_spaced(scores, BET_ON))
        self._stability.add(cells)

    @property
    def martingale(self) -> float | None:
        """The decimal logarithm of the capital that was won against exchangeability; None of a series."""
        return self._martingale.log / math.log(10) if self._martingale else None

    @property
    def alarm_ratio(self) -> float:
        """The share of alarms among the latest rows."""
        anomalies, rows = self._faded
        return float(anomalies / rows) if rows else float("nan")

    @property
    def stability(self) -> dict[str, float]:
        """The population stability index of each column."""
        return self._stability.indices()
