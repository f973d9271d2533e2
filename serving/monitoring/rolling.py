"""Statistics of a model's verdicts, updated a block at a time: counting row by row would cost as much as scoring."""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import Counter

import msgspec
import numpy as np

from detector.columns import EXPECTED, is_foreign
from detector.rejects import Reject
from detector.scorer import Scorer
from detector.unseen import UnseenCategories
from detector.verdicts import Verdicts
from serving.monitoring.recent import RecentStatistics

BLOCK_ROWS = 4096  # rows that are buffered before they are counted
MAX_SAMPLE_ROWS = 1024  # rows whose cells go into one delta
MAX_SAMPLE_CELLS = 2**15
SCORE_BUCKETS = np.array([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, np.inf])  # nats
P_VALUE_BUCKETS = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *np.arange(1, 11) / 10])
REJECT_REASON = {expected: kind for kind, expected in EXPECTED.items()}


class StatisticsDelta(msgspec.Struct, array_like=True):
    """What was counted since the last delta; an aggregator adds up those of several processes."""

    rows: int = 0
    anomalies: int = 0
    rejected: int = 0
    alarms: int = 0  # of a series: how many began
    max_score: float = -math.inf
    score_sum: float = 0.0
    scores: bytes = b""  # float64[latest rows]
    cells: bytes = b""  # float64[sampled rows, columns]


class RollingStatistics:
    """Counts the verdicts of one model. Thread-safe."""

    def __init__(self, scorer: Scorer) -> None:
        columns = scorer.columns
        self._window = scorer.manifest.window
        self._lock = threading.Lock()
        self._buffered = 0  # rows in the four buffers
        self._score_buffer, self._p_value_buffer = np.empty(BLOCK_ROWS), np.empty(BLOCK_ROWS)
        self._anomaly_buffer = np.empty(BLOCK_ROWS, dtype=bool)
        self._cell_buffer = np.empty((BLOCK_ROWS, len(columns)))
        self._delta, self._sample = StatisticsDelta(), bytearray()
        self._max_sample_rows = min(MAX_SAMPLE_ROWS, max(1, MAX_SAMPLE_CELLS // len(columns)))
        self._categories = UnseenCategories(columns)
        self.recent = RecentStatistics(scorer)
        self.created = dt.datetime.fromisoformat(scorer.manifest.created).timestamp()
        self.rejected: Counter[str] = Counter()  # by reason
        self.score_counts = np.zeros(len(SCORE_BUCKETS), np.int64)
        self.score_sum = 0.0
        self.p_value_counts = np.zeros(len(P_VALUE_BUCKETS), np.int64)
        self.p_value_sum = 0.0
        self.missing = np.zeros(len(columns), np.int64)
        self.unseen = np.zeros(len(columns), np.int64)

    def add(self, verdicts: Verdicts) -> None:
        """Count verdicts; rows of a series without a score are not counted."""
        scores, p_values, is_anomaly, matrix = verdicts.score, verdicts.p_value, verdicts.is_anomaly, verdicts.matrix
        rejects = verdicts.rejects
        if verdicts.row_status is not None:
            scored = verdicts.is_scored
            scores, p_values, is_anomaly, matrix = scores[scored], p_values[scored], is_anomaly[scored], matrix[scored]
        with self._lock:
            if rejects:
                self.recent.rejected += len(rejects)
                self._delta.rejected += len(rejects)
                self.rejected.update(map(self._reject_reason, rejects))
            self.recent.alarms += verdicts.alarms
            self._delta.alarms += verdicts.alarms
            start = 0
            while start < len(matrix):
                # As many rows as fit are copied, so that no array of a request outlives it.
                rows = min(len(matrix) - start, BLOCK_ROWS - self._buffered)
                free, taken = slice(self._buffered, self._buffered + rows), slice(start, start + rows)
                self._score_buffer[free] = scores[taken]
                self._p_value_buffer[free] = p_values[taken]
                self._anomaly_buffer[free] = is_anomaly[taken]
                self._cell_buffer[free] = matrix[taken]
                self._buffered += rows
                start += rows
                if self._buffered == BLOCK_ROWS:
                    self._count()

    def _reject_reason(self, reject: Reject) -> str:
        """Return the label of a reject's reason: the kind of the column, `series`, `no column` or `json`."""
        if is_foreign(reject):
            return "no column"
        in_series = self._window is not None and reject.column in self._window.columns
        return REJECT_REASON.get(reject.expected) or ("series" if in_series else "json")

    def flush(self) -> None:
        """Count the buffered rows."""
        with self._lock:
            if self._buffered:
                self._count()

    def take_delta(self) -> StatisticsDelta:
        """Return what was counted since the last call."""
        with self._lock:
            if self._buffered:
                self._count()
            delta, sample = self._delta, self._sample
            self._delta, self._sample = StatisticsDelta(), bytearray()
            latest = self.recent.latest[-delta.rows :] if delta.rows else np.empty(0)
            return msgspec.structs.replace(delta, scores=latest.tobytes(), cells=bytes(sample))

    def _count(self) -> None:
        """Count the buffered rows; the caller holds the lock."""
        rows, self._buffered = self._buffered, 0
        scores, p_values = self._score_buffer[:rows], self._p_value_buffer[:rows]
        matrix = self._cell_buffer[:rows].copy()  # `PopulationStability` keeps the first ones
        score_sum, anomalies = float(np.nansum(scores)), int(self._anomaly_buffer[:rows].sum())
        self.score_counts += np.bincount(np.searchsorted(SCORE_BUCKETS[:-1], scores), minlength=len(SCORE_BUCKETS))
        self.score_sum += score_sum
        self.p_value_counts += np.bincount(np.searchsorted(P_VALUE_BUCKETS, p_values), minlength=len(P_VALUE_BUCKETS))
        self.p_value_sum += float(p_values.sum())
        if np.isnan(matrix.sum()):  # a quick check whether any cell is missing
            self.missing += np.isnan(matrix).sum(axis=0)
        self.unseen[self._categories.indices] += self._categories.find(matrix).sum(axis=0)
        self.recent.add(rows, anomalies, scores, matrix)
        delta = self._delta
        delta.rows += rows
        delta.anomalies += anomalies
        delta.max_score = max(delta.max_score, float(np.fmax.reduce(scores)))
        delta.score_sum += score_sum
        sampled_rows = len(self._sample) // matrix[:1].nbytes
        self._sample += matrix[: self._max_sample_rows - sampled_rows].tobytes()
