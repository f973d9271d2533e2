"""The population stability index of columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector.columns import Column
from serving.monitoring.population_stability import (
    PRIOR_COUNT,
    REFERENCE_ROWS,
    PopulationStability,
    evenly_spaced,
    psi,
)

COUNTS = arrays(float, 5, elements=st.integers(0, 10**6).map(float))


def test_psi_by_hand() -> None:
    assert psi(np.array([5.0, 5.0]), np.array([50.0, 50.0])) == pytest.approx(0, abs=1e-9)
    p, q = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    assert psi(p * 1e6, q * 1e6) == pytest.approx(0.3 * np.log(1.6) + 0.3 * np.log(2.5), rel=1e-4)


@given(COUNTS, COUNTS)
def test_psi_is_the_sum_of_both_divergences(latest: np.ndarray, reference: np.ndarray) -> None:
    p, q = ((counts + PRIOR_COUNT) / (counts + PRIOR_COUNT).sum() for counts in (latest, reference))
    assert psi(latest, reference) == pytest.approx((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum(), abs=1e-9)
    assert psi(latest, reference) == pytest.approx(psi(reference, latest), abs=1e-12)
    assert psi(latest, reference) >= 0


def test_missing_cells_and_new_categories_move_the_index() -> None:
    columns = [Column(name="a", kind="number"), Column(name="b", kind="category", vocabulary=("x", "y"))]
    random = np.random.default_rng(0)
    first = np.column_stack([random.normal(size=REFERENCE_ROWS), random.integers(0, 2, REFERENCE_ROWS)])
    stability = PopulationStability(columns)
    stability.add(first)
    assert stability.indices() == {}
    stability.add(first)
    assert max(stability.indices().values()) < 0.01
    half_missing = np.where(random.random(REFERENCE_ROWS) < 0.5, np.nan, first[:, 0])
    for _ in range(5):
        stability.add(np.column_stack([half_missing, np.full(REFERENCE_ROWS, 2.0)]))
    assert min(stability.indices().values()) > 0.25


@pytest.mark.parametrize("column", [Column(name="flag", kind="boolean"), Column(name="empty", kind="number")])
def test_columns_without_deciles_are_counted(column: Column) -> None:
    stability = PopulationStability([column])
    cells = np.full((REFERENCE_ROWS, 1), np.nan)
    if column.kind == "boolean":
        cells[:, 0] = np.random.default_rng(0).integers(0, 2, REFERENCE_ROWS)
    stability.add(cells)
    stability.add(cells)
    assert stability.indices()[column.name] < 0.01
    for _ in range(5):
        stability.add(np.ones((REFERENCE_ROWS, 1)))
    assert stability.indices()[column.name] > 0.25


@given(st.integers(0, 5000), st.integers(1, 2000))
def test_a_sample_is_bounded_and_spread_over_all_rows(rows: int, max_rows: int) -> None:
    sample = evenly_spaced(np.arange(rows), max_rows)
    assert len(sample) <= max_rows
    assert len(sample) >= min(rows, max_rows / 2)
    assert len(set(np.diff(sample))) <= 1
