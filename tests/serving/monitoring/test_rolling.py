"""Rolling statistics: whatever the blocks, the counts add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.rejects import Reject
from detector.scorer import Scorer
from serving.monitoring.rolling import (
    BLOCK_ROWS,
    MAX_SAMPLE_CELLS,
    MAX_SAMPLE_ROWS,
    P_VALUE_BUCKETS,
    SCORE_BUCKETS,
    RollingStatistics,
)
from tests.serving.monitoring.conftest import verdicts


def table(scorer: Scorer, rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and cells, of which a tenth is missing."""
    random = np.random.default_rng(seed)
    cells = random.normal(size=(rows, len(scorer.columns)))
    cells[random.random(cells.shape) < 0.1] = np.nan
    return random.gamma(1.0, 1.0, rows), cells


@pytest.mark.parametrize("sizes", [[1, 2, 3], [BLOCK_ROWS], [BLOCK_ROWS - 1, 2], [3 * BLOCK_ROWS + 5, 7]])
def test_counts_do_not_depend_on_the_blocks(scorer: Scorer, sizes: list[int]) -> None:
    scores, cells = table(scorer, sum(sizes))
    category = next(index for index, column in enumerate(scorer.columns) if column.kind == "category")
    cells[::5, category] = scorer.columns[category].unseen
    statistics = RollingStatistics(scorer)
    ends = np.cumsum(sizes)
    for start, end in zip(ends - sizes, ends, strict=True):
        statistics.add(verdicts(scores[start:end], matrix=cells[start:end]))
    statistics.flush()
    assert statistics.recent.rows == len(scores)
    assert statistics.recent.anomalies == (scores > 1).sum()
    assert statistics.score_counts.tolist() == np.histogram(scores, [-np.inf, *SCORE_BUCKETS])[0].tolist()
    assert statistics.score_sum == pytest.approx(scores.sum())
    assert statistics.p_value_counts.tolist() == np.histogram(1 / (1 + scores), [0, *P_VALUE_BUCKETS])[0].tolist()
    assert statistics.p_value_sum == pytest.approx((1 / (1 + scores)).sum())
    assert statistics.missing.tolist() == np.isnan(cells).sum(axis=0).tolist()
    assert statistics.unseen[category] == len(scores[::5])


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.data())
def test_deltas_add_up(scorer: Scorer, sizes: list[int], data: st.DataObject) -> None:
    statistics = RollingStatistics(scorer)
    deltas = []
    for seed, rows in enumerate(sizes):
        scores, cells = table(scorer, rows, seed)
        statistics.add(verdicts(scores, matrix=cells, rejects=[Reject(rows, "x", "hot", "a number")]))
        if data.draw(st.booleans()):
            deltas.append(statistics.take_delta())
    deltas.append(statistics.take_delta())
    assert sum(delta.rows for delta in deltas) == statistics.recent.rows == sum(sizes)
    assert sum(delta.anomalies for delta in deltas) == statistics.recent.anomalies
    assert sum(delta.rejected for delta in deltas) == statistics.rejected["number"] == len(sizes)
    assert math.fsum(delta.score_sum for delta in deltas) == pytest.approx(statistics.score_sum)
    latest = np.concatenate([np.frombuffer(delta.scores) for delta in deltas])
    assert np.array_equal(latest, statistics.recent.latest)
    assert max(delta.max_score for delta in deltas) == latest.max()
    width = len(scorer.columns)
    for delta in deltas:
        assert np.frombuffer(delta.cells).reshape(-1, width).shape[0] == min(delta.rows, MAX_SAMPLE_ROWS)


def test_the_cells_of_a_delta_are_bounded(scorer: Scorer) -> None:
    statistics = RollingStatistics(scorer)
    scores, cells = table(scorer, 2 * BLOCK_ROWS + 10)
    statistics.add(verdicts(scores, matrix=cells))
    sample = np.frombuffer(statistics.take_delta().cells).reshape(-1, len(scorer.columns))
    assert len(sample) == min(MAX_SAMPLE_ROWS, MAX_SAMPLE_CELLS // len(scorer.columns))
    assert np.array_equal(sample, cells[: len(sample)], equal_nan=True)


def test_rows_of_a_series_without_a_score_are_not_counted(scorer: Scorer) -> None:
    statistics = RollingStatistics(scorer)
    _, cells = table(scorer, 3)
    statistics.add(verdicts([math.nan, 0.5, 2.0], matrix=cells, in_series=True))
    statistics.flush()
    assert statistics.recent.rows == statistics.score_counts.sum() == 2
    assert statistics.recent.latest.tolist() == [0.5, 2.0]


def test_a_request_is_not_kept_alive(scorer: Scorer) -> None:
    statistics = RollingStatistics(scorer)
    scores, cells = table(scorer, 5)
    statistics.add(verdicts(scores, matrix=cells))
    expected = scores.sum()
    scores[:] = cells[:] = -1.0
    statistics.flush()
    assert statistics.score_sum == pytest.approx(expected)


def test_rejects_are_counted_by_reason(scorer: Scorer) -> None:
    statistics = RollingStatistics(scorer)
    expected = ["a number", "a text", "true or false", "a JSON object"]
    rejects = [Reject(row, "x", "?", each) for row, each in enumerate(expected)]
    statistics.add(verdicts([], matrix=np.empty((0, len(scorer.columns))), rejects=rejects))
    assert statistics.rejected == {"number": 1, "category": 1, "boolean": 1, "json": 1}
