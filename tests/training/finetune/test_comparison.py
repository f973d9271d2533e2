"""The comparison is fair: same folds for both, nothing held out is learnt from, and ties are not kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold

from training.finetune.comparison import ClassifierComparison, Measures, compare
from training.finetune.examples import FOLDS, LabelledExamples


def examples(classes: int, rows: int = 200) -> LabelledExamples:
    random = np.random.default_rng(0)
    labels = random.integers(0, classes, rows)
    scores = random.normal(size=rows) + (labels > 0)
    normal = np.arange(classes) == 0
    return LabelledExamples(np.arange(rows, dtype=float)[:, None], scores, scores > 1, tuple("abcd"[:classes]), labels, normal)


class Watching:
    """A fit that notes what it is shown, and knows the answers if it may."""

    def __init__(self, given: LabelledExamples, *, knows: bool) -> None:
        self.given = given
        self.knows = knows
        self.seen: set[int] = set()
        self.asked: list[int] = []

    def __call__(self, matrix: np.ndarray, labels: np.ndarray, seed: int) -> Any:  # noqa: ANN401, ARG002 - a Fit
        assert np.array_equal(labels, self.given.labels[matrix[:, 0].astype(int)])
        self.seen = set(matrix[:, 0].astype(int).tolist())
        return self

    def probabilities(self, matrix: np.ndarray) -> np.ndarray:
        rows = matrix[:, 0].astype(int)
        assert not self.seen & set(rows.tolist())
        self.asked += rows.tolist()
        answers = np.eye(len(self.given.classes))[self.given.labels[rows]]
        return answers if self.knows else np.full_like(answers, 1 / answers.shape[1])


@pytest.mark.parametrize("classes", [2, 3])
def test_every_row_is_held_out_once_and_the_better_one_wins(classes: int) -> None:
    given = examples(classes)
    for knows in (True, False):
        fit = Watching(given, knows=knows)
        comparison = compare(fit, given, seed=3)
        assert sorted(fit.asked) == list(range(200))
        assert comparison.is_better == knows
        assert comparison.classifier.average_precision == pytest.approx(1.0 if knows else (given.labels > 0).mean(), abs=0.02)


def test_the_score_is_measured_on_the_same_folds() -> None:
    given = examples(2)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=3).split(given.matrix, given.labels)
    wanted = np.mean([average_precision_score(given.labels[held_out], given.scores[held_out]) for _, held_out in folds])
    found = compare(Watching(given, knows=True), given, seed=3).unsupervised
    assert found.average_precision == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("classes", "precision", "accuracy", "is_better"),
    [(2, 0.1, 0.0, True), (2, 0.0, 0.1, False), (2, -0.1, 0.1, False), (3, 0.0, 0.1, True), (3, 0.1, -0.1, False)],
)
def test_what_is_better(classes: int, precision: float, accuracy: float, is_better: bool) -> None:  # noqa: FBT001
    other = Measures(average_precision=0.5, auroc=0.5, accuracy=0.5)
    one = Measures(average_precision=0.5 + precision, auroc=0.5, accuracy=0.5 + accuracy)
    assert ClassifierComparison(classes, other, one).is_better is is_better
