"""Drift of a run's columns beside their training rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from detector.columns import Column
from detector.profile import bin_counts, bin_edges
from serving.files.drift import ColumnDrift, DriftCounts, chi_squared_quantile

TRAINING = 2000


def profiled(name: str, cells: np.ndarray) -> Column:
    """Return a column of numbers with the profile of its training cells."""
    column = Column(name=name, kind="number")
    edges = bin_edges(column, cells)
    rows = bin_counts(edges, cells).astype(int).tolist()
    return Column(name=name, kind="number", bins=tuple(edges.tolist()), bin_rows=tuple(rows))


def drift_of(*batches: np.ndarray, columns: int = 1) -> tuple[ColumnDrift, ...]:
    random = np.random.default_rng(0)
    counts = DriftCounts([profiled(f"c{index}", random.normal(size=TRAINING)) for index in range(columns)])
    for batch in batches:
        counts.add(batch)
    return counts.columns()


@pytest.mark.parametrize("rows", [1, 5, 20, 100, 1000, 20_000])
def test_rows_like_the_training_rows_do_not_drift(rows: int) -> None:
    random = np.random.default_rng(rows)
    found = [drift for _ in range(20) for drift in drift_of(random.normal(size=(rows, 10)), columns=10)]
    assert not any(drift.has_drifted for drift in found)


@pytest.mark.parametrize("rows", [40, 1000, 20_000])
def test_a_shift_a_spread_and_missing_cells_are_drift(rows: int) -> None:
    random = np.random.default_rng(rows)
    cells = random.normal(size=(rows, 1))
    for changed in (cells + 1.5, 6 * cells, np.where(random.random((rows, 1)) < 0.6, np.nan, cells)):
        (drift,) = drift_of(changed)
        assert drift.has_drifted
        assert drift.stability_index > 0.25


def test_a_batch_counts_by_its_rows_not_by_its_sample() -> None:
    random = np.random.default_rng(1)
    (drift,) = drift_of(random.normal(size=(400_000, 1)), random.normal(5.0, size=(2000, 1)))
    assert drift.stability_index < 0.1


def test_rows_of_a_series_that_repeat_tell_no_more_than_one() -> None:
    random = np.random.default_rng(3)
    column = profiled("c", np.repeat(random.normal(size=TRAINING // 20), 20))
    alike = np.repeat(random.normal(size=(8, 1)), 20, axis=0)
    drifts = []
    for stretch in (1, 20):
        counts = DriftCounts([column], stretch)
        counts.add(alike)
        drifts.append(counts.columns()[0].has_drifted)
    assert drifts == [True, False]


def test_columns_without_a_profile_are_left_out() -> None:
    counts = DriftCounts([Column(name="at", kind="date"), profiled("c", np.arange(100.0))])
    counts.add(np.full((50, 2), 1e6))
    assert [drift.column for drift in counts.columns()] == ["c"]
    assert DriftCounts([Column(name="at", kind="date")]).columns() == ()


@pytest.mark.parametrize("degrees", [2, 10, 50])
def test_the_quantile_is_near_that_of_scipy(degrees: int) -> None:
    for probability in (0.99, 0.999, 0.99999):
        assert chi_squared_quantile(probability, degrees) == pytest.approx(chi2.ppf(probability, degrees), rel=0.1)
