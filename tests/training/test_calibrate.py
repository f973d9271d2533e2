"""Thresholds from labels against an exhaustive search, and the next version of a bundle."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detector.decision import Decision
from detector.errors import SettingError
from detector.scorer import Scorer
from detector.versioning import recalibrate
from tests.data.make_bundle import KEPT
from training.calibrate import CostRatio, Criterion, FBeta, Precision, threshold_from_labels

scores = st.floats(-100, 1e6) | st.integers(0, 5).map(float)
rows = st.lists(st.tuples(scores, st.booleans()), min_size=2, max_size=25).filter(lambda r: len({label for _, label in r}) == 2)


def counts(values: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[int, int, int]:
    """Return true alarms, false alarms and misses."""
    flagged = values > threshold
    return int((flagged & labels).sum()), int((flagged & ~labels).sum()), int((~flagged & labels).sum())


def counts_at_all_thresholds(values: np.ndarray, labels: np.ndarray) -> list[tuple[int, int, int]]:
    """Return the counts at every distinct threshold."""
    return [counts(values, labels, threshold) for threshold in [-np.inf, *values]]


def f_beta(beta: float) -> Callable[[int, int, int], float]:
    return lambda hit, false, missed: (1 + beta**2) * hit / ((1 + beta**2) * hit + beta**2 * missed + false)


@given(rows, st.sampled_from([0.25, 0.5, 1.0, 2.0, 4.0]))
def test_no_threshold_has_a_higher_f_beta(table: list[tuple[float, bool]], beta: float) -> None:
    values, labels = np.array([s for s, _ in table]), np.array([label for _, label in table])
    decision = threshold_from_labels(values, labels, FBeta(beta))
    value = f_beta(beta)
    assert value(*counts(values, labels, decision.threshold)) == pytest.approx(
        max(value(*each) for each in counts_at_all_thresholds(values, labels)), abs=1e-12
    )
    assert (decision.promise, decision.criterion) == ("labels", f"highest F{beta:g}")
    assert decision.false_alarm_rate is None


@given(rows, st.sampled_from([0.01, 0.5, 1.0, 3.0, 1000.0]))
def test_no_threshold_has_a_lower_cost(table: list[tuple[float, bool]], ratio: float) -> None:
    values, labels = np.array([s for s, _ in table]), np.array([label for _, label in table])
    decision = threshold_from_labels(values, labels, CostRatio(ratio))

    def cost(_: int, false: int, missed: int) -> float:
        return false + ratio * missed

    assert cost(*counts(values, labels, decision.threshold)) == pytest.approx(
        min(cost(*each) for each in counts_at_all_thresholds(values, labels))
    )


@given(rows, st.sampled_from([0.1, 0.5, 2 / 3, 0.9, 1.0]))
def test_no_threshold_of_that_precision_has_a_higher_recall(table: list[tuple[float, bool]], target: float) -> None:
    values, labels = np.array([s for s, _ in table]), np.array([label for _, label in table])
    precise = [each for each in counts_at_all_thresholds(values, labels) if each[0] and each[0] / (each[0] + each[1]) >= target]
    if not precise:
        with pytest.raises(SettingError, match="no threshold reaches a precision of"):
            threshold_from_labels(values, labels, Precision(target))
        return
    hit, false, _ = counts(values, labels, threshold_from_labels(values, labels, Precision(target)).threshold)
    assert hit / (hit + false) >= target
    assert hit == max(each[0] for each in precise)
    assert false == min(each[1] for each in precise if each[0] == hit)


@given(rows, st.sampled_from([FBeta(1.0), CostRatio(5.0), Precision(0.1)]))
def test_the_threshold_is_midway_between_scores(table: list[tuple[float, bool]], criterion: Criterion) -> None:
    values, labels = np.array([s for s, _ in table]), np.array([label for _, label in table])
    apart = np.diff(np.unique(values))
    assume(not len(apart) or apart.min() > 1e-6)
    try:
        threshold = threshold_from_labels(values, labels, criterion).threshold
    except SettingError:
        return
    assert threshold not in values
    distances = np.abs(values - threshold)
    above, below = distances[values > threshold], distances[values < threshold]
    if len(above) and len(below):
        assert above.min() == pytest.approx(below.min(), rel=1e-6)


def test_adjacent_floats_are_separated() -> None:
    for lower in (1.0, np.nextafter(1.0, 2), 3.0, 1e300, -2.0):
        values = np.array([lower, np.nextafter(lower, np.inf)])
        decision = threshold_from_labels(values, np.array([False, True]), FBeta())
        assert decision.is_anomaly(values).tolist() == [False, True]


@pytest.mark.parametrize(("labels", "name"), [([True, True], "anomalies"), ([False, False], "normal")])
def test_labels_of_one_class_are_an_error(labels: list[bool], name: str) -> None:
    with pytest.raises(SettingError, match=f"all 2 rows are {name}"):
        threshold_from_labels(np.array([1.0, 2.0]), np.array(labels), FBeta())


@pytest.mark.parametrize(
    "criterion", [FBeta(0), FBeta(-1), FBeta(float("nan")), CostRatio(0), CostRatio(-2), CostRatio(float("inf")), Precision(1.01)]
)
def test_invalid_criteria_are_an_error(criterion: Criterion) -> None:
    with pytest.raises(SettingError):
        threshold_from_labels(np.array([1.0, 2.0]), np.array([False, True]), criterion)


@pytest.fixture
def scorer(tmp_path: Path) -> Scorer:
    return Scorer.open(shutil.copytree(KEPT, tmp_path / "pumps" / "1"), "cpu")


def test_a_recalibrated_bundle_differs_only_in_its_decision(scorer: Scorer) -> None:
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in scorer.folder.iterdir()}
    decision = scorer.decide(0.02)
    folder, manifest = recalibrate(scorer, decision)
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in scorer.folder.iterdir()} == before
    assert folder == scorer.folder.parent / "2"
    again = Scorer.open(folder.parent, "cpu")
    assert again.manifest == manifest
    was = scorer.manifest
    assert again.manifest == msgspec.structs.replace(was, decision=decision, parent=1, version=2, name="pumps")
    assert again.manifest.decision != was.decision
    for name in again.manifest.files:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == before[name]


def test_the_parent_is_the_version_that_was_recalibrated(scorer: Scorer) -> None:
    recalibrate(scorer, scorer.decide(0.02))
    _, manifest = recalibrate(scorer, scorer.decide(0.03))
    assert (manifest.version, manifest.parent) == (3, 1)


def test_recalibrating_a_bundle_that_changed_is_an_error(scorer: Scorer) -> None:
    (scorer.folder / "model.onnx").write_bytes(b"other")
    with pytest.raises(SettingError, match="was modified while it was read"):
        recalibrate(scorer, Decision(threshold=1.0, promise="value", criterion="chosen"))
    assert [path.name for path in scorer.folder.parent.iterdir()] == ["1"]


def test_a_rate_that_is_too_small_is_an_error(scorer: Scorer) -> None:
    with pytest.raises(SettingError, match=r"100 calibration rows cannot promise .* smallest they can promise is 0\.01$"):
        scorer.decide(0.001)
