"""Statistics of a model's latest rows: their scores, the share of alarms, and drift."""

from __future__ import annotations

import math

import numpy as np

from detector.profile import evenly_spaced
from detector.scorer import Scorer
from serving.monitoring.drift import Martingale
from serving.monitoring.population_stability import DECAY_ROWS, PopulationStability

MAX_SCORES = 10_000  # kept, to try another threshold on
MAX_CELLS = 256  # rows whose cells are kept, to say which columns moved
MAX_BETS = 256  # rows of each block that the drift test bets on


class RecentStatistics:
    """Statistics that are updated block by block."""

    def __init__(self, scorer: Scorer) -> None:
        # Neighbouring windows of a series share rows: they are not exchangeable, so there is nothing to test.
        self._martingale = None if scorer.manifest.window else Martingale(scorer.calibration.scores)
        self._stability = PopulationStability(scorer.columns)
        self._decayed = np.zeros(2)  # anomalies and rows
        self.rows = self.anomalies = self.rejected = 0
        self.alarms = 0  # of a series: how many began
        self.latest = np.empty(0)  # scores, the oldest first; replaced, never modified
        self.latest_cells = np.empty((0, len(scorer.columns)))  # of a sample of the latest rows, likewise

    def add(self, rows: int, anomalies: int, scores: np.ndarray, cells: np.ndarray) -> None:
        """Add a block: the counts of its rows and anomalies, the scores of its latest rows, `float64[sampled rows, columns]`."""
        self.rows += rows
        self.anomalies += anomalies
        self._decayed = self._decayed * np.exp(-rows / DECAY_ROWS) + (anomalies, rows)
        self.latest = np.concatenate([self.latest, scores])[-MAX_SCORES:]
        if self._martingale:
            self._martingale.add(evenly_spaced(scores, MAX_BETS))
        self._stability.add(cells)
        self.latest_cells = np.concatenate([self.latest_cells, evenly_spaced(cells, MAX_CELLS)])[-MAX_CELLS:]

    @property
    def martingale(self) -> float | None:
        """The decimal logarithm of the drift test's capital; None for a series."""
        return self._martingale.log_capital / math.log(10) if self._martingale else None

    @property
    def alarm_ratio(self) -> float:
        """The share of anomalies among the latest rows."""
        anomalies, rows = self._decayed
        return float(anomalies / rows) if rows else float("nan")

    def is_above(self, rate: float) -> bool:
        """Return whether the share of anomalies is more than three standard deviations above a promised one."""
        _, rows = self._decayed
        return bool(rows) and self.alarm_ratio > rate + 3 * math.sqrt(rate * (1 - rate) / rows)

    @property
    def stability(self) -> dict[str, float]:
        """The population stability index of each column."""
        return self._stability.indices()
