"""The population stability index of columns."""

import numpy as np
import pytest

from detector.columns import Column
from serving.monitoring.population_stability import REFERENCE_ROWS, PopulationStability


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
