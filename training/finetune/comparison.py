"""Is a classifier better than the score that needed no labels? Asked on the same held-out folds.

In each of the stratified folds the classifier is fitted on the other rows. Its P(not normal) and the detector's score rank
the held-out rows; of more than two classes, its likeliest class is also held against the best that verdicts can tell: the
most frequent normal class where there is no alarm, the most frequent other class where there is one.
"""

from __future__ import annotations

import msgspec
import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from training.finetune.examples import FOLDS, Fit, LabelledExamples

TWO = 2


class Measures(msgspec.Struct, frozen=True):
    """How good one of the two is, averaged over the folds."""

    average_precision: float
    auroc: float
    accuracy: float


class ClassifierComparison(msgspec.Struct, frozen=True):
    """The classifier and the unsupervised score on the same held-out rows."""

    classes: int
    unsupervised: Measures
    classifier: Measures

    @property
    def is_better(self) -> bool:
        """Tell whether the classifier wins by average precision, or with more than two classes by accuracy, and loses by none."""
        one, other = self.classifier, self.unsupervised
        gains = [one.average_precision - other.average_precision]
        gains += [one.accuracy - other.accuracy] if self.classes > TWO else []
        return min(gains) >= 0 and max(gains) > 0


def compare(fit: Fit, examples: LabelledExamples, seed: int) -> ClassifierComparison:
    """Compare a way to fit classifiers with the detector's score, by stratified cross-validation."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    pairs = [
        _fold(fit, examples, learning, held_out, seed) for learning, held_out in folds.split(examples.matrix, examples.labels)
    ]
    unsupervised, classifier = (_mean([pair[place] for pair in pairs]) for place in (0, 1))
    return ClassifierComparison(len(examples.classes), unsupervised, classifier)


def _fold(
    fit: Fit, examples: LabelledExamples, learning: np.ndarray, held_out: np.ndarray, seed: int
) -> tuple[Measures, Measures]:
    """Measure both on one fold."""
    probabilities = fit(examples.matrix[learning], examples.labels[learning], seed).probabilities(examples.matrix[held_out])
    labels, anomalous = examples.labels[held_out], ~examples.normal[examples.labels[held_out]]
    guesses = np.where(
        examples.alarms[held_out],
        _most_frequent(examples, learning, normal=False),
        _most_frequent(examples, learning, normal=True),
    )
    not_normal = probabilities[:, ~examples.normal].sum(axis=1)
    return (
        _measures(anomalous, examples.scores[held_out], labels, guesses),
        _measures(anomalous, not_normal, labels, probabilities.argmax(axis=1)),
    )


def _most_frequent(examples: LabelledExamples, rows: np.ndarray, *, normal: bool) -> int:
    """Give the class that most rows of a kind have."""
    counts = np.bincount(examples.labels[rows], minlength=len(examples.classes))
    return int(np.argmax(np.where(examples.normal == normal, counts, -1)))


def _measures(anomalous: np.ndarray, ranking: np.ndarray, labels: np.ndarray, guesses: np.ndarray) -> Measures:
    """Measure a ranking and guessed classes."""
    return Measures(
        average_precision=float(average_precision_score(anomalous, ranking)),
        auroc=float(roc_auc_score(anomalous, ranking)),
        accuracy=float(accuracy_score(labels, guesses)),
    )


def _mean(folds: list[Measures]) -> Measures:
    """Average over folds."""
    rows = np.array([msgspec.structs.astuple(fold) for fold in folds])
    return Measures(*rows.mean(axis=0).tolist())
