"""Labelled rows to learn classes from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from detector.columns import format_names
from detector.errors import SettingError

FOLDS = 5


class LabelledExamples(NamedTuple):
    """LabelledRows with their classes and what the unsupervised detector says of them."""

    matrix: np.ndarray  # float64[rows, columns]
    scores: np.ndarray  # float64[rows], of the detector
    alarms: np.ndarray  # bool[rows], its verdicts
    classes: tuple[str, ...]
    labels: np.ndarray  # int64[rows], positions in `classes`
    normal: np.ndarray  # bool[classes], those that mean normal


class Fitted(Protocol):
    """A classifier that was fitted."""

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        """Give the probability of each class, `float64[rows, classes]`, for `float64[rows, columns]`."""

    def to_onnx(self) -> bytes:
        """Write it as the graph that `detector.classifier` opens."""


class Fit(Protocol):
    """A way to fit one: `training.finetune.frozen.fit` or `training.finetune.joint.fit` on a bundle."""

    def __call__(self, matrix: np.ndarray, labels: np.ndarray, seed: int) -> Fitted:
        """Fit rows `float64[rows, columns]` to classes `int64[rows]`, every one of which occurs."""


class LabelledRows(NamedTuple):
    """Labelled rows as they were scored."""

    matrix: np.ndarray  # float64[rows, columns]
    scores: np.ndarray  # float64[rows]
    alarms: np.ndarray  # bool[rows]
    kinds: np.ndarray  # str[rows], the labels as found
    anomalous: np.ndarray  # bool[rows]


def label_examples(rows: LabelledRows) -> LabelledExamples:
    """Make classes of the labels as they were found.

    Raises:
        SettingError: there is one class only, all mean normal or none does, or one has too few rows to be compared.
    """
    classes, labels, counts = np.unique(rows.kinds.astype(str), return_inverse=True, return_counts=True)
    if len(classes) == 1:
        raise SettingError(f"all {len(labels)} labelled rows are {str(classes[0])!r}: two classes or more are needed")
    normal = np.array([not rows.anomalous[labels == place].any() for place in range(len(classes))])
    if normal.all():
        raise SettingError(f"the labels {format_names(map(str, classes))} all mean normal: rows of another class are needed")
    few = [f"{str(name)!r} has {count}" for name, count in zip(classes, counts, strict=True) if count < FOLDS]
    if few:
        raise SettingError(
            f"each class needs {FOLDS} labelled rows, one for each fold of the comparison; {', '.join(few)}: label more of "
            "it, give it the name of a class like it, or leave its rows out"
        )
    return LabelledExamples(rows.matrix, rows.scores, rows.alarms, tuple(map(str, classes)), labels, normal)
