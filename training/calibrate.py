"""Thresholds, and which scikit-learn call serves which.

| what is asked                          | from what                 | by                                                  |
|----------------------------------------|---------------------------|-----------------------------------------------------|
| a false-alarm rate (the default)       | normal calibration rows   | `detector.scorer.Scorer.decide` (split conformal)   |
| the best F-beta                        | labelled rows             | `precision_recall_curve`                            |
| a target precision                     | labelled rows             | `precision_recall_curve`                            |
| the least cost, given a cost ratio     | labelled rows             | `roc_curve`                                         |
| the whitening of residuals             | validation rows           | `LedoitWolf` (`training.whitening`)                 |

`IsotonicRegression` turns scores into probabilities of being an anomaly, which `training.evaluate` reports where labels
are given. `TunedThresholdClassifierCV` does not fit: it refits a classifier on labels in every fold, while a detector is
trained without labels and has one threshold to move; the curves give its optimum directly.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from detector.decision import Decision
from detector.errors import SettingError


class FBeta(msgspec.Struct, frozen=True):
    """Maximise F-beta: recall counts `beta` times as much as precision."""

    beta: float = 1.0

    def __str__(self) -> str:
        """Name the criterion."""
        return f"highest F{self.beta:g}"


class CostRatio(msgspec.Struct, frozen=True):
    """Minimise the cost where a missed anomaly costs `ratio` false alarms."""

    ratio: float

    def __str__(self) -> str:
        """Name the criterion."""
        return f"least cost, a missed anomaly costing {self.ratio:g} false alarms"


class Precision(msgspec.Struct, frozen=True):
    """Reach a share of true alarms among all alarms, with as many anomalies found as that allows."""

    target: float

    def __str__(self) -> str:
        """Name the criterion."""
        return f"most anomalies at a precision of {self.target:g}"


Criterion = FBeta | CostRatio | Precision


def threshold_from_labels(scores: np.ndarray, labels: np.ndarray, criterion: Criterion) -> Decision:
    """Give the decision that serves a criterion best on labelled rows, `bool[rows]`, true for an anomaly.

    Raises:
        SettingError: there is one class only, or the criterion cannot be met.
    """
    if labels.all() or not labels.any():
        raise SettingError(
            f"labels of both kinds are needed to choose a threshold; all {len(labels)} rows are "
            f"{'anomalies' if labels.any() else 'normal'}"
        )
    match criterion:
        case FBeta(beta=beta):
            lowest = _best_f_beta(scores, labels, beta)
        case Precision(target=target):
            lowest = _at_precision(scores, labels, target)
        case CostRatio(ratio=ratio):
            lowest = _least_cost(scores, labels, ratio)
    return Decision(threshold=_below(lowest, scores), promise="labels", criterion=str(criterion))


def _best_f_beta(scores: np.ndarray, labels: np.ndarray, beta: float) -> float:
    """Give the lowest score that is an anomaly where F-beta is highest."""
    _check_positive("beta", beta)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    weighted = beta**2 * precision[:-1] + recall[:-1]
    f_beta = (1 + beta**2) * precision[:-1] * recall[:-1] / np.maximum(weighted, 1e-300)
    return float(thresholds[np.argmax(f_beta)])


def _at_precision(scores: np.ndarray, labels: np.ndarray, target: float) -> float:
    """Give the lowest score that is an anomaly where the precision reaches its target with the highest recall."""
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    reached = np.flatnonzero(precision[:-1] >= target)
    if not len(reached):
        raise SettingError(
            f"no threshold reaches a precision of {target:g} on these rows; the best is {precision[:-1].max():.3g}"
        )
    most = reached[recall[reached] == recall[reached].max()]
    return float(thresholds[most[-1]])  # of those that find the same, the one with the fewest false alarms


def _least_cost(scores: np.ndarray, labels: np.ndarray, ratio: float) -> float:
    """Give the lowest score that is an anomaly where misses, `ratio` times as dear as false alarms, cost least."""
    _check_positive("a cost ratio", ratio)
    false_rate, true_rate, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    cost = (1 - true_rate) * labels.sum() * ratio + false_rate * (~labels).sum()
    return float(thresholds[np.argmin(cost)])


def _below(lowest: float, scores: np.ndarray) -> float:
    """Give a threshold midway between the lowest anomalous score and the next lower one."""
    if not np.isfinite(lowest):  # not even the highest score is worth an alarm
        return float(scores.max()) + 1.0
    lower = scores[scores < lowest]
    middle = (lowest + float(lower.max())) / 2 if len(lower) else lowest - 1.0
    return min(middle, float(np.nextafter(lowest, -np.inf)))  # between neighbouring floats the middle is one of them


def _check_positive(what: str, value: float) -> None:
    """Refuse a weight that is not above 0, or not finite."""
    if not 0 < value < math.inf:
        raise SettingError(f"{what} must be above 0 and finite; got {value:g}")
