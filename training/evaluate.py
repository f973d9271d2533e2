"""Evaluate a detector on labelled rows: its ranking, its verdicts, and each kind of anomaly separately."""

from __future__ import annotations

import msgspec
import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

from detector.errors import SettingError

PROBABLE = 0.5


class LabelCount(msgspec.Struct, frozen=True):
    """The rows of one label value, and how many of them were flagged."""

    label: str
    rows: int
    flagged: int


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The quality of scores and verdicts on labelled rows."""

    auroc: float
    average_precision: float
    true_alarms: int
    false_alarms: int
    missed: int
    passed: int  # normal rows without an alarm
    probable_from: float | None  # the score above which an anomaly is more likely than not, at these rows' proportions
    by_label: tuple[LabelCount, ...]

    @property
    def false_alarm_rate(self) -> float:
        """The share of normal rows that were flagged."""
        return _ratio(self.false_alarms, self.false_alarms + self.passed)

    @property
    def precision(self) -> float:
        """The share of alarms that were anomalies."""
        return _ratio(self.true_alarms, self.true_alarms + self.false_alarms)

    @property
    def recall(self) -> float:
        """The share of anomalies that were flagged."""
        return _ratio(self.true_alarms, self.true_alarms + self.missed)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.true_alarms, 2 * self.true_alarms + self.false_alarms + self.missed)


def evaluate(scores: np.ndarray, is_anomaly: np.ndarray, labels: np.ndarray, kinds: np.ndarray) -> Evaluation:
    """Compare verdicts with labels.

    `labels` is `bool[rows]`, true for an anomaly; `kinds` holds each row's label as it was found.

    Raises:
        SettingError: all labels are of one class.
    """
    if labels.all() or not labels.any():
        raise SettingError(f"all {len(labels)} rows are {'anomalies' if labels.any() else 'normal'}: both are needed to evaluate")
    passed, false_alarms, missed, true_alarms = confusion_matrix(labels, is_anomaly, labels=[False, True]).ravel().tolist()
    return Evaluation(
        auroc=float(roc_auc_score(labels, scores)),
        average_precision=float(average_precision_score(labels, scores)),
        true_alarms=true_alarms,
        false_alarms=false_alarms,
        missed=missed,
        passed=passed,
        probable_from=_probable_from(scores, labels),
        by_label=_by_label(is_anomaly, labels, kinds),
    )


def _by_label(is_anomaly: np.ndarray, labels: np.ndarray, kinds: np.ndarray) -> tuple[LabelCount, ...]:
    """Count each kind of anomaly, most frequent first."""
    anomalies = kinds[labels]
    names, inverse, rows = np.unique(anomalies, return_inverse=True, return_counts=True)
    flagged = np.bincount(inverse, weights=is_anomaly[labels], minlength=len(names)).astype(int)
    counted = [LabelCount(str(name), int(n), int(k)) for name, n, k in zip(names, rows, flagged, strict=True)]
    return tuple(sorted(counted, key=lambda kind: -kind.rows))


def _probable_from(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Return the lowest score whose probability of being an anomaly, by isotonic regression, is at least one half."""
    probability = IsotonicRegression(out_of_bounds="clip").fit(scores, labels).predict(scores)
    probable = scores[probability >= PROBABLE]
    return float(probable.min()) if len(probable) else None


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
