"""Quality on labelled rows, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.errors import SettingError
from training.evaluate import LabelCount, evaluate

SCORES = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
LABELS = np.array([False, False, True, False, True, True])
KINDS = np.array(["normal", "normal", "dos", "normal", "probe", "dos"])


def test_counts_by_hand() -> None:
    found = evaluate(SCORES, SCORES > 3.5, LABELS, KINDS)
    assert (found.true_alarms, found.false_alarms, found.missed, found.passed) == (2, 1, 1, 2)
    assert found.false_alarm_rate == pytest.approx(1 / 3)
    assert [found.precision, found.recall, found.f1] == pytest.approx([2 / 3] * 3)
    assert found.auroc == pytest.approx(8 / 9)
    assert found.average_precision == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found.by_label == (LabelCount("dos", 2, 1), LabelCount("probe", 1, 1))
    assert found.probable_from == 3.0


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans(), st.sampled_from("abc")), min_size=2, max_size=40))
def test_counts_add_up(rows: list[tuple[int, bool, bool, str]]) -> None:
    scores, flagged, labels, kinds = (np.array(column) for column in zip(*rows, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(SettingError, match="both are needed"):
            evaluate(scores, flagged, labels, kinds)
        return
    found = evaluate(scores.astype(float), flagged, labels, kinds)
    assert found.true_alarms + found.missed == labels.sum() == sum(kind.rows for kind in found.by_label)
    assert found.false_alarms + found.passed == (~labels).sum()
    assert found.true_alarms + found.false_alarms == flagged.sum()
    assert sum(kind.flagged for kind in found.by_label) == found.true_alarms
    assert [kind.rows for kind in found.by_label] == sorted((kind.rows for kind in found.by_label), reverse=True)
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    assert found.auroc == pytest.approx(np.mean(pairs))
    for share in (found.precision, found.recall, found.f1, found.false_alarm_rate):
        assert 0 <= share <= 1


def test_without_alarms_all_ratios_are_zero() -> None:
    found = evaluate(SCORES, np.zeros(6, dtype=bool), LABELS, KINDS)
    assert (found.precision, found.recall, found.f1, found.false_alarm_rate) == (0, 0, 0, 0)


def test_useless_scores_have_no_probable_threshold() -> None:
    labels = np.array([True, False, False, False, False, False])
    assert evaluate(SCORES, SCORES > 9, labels, KINDS).probable_from is None
