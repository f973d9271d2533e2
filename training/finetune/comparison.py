"""Compare a classifier with the unsupervised score on the same held-out folds.

For each stratified fold the classifier is fitted on the other rows. Its P(not normal) and the detector's score rank the
held-out rows. With more than two classes, the accuracy of its most probable class is also compared with the best that
verdicts allow: the most frequent normal class where there is no alarm, the most frequent other class where there is one.
"""

from __future__ import annotations

import msgspec
import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from training.finetune.examples import FOLDS, FitClassifier, LabelledExamples

TWO = 2


class Measures(msgspec.Struct, frozen=True):
    """The quality of a ranking and of predicted classes, averaged over the folds."""

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
        """Whether the classifier is better by average precision or (with more than two classes) accuracy, and worse by none."""
        classifier, unsupervised = self.classifier, self.unsupervised
        gains = [classifier.average_precision - unsupervised.average_precision]
        gains += [classifier.accuracy - unsupervised.accuracy] if self.classes > TWO else []
        return min(gains) >= 0 and max(gains) > 0


def compare(fit: FitClassifier, examples: LabelledExamples, seed: int) -> ClassifierComparison:
    """Compare a classifier with the detector's score by stratified cross-validation."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    pairs = [
        _compare_fold(fit, examples, training, held_out, seed)
        for training, held_out in folds.split(examples.matrix, examples.labels)
    ]
    unsupervised, classifier = (_mean(list(measures)) for measures in zip(*pairs, strict=True))
    return ClassifierComparison(len(examples.classes), unsupervised, classifier)


def _compare_fold(
    fit: FitClassifier, examples: LabelledExamples, training: np.ndarray, held_out: np.ndarray, seed: int
) -> tuple[Measures, Measures]:
    """Measure the unsupervised score and the classifier on one fold."""
    probabilities = fit(examples.matrix[training], examples.labels[training], seed).probabilities(examples.matrix[held_out])
    labels, anomalous = examples.labels[held_out], ~examples.normal[examples.labels[held_out]]
    by_verdict = np.where(
        examples.alarms[held_out],
        _most_frequent(examples, training, normal=False),
        _most_frequent(examples, training, normal=True),
    )
    not_normal = probabilities[:, ~examples.normal].sum(axis=1)
    return (
        _measures(anomalous, examples.scores[held_out], labels, by_verdict),
        _measures(anomalous, not_normal, labels, probabilities.argmax(axis=1)),
    )


def _most_frequent(examples: LabelledExamples, rows: np.ndarray, *, normal: bool) -> int:
    """Return the most frequent class among the normal classes, or among the others."""
    counts = np.bincount(examples.labels[rows], minlength=len(examples.classes))
    return int(np.argmax(np.where(examples.normal == normal, counts, -1)))


def _measures(anomalous: np.ndarray, ranking: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> Measures:
    return Measures(
        average_precision=float(average_precision_score(anomalous, ranking)),
        auroc=float(roc_auc_score(anomalous, ranking)),
        accuracy=float(accuracy_score(labels, predicted)),
    )


def _mean(folds: list[Measures]) -> Measures:
    rows = np.array([msgspec.structs.astuple(fold) for fold in folds])
    return Measures(*rows.mean(axis=0).tolist())
