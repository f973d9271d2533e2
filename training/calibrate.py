"""Thresholds from labels, and which scikit-learn function computes which quantity.

| quantity                               | from                      | by                                                  |
|----------------------------------------|---------------------------|-----------------------------------------------------|
| a false-alarm rate (the default)       | normal calibration rows   | `detector.scorer.Scorer.decide` (split conformal)   |
| the best F-beta                        | labelled rows             | `precision_recall_curve`                            |
| a target precision                     | labelled rows             | `precision_recall_curve`                            |
| the least cost, given a cost ratio     | labelled rows             | `roc_curve`                                         |
| the whitening of residuals             | validation rows           | `LedoitWolf` (`training.whitening`)                 |

`IsotonicRegression` turns scores into probabilities of being an anomaly, which `training.evaluate` reports where labels
are given. `TunedThresholdClassifierCV` does not apply: it refits a classifier on labels in every fold, while a detector is
trained without labels and has one threshold; the curves yield its optimum directly.
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
        """Return the criterion's description."""
        return f"highest F{self.beta:g}"


class CostRatio(msgspec.Struct, frozen=True):
    """Minimise the cost where a missed anomaly costs `ratio` false alarms."""

    ratio: float

    def __str__(self) -> str:
        """Return the criterion's description."""
        return f"least cost, a missed anomaly costing {self.ratio:g} false alarms"


class Precision(msgspec.Struct, frozen=True):
    """Find as many anomalies as possible at a share of true alarms among all alarms."""

    target: float

    def __str__(self) -> str:
        """Return the criterion's description."""
        return f"most anomalies at a precision of {self.target:g}"


Criterion = FBeta | CostRatio | Precision


def threshold_from_labels(scores: np.ndarray, labels: np.ndarray, criterion: Criterion) -> Decision:
    """Return the decision that is best by a criterion on labelled rows; `labels` is `bool[rows]`, true for an anomaly.

    Raises:
        SettingError: all labels are of one class, or the criterion cannot be met.
    """
    if labels.all() or not labels.any():
        raise SettingError(
            f"choosing a threshold needs normal rows and anomalies; all {len(labels)} rows are "
            f"{'anomalies' if labels.any() else 'normal'}"
        )
    match criterion:
        case FBeta(beta=beta):
            lowest = _best_f_beta(scores, labels, beta)
        case Precision(target=target):
            lowest = _at_precision(scores, labels, target)
        case CostRatio(ratio=ratio):
            lowest = _least_cost(scores, labels, ratio)
    return Decision(threshold=_threshold_below(lowest, scores), promise="labels", criterion=str(criterion))


def _best_f_beta(scores: np.ndarray, labels: np.ndarray, beta: float) -> float:
    """Return the lowest anomalous score at the highest F-beta."""
    _check_positive("beta", beta)
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    weighted = beta**2 * precision[:-1] + recall[:-1]
    f_beta = (1 + beta**2) * precision[:-1] * recall[:-1] / np.maximum(weighted, 1e-300)
    return float(thresholds[np.argmax(f_beta)])


def _at_precision(scores: np.ndarray, labels: np.ndarray, target: float) -> float:
    """Return the lowest anomalous score where the precision reaches its target with the highest recall."""
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    reached = np.flatnonzero(precision[:-1] >= target)
    if not len(reached):
        raise SettingError(
            f"no threshold reaches a precision of {target:g} on these rows; the best is {precision[:-1].max():.3g}"
        )
    best = reached[recall[reached] == recall[reached].max()]
    return float(thresholds[best[-1]])  # with the fewest false alarms


def _least_cost(scores: np.ndarray, labels: np.ndarray, ratio: float) -> float:
    """Return the lowest anomalous score at the lowest cost; a miss costs `ratio` false alarms."""
    _check_positive("a cost ratio", ratio)
    false_rate, true_rate, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    cost = (1 - true_rate) * labels.sum() * ratio + false_rate * (~labels).sum()
    return float(thresholds[np.argmin(cost)])


def _threshold_below(lowest: float, scores: np.ndarray) -> float:
    """Return the threshold midway between the lowest anomalous score and the next lower one."""
    if not np.isfinite(lowest):  # the best decision flags nothing
        return float(scores.max()) + 1.0
    lower = scores[scores < lowest]
    middle = (lowest + float(lower.max())) / 2 if len(lower) else lowest - 1.0
    return min(middle, float(np.nextafter(lowest, -np.inf)))  # between adjacent floats the middle is one of them


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise SettingError(f"{name} must be above 0 and finite; got {value:g}")
