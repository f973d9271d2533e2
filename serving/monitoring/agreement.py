"""How far two versions of a model agree on the same rows: verdicts, the order of scores, and the share of anomalies."""

from __future__ import annotations

import threading

import msgspec
import numpy as np

from detector.verdicts import Verdicts

MAX_RECENT = 2000  # rows over which rank correlation and alarm ratios are computed


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How far two versions agree; the rates and the correlation are over the latest rows, null before there are any."""

    rows: int = 0
    both: int = 0  # rows that both flag
    neither: int = 0
    current_alone: int = 0
    shadow_alone: int = 0
    rejected_by_one: int = 0
    same_verdicts: float | None = None  # share of all rows
    rank_correlation: float | None = None  # Spearman's
    current_alarm_ratio: float | None = None
    shadow_alarm_ratio: float | None = None


class ComparisonDelta(msgspec.Struct, frozen=True, array_like=True):
    """What was compared since the last delta."""

    counts: list[list[int]]  # rows by verdict of the current version (outer) and the shadow (inner)
    rejected: int  # by one of them
    skipped: int  # tables
    latest: bytes  # float64[latest rows, 4]: score and verdict of the current version, score and verdict of the shadow


class VersionComparison:
    """Compares verdicts row by row. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = np.zeros((2, 2), np.int64)
        self._rejected = self._skipped = 0
        self._latest = np.empty((0, 4))
        self._reported = self._counts, self._rejected, self._skipped  # as of the last delta

    @property
    def skipped(self) -> int:
        """Tables that the shadow did not score."""
        return self._skipped

    def skip(self) -> None:
        """Count a table that the shadow does not score."""
        with self._lock:
            self._skipped += 1

    def add(self, current: Verdicts, shadow: Verdicts) -> None:
        """Compare the verdicts on the rows that both versions scored."""
        common, in_current, in_shadow = np.intersect1d(current.rows, shadow.rows, assume_unique=True, return_indices=True)
        both_scored = current.is_scored[in_current] & shadow.is_scored[in_shadow]
        in_current, in_shadow = in_current[both_scored], in_shadow[both_scored]
        rows = np.column_stack(
            [
                current.score[in_current],
                current.is_anomaly[in_current],
                shadow.score[in_shadow],
                shadow.is_anomaly[in_shadow],
            ]
        )
        counts = np.zeros((2, 2), np.int64)
        np.add.at(counts, (rows[:, 1].astype(int), rows[:, 3].astype(int)), 1)
        self._add(counts, len(current.rows) + len(shadow.rows) - 2 * len(common), 0, rows)

    def merge(self, delta: ComparisonDelta) -> None:
        """Add what another process compared."""
        latest = np.frombuffer(delta.latest).reshape(-1, 4)
        self._add(np.array(delta.counts), delta.rejected, delta.skipped, latest)

    def take_delta(self) -> ComparisonDelta | None:
        """Return what was compared since the last call; None if nothing was."""
        with self._lock:
            counts, rejected, skipped = self._reported
            self._reported = self._counts, self._rejected, self._skipped
            new = self._counts - counts
            rejected, skipped = self._rejected - rejected, self._skipped - skipped
            if not (new.any() or rejected or skipped):
                return None
            latest = self._latest[max(0, len(self._latest) - int(new.sum())) :]
            return ComparisonDelta(new.tolist(), rejected, skipped, latest.tobytes())

    def _add(self, counts: np.ndarray, rejected: int, skipped: int, rows: np.ndarray) -> None:
        with self._lock:
            self._counts = self._counts + counts  # replaced, not modified: `_reported` refers to the old array
            self._rejected += rejected
            self._skipped += skipped
            self._latest = np.concatenate([self._latest, rows])[-MAX_RECENT:]

    def agreement(self) -> Agreement:
        """Return how far the versions agree."""
        with self._lock:
            ((neither, shadow), (current, both)), latest, rejected = self._counts.tolist(), self._latest, self._rejected
        rows = neither + shadow + current + both
        counts = Agreement(
            rows=rows, both=both, neither=neither, current_alone=current, shadow_alone=shadow, rejected_by_one=rejected
        )
        if not rows:
            return counts
        return msgspec.structs.replace(
            counts,
            same_verdicts=(both + neither) / rows,
            rank_correlation=rank_correlation(latest[:, 0], latest[:, 2]),
            current_alarm_ratio=float(latest[:, 1].mean()),
            shadow_alarm_ratio=float(latest[:, 3].mean()),
        )


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return Spearman's rank correlation, ties by their mean rank; None if either has no two different values."""
    ranks = _ranks(x), _ranks(y)
    if min(rank.std() for rank in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value; equal values share their mean rank."""
    _, index, count = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank: np.ndarray = np.cumsum(count) - (count - 1) / 2
    return mean_rank[index]
