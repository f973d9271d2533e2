"""How far two versions agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from serving.monitoring.agreement import MAX_RECENT, Agreement, VersionComparison, rank_correlation
from tests.serving.monitoring.conftest import verdicts

SCORES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.25])
PAIRS = st.lists(st.tuples(SCORES, SCORES), min_size=2, max_size=40)


@given(PAIRS)
def test_rank_correlation_is_spearmans(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert rank_correlation(x, y) is None
    else:
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 400])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.9487, abs=1e-4)


def test_rows_are_matched_by_number() -> None:
    comparison = VersionComparison()
    comparison.add(verdicts([0.5, 2, 2, 0.5], rows=[1, 2, 4, 5]), verdicts([2, 0.5, 2, 0.5], rows=[4, 5, 6, 1]))
    agreement = comparison.agreement()
    assert (agreement.both, agreement.neither, agreement.current_alone, agreement.shadow_alone) == (1, 2, 0, 0)
    assert agreement.rejected_by_one == 2  # row 2 by the shadow, row 6 by the current version
    assert agreement.same_verdicts == 1


def test_rows_of_a_series_are_compared_where_both_have_a_score() -> None:
    comparison = VersionComparison()
    comparison.add(verdicts([math.nan, 2, 0.5], in_series=True), verdicts([2, math.nan, 2], in_series=True))
    assert comparison.agreement().rows == comparison.agreement().shadow_alone == 1


def test_without_rows_there_is_no_agreement() -> None:
    assert VersionComparison().agreement() == Agreement()
    assert VersionComparison().take_delta() is None


@given(st.lists(PAIRS, max_size=6), st.integers(0, 3))
def test_merged_deltas_add_up(tables: list[list[tuple[float, float]]], skipped: int) -> None:
    worker, aggregate, whole = VersionComparison(), VersionComparison(), VersionComparison()
    for pairs in tables:
        current, shadow = np.array(pairs).T
        for comparison in (worker, whole):
            comparison.add(verdicts(current), verdicts(shadow))
        if delta := worker.take_delta():
            aggregate.merge(delta)
    for _ in range(skipped):
        worker.skip()
        whole.skip()
    if delta := worker.take_delta():
        aggregate.merge(delta)
    assert worker.take_delta() is None
    assert aggregate.agreement() == whole.agreement()
    assert aggregate.skipped == whole.skipped == skipped


def test_the_correlation_is_of_the_latest_rows() -> None:
    comparison = VersionComparison()
    rising = np.arange(float(MAX_RECENT))
    comparison.add(verdicts(rising), verdicts(-rising))
    assert comparison.agreement().rank_correlation == pytest.approx(-1)
    comparison.add(verdicts(rising), verdicts(rising))
    assert comparison.agreement().rank_correlation == pytest.approx(1)
    assert comparison.agreement().rows == 2 * MAX_RECENT
