"""What a model's verdicts look like over time: counted in heaps, because counting row by row would cost as much as scoring."""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from detector.columns import EXPECTED
from detector.rejects import Reject
from detector.scorer import Scorer, Verdicts
from detector.windows import JUDGED
from serving.monitoring.recent import RecentStatistics

HEAP = 4096  # rows
TOLD = 1024  # rows whose cells are told elsewhere, at a time
MOST_CELLS = 2**15  # of them
SCORE_BUCKETS = np.array([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, np.inf])  # nats
P_VALUE_BUCKETS = np.array([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, *np.arange(1, 11) / 10])
REASON = {said: kind for kind, said in EXPECTED.items()}


class StatisticsDelta(msgspec.Struct, array_like=True):
    """What was counted since the last time that somebody asked, for those who count the rows of several processes."""

    rows: int = 0
    anomalies: int = 0
    rejected: int = 0
    alarms: int = 0  # of a series, that began
    max_score: float = -math.inf  # score
    score_sum: float = 0.0  # of the scores
    scores: bytes = b""  # float64[latest rows]
    cells: bytes = b""  # float64[some rows, columns]


class RollingStatistics:
    """Counts what one model says. Safe to use from several threads."""

    def __init__(self, scorer: Scorer) -> None:
        self._manifest = scorer.manifest
        self._lock = threading.Lock()
        self._scores, self._p_values, self._flags = np.empty(HEAP), np.empty(HEAP), np.empty(HEAP, dtype=bool)
        self._cells = np.empty((HEAP, len(scorer.columns)))
        self._height = 0
        self._news, self._told = StatisticsDelta(), bytearray()
        self._most_told = min(TOLD, max(1, MOST_CELLS // len(scorer.columns))) * len(scorer.columns) * self._cells.itemsize
        self.recent = RecentStatistics(scorer)
        self._categories = [place for place, each in enumerate(scorer.columns) if each.kind == "category"]
        self._unseen = np.array([scorer.columns[place].unseen for place in self._categories])
        self.created = dt.datetime.fromisoformat(scorer.manifest.created).timestamp()
        self.rejected: Counter[str] = Counter()
        self.scores = np.zeros(len(SCORE_BUCKETS), np.int64)
        self.score_sum = 0.0
        self.p_values = np.zeros(len(P_VALUE_BUCKETS), np.int64)
        self.p_value_sum = 0.0
        self.missing = np.zeros(len(scorer.columns), np.int64)
        self.unseen = np.zeros(len(scorer.columns), np.int64)

    def add(self, verdicts: Verdicts, matrix: np.ndarray, rejects: Sequence[Reject]) -> None:
        """Take the verdicts on `float64[rows, columns]`; rows of a series that were not judged are not counted."""
        if verdicts.fates is not None:
            there = verdicts.fates == JUDGED
            verdicts = verdicts._replace(
                score=verdicts.score[there], p_value=verdicts.p_value[there], is_anomaly=verdicts.is_anomaly[there]
            )
            matrix = matrix[there]
        with self._lock:
            self.recent.rejected += len(rejects)
            self._news.rejected += len(rejects)
            self.recent.alarms += verdicts.alarms
            self._news.alarms += verdicts.alarms
            for each in rejects:
                self.rejected[self._reason(each)] += 1
            start = 0
            while start < len(matrix):
                start += self._heap_up(verdicts, matrix, start)

    def _heap_up(self, verdicts: Verdicts, matrix: np.ndarray, start: int) -> int:
        """Copy as many rows as there is room for, so that nothing of a request outlives it; gives how many."""
        rows = min(len(matrix) - start, HEAP - self._height)
        there, taken = slice(self._height, self._height + rows), slice(start, start + rows)
        self._scores[there] = verdicts.score[taken]
        self._p_values[there] = verdicts.p_value[taken]
        self._flags[there] = verdicts.is_anomaly[taken]
        self._cells[there] = matrix[taken]
        self._height += rows
        if self._height == HEAP:
            self._count()
        return rows

    def _reason(self, reject: Reject) -> str:
        """Give the word for why a row was rejected."""
        window = self._manifest.window
        return REASON.get(reject.expected) or ("series" if window and reject.column in window.columns else "json")

    def flush(self) -> None:
        """Count what lies on the heap."""
        with self._lock:
            if self._height:
                self._count()

    def take_delta(self) -> StatisticsDelta:
        """Give what was counted since the last time."""
        with self._lock:
            if self._height:
                self._count()
            news, told = self._news, self._told
            self._news, self._told = StatisticsDelta(), bytearray()
            latest = self.recent.latest[-news.rows :] if news.rows else np.empty(0)
            return msgspec.structs.replace(news, scores=latest.tobytes(), cells=bytes(told))

    def _count(self) -> None:
        """Count the heap."""
        rows, self._height = self._height, 0
        scores, p_values, flags = self._scores[:rows], self._p_values[:rows], self._flags[:rows]
        matrix = self._cells[:rows].copy()  # `PopulationStability` keeps the first ones
        total, anomalies = float(np.nansum(scores)), int(flags.sum())
        self.scores += np.bincount(np.searchsorted(SCORE_BUCKETS[:-1], scores), minlength=len(SCORE_BUCKETS))
        self.score_sum += total
        self.p_values += np.bincount(np.searchsorted(P_VALUE_BUCKETS, p_values), minlength=len(P_VALUE_BUCKETS))
        self.p_value_sum += float(p_values.sum())
        if np.isnan(matrix.sum()):  # which is quicker told than where
            self.missing += np.isnan(matrix).sum(axis=0)
        self.unseen[self._categories] += (matrix[:, self._categories] == self._unseen).sum(axis=0)
        self.recent.add(rows, anomalies, scores, matrix)
        news = self._news
        news.rows += rows
        news.anomalies += anomalies
        news.max_score = max(news.max_score, float(np.fmax.reduce(scores)))
        news.score_sum += total
        room = (self._most_told - len(self._told)) // matrix[:1].nbytes
        self._told += matrix[:room].tobytes()
