"""Labelled rows, and the classes of their labels."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from detector.columns import format_names
from detector.errors import SettingError

FOLDS = 5


class LabelledExamples(NamedTuple):
    """Rows with their classes, and the scores and verdicts of the unsupervised detector."""

    matrix: np.ndarray  # float64[rows, columns]
    scores: np.ndarray  # float64[rows], the detector's
    alarms: np.ndarray  # bool[rows], the detector's verdicts
    classes: tuple[str, ...]
    labels: np.ndarray  # int64[rows], indices into `classes`
    normal: np.ndarray  # bool[classes], whether a class is normal


class FittedClassifier(Protocol):
    """A fitted classifier."""

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        """Return the probability of each class, `float64[rows, classes]`, for `float64[rows, columns]`."""

    def to_onnx(self) -> bytes:
        """Return it as the ONNX graph that `detector.classifier` opens."""


class FitClassifier(Protocol):
    """A function that fits a classifier: `training.finetune.frozen.fit` or `training.finetune.joint.fit` of a bundle."""

    def __call__(self, matrix: np.ndarray, labels: np.ndarray, seed: int) -> FittedClassifier:
        """Fit a classifier to rows `float64[rows, columns]` and their classes `int64[rows]`; every class occurs."""


class LabelledRows(NamedTuple):
    """Scored rows with their labels."""

    matrix: np.ndarray  # float64[rows, columns]
    scores: np.ndarray  # float64[rows]
    alarms: np.ndarray  # bool[rows]
    kinds: np.ndarray  # str[rows], the labels
    anomalous: np.ndarray  # bool[rows]


def label_examples(rows: LabelledRows) -> LabelledExamples:
    """Return the examples whose classes are the distinct labels.

    Raises:
        SettingError: there is one class only, all are normal, or a class has too few rows.
    """
    classes, labels, counts = np.unique(rows.kinds.astype(str), return_inverse=True, return_counts=True)
    if len(classes) == 1:
        raise SettingError(f"all {len(labels)} labelled rows are {str(classes[0])!r}: two classes or more are needed")
    normal = np.array([not rows.anomalous[labels == label].any() for label in range(len(classes))])
    if normal.all():
        raise SettingError(f"the labels {format_names(map(str, classes))} all mean normal: rows of another class are needed")
    few = [f"{str(name)!r} has {count}" for name, count in zip(classes, counts, strict=True) if count < FOLDS]
    if few:
        raise SettingError(
            f"each class needs {FOLDS} labelled rows, one for each fold of the comparison; {', '.join(few)}: label more "
            "of them, merge the class with a similar one, or leave its rows out"
        )
    return LabelledExamples(rows.matrix, rows.scores, rows.alarms, tuple(map(str, classes)), labels, normal)
