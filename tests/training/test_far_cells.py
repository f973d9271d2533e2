"""A cell far from all others of its column sets neither range nor scale; other columns are as if it were not looked for."""

from __future__ import annotations

import numpy as np
import pytest

from detector.columns import Column
from training import layout as layouts
from training.far_cells import are_far
from training.layout import FeatureLayout, build_layout

RANDOM = np.random.default_rng(0)
ROWS = 3000
ORDINARY = {
    "normal": RANDOM.normal(1013, 8, ROWS),
    "skewed": RANDOM.gamma(4, 3, ROWS),
    "exponential": RANDOM.exponential(size=ROWS),
    "uniform": RANDOM.uniform(0, 360, ROWS),
    "counts": RANDOM.poisson(3, ROWS).astype(float),
    "heavy counts": np.floor(np.exp(RANDOM.normal(4, 2, ROWS))),
    "lognormal": np.exp(RANDOM.normal(0, 4, ROWS)),
    "two modes": np.where(RANDOM.random(ROWS) < 0.05, 5000.0, 10.0) + RANDOM.normal(size=ROWS),
    "flag": (RANDOM.random(ROWS) < 0.002).astype(float),
    "with holes": np.where(RANDOM.random(ROWS) < 0.1, np.nan, RANDOM.normal(size=ROWS)),
    "few heavy counts": np.append(np.floor(np.exp(RANDOM.normal(4, 1.5, 90))), 14_006.0),
    "far": np.append(RANDOM.normal(size=ROWS - 1), 8.0),
}


def layout_of(values: np.ndarray) -> FeatureLayout:
    return build_layout(values.reshape(-1, 1), [Column(name="v", kind="number")])


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_columns_keep_their_layout(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = layout_of(ORDINARY[name])
    monkeypatch.setattr(layouts, "are_far", lambda values: np.zeros(len(values), dtype=bool))
    assert found == layout_of(ORDINARY[name])


@pytest.mark.parametrize("name", ["normal", "skewed", "exponential", "uniform", "counts", "with holes"])
@pytest.mark.parametrize("wrong", [(1e5,), (-1e5,), (1e5, 2e5), (1e5, 1e9, -1e5), (1e300,)], ids=str)
def test_the_scale_is_that_without_far_cells(name: str, wrong: tuple[float, ...]) -> None:
    values = ORDINARY[name]
    found, expected = layout_of(np.append(values, wrong)), layout_of(values)
    assert found.scalings == expected.scalings
    assert (found.columns[0].lowest, found.columns[0].highest) == (expected.columns[0].lowest, expected.columns[0].highest)
    assert f"leave out {len(wrong)} training cell" in found.columns[0].note


def test_values_that_are_common_are_not_far() -> None:
    values = np.append(RANDOM.normal(size=980), np.full(20, 9999.0))
    assert not are_far(values).any()


def test_few_rows_and_constants_have_no_far_cells() -> None:
    assert not are_far(np.array([1.0, 2.0, 900.0])).any()
    assert not are_far(np.append(np.full(500, 7.0), 900.0)).any()
    assert not are_far(np.full(50, np.nan)).any()
