"""How far two versions of a model agree on the same rows: verdicts, the order of their scores, and how often each flags."""

from __future__ import annotations

import threading

import msgspec
import numpy as np

from serving.model import Judged

MAX_RECENT = 2000  # rows over which order and alarm ratios are told


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; rates are of the latest rows, and null before there are any."""

    rows: int = 0
    both: int = 0  # flag the row
    neither: int = 0
    current_alone: int = 0
    shadow_alone: int = 0
    rejected_by_one: int = 0
    same_verdicts: float | None = None  # share of all rows
    rank_correlation: float | None = None  # Spearman's
    current_alarm_ratio: float | None = None
    shadow_alarm_ratio: float | None = None


class ComparisonDelta(msgspec.Struct, frozen=True, array_like=True):
    """What both said of some rows."""

    counts: list[list[int]]  # rows by what the one and the other say
    rejected: int  # by one of them
    skipped: int  # tables
    latest: bytes  # float64[latest rows, 4]: score and flag of the one, score and flag of the other


class VersionComparison:
    """Counts, row by row. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = np.zeros((2, 2), np.int64)
        self._rejected = self._skipped = 0
        self._latest = np.empty((0, 4))
        self._taken = self._counts, self._rejected, self._skipped

    @property
    def skipped(self) -> int:
        """Tables that the other did not judge."""
        return self._skipped

    def skip(self) -> None:
        """Count a table that the other does not judge."""
        with self._lock:
            self._skipped += 1

    def add(self, current: Judged, shadow: Judged) -> None:
        """Take what both say of the same rows; of a series only of those that both judge."""
        same, ours, theirs = np.intersect1d(current.rows, shadow.rows, assume_unique=True, return_indices=True)
        both = current.verdicts.scored[ours] & shadow.verdicts.scored[theirs]
        ours, theirs = ours[both], theirs[both]
        rows = np.column_stack(
            [
                current.verdicts.score[ours],
                current.verdicts.is_anomaly[ours],
                shadow.verdicts.score[theirs],
                shadow.verdicts.is_anomaly[theirs],
            ]
        )
        counts = np.zeros((2, 2), np.int64)
        np.add.at(counts, (rows[:, 1].astype(int), rows[:, 3].astype(int)), 1)
        self._add(counts, len(current.rows) + len(shadow.rows) - 2 * len(same), 0, rows)

    def merge(self, compared: ComparisonDelta) -> None:
        """Take what was compared elsewhere."""
        latest = np.frombuffer(compared.latest).reshape(-1, 4)
        self._add(np.array(compared.counts), compared.rejected, compared.skipped, latest)

    def take_delta(self) -> ComparisonDelta | None:
        """Give what was compared since the last time, if anything was."""
        with self._lock:
            counts, rejected, skipped = self._taken
            self._taken = self._counts, self._rejected, self._skipped
            new = self._counts - counts
            rejected, skipped = self._rejected - rejected, self._skipped - skipped
            latest = self._latest[max(0, len(self._latest) - int(new.sum())) :]
            return (
                ComparisonDelta(new.tolist(), rejected, skipped, latest.tobytes()) if new.any() or rejected or skipped else None
            )

    def _add(self, counts: np.ndarray, rejected: int, skipped: int, rows: np.ndarray) -> None:
        """Count rows."""
        with self._lock:
            self._counts = self._counts + counts  # replaced, not changed: `take_delta` keeps the old ones
            self._rejected += rejected
            self._skipped += skipped
            self._latest = np.concatenate([self._latest, rows])[-MAX_RECENT:]

    def agreement(self) -> Agreement:
        """Say how far they agree."""
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


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Give Spearman's rank correlation, ties by their middle ranks; None where there is no order to compare."""
    ranks = _ranks(one), _ranks(other)
    if min(rank.std() for rank in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    """Rank values; equal ones share the middle of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    middle: np.ndarray = np.cumsum(count) - (count - 1) / 2
    return middle[place]
