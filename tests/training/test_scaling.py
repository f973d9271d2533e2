"""Numbers are centred and scaled, with a logarithm for heavy tails."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.scaling import fit_scaling

RANDOM = np.random.default_rng(0)


def test_columns_near_a_billion_keep_their_digits() -> None:
    small = RANDOM.normal(size=500)
    scaled = fit_scaling(1e9 + small)(1e9 + small)
    assert np.corrcoef(scaled, small)[0, 1] > 1 - 1e-12
    assert scaled.std() == pytest.approx(1)
    assert len(np.unique(scaled.astype(np.float32))) > 490


@pytest.mark.parametrize(
    ("values", "heavy"),
    [
        (RANDOM.normal(size=2000), False),
        (RANDOM.exponential(size=2000), False),
        (RANDOM.poisson(3, size=2000).astype(float), False),
        (np.floor(np.exp(RANDOM.normal(4, 2, size=2000))), True),
        (np.exp(RANDOM.normal(0, 4, size=2000)), True),
        (np.append(RANDOM.normal(size=500), 500.0), False),
        (np.append(RANDOM.normal(size=500), 50_000.0), True),
        (np.append(-RANDOM.normal(size=500), -50_000.0), True),
    ],
    ids=["normal", "exponential", "poisson", "counts", "lognormal", "far", "very far", "very far below"],
)
def test_heavy_tails_are_scaled_by_a_logarithm(values: np.ndarray, heavy: bool) -> None:  # noqa: FBT001 - a parameter
    scaling = fit_scaling(values)
    assert scaling.heavy is heavy
    scaled = scaling(values)
    assert scaled.mean() == pytest.approx(0, abs=1e-9)
    assert scaled.std() == pytest.approx(1)
    if heavy:
        assert scaling.centre == (values.min() if values.min() >= 0 else np.median(values))
        assert np.abs(scaled).max() < 25
    order = np.argsort(values)
    assert np.all(np.diff(scaled[order]) >= 0)


def test_the_unit_is_one_for_counts_and_the_typical_distance_for_others() -> None:
    assert fit_scaling(np.append(np.zeros(100), [1.0, 1000.0])).unit == 1
    values = np.append(np.linspace(-1, 1, 101), 1e6)
    assert fit_scaling(values).unit == pytest.approx(0.5, rel=0.05)


def test_missing_values_are_ignored() -> None:
    values = RANDOM.normal(size=100)
    assert fit_scaling(np.append(values, [np.nan, np.inf])) == fit_scaling(values)


number = st.floats(-1e100, 1e100).map(lambda x: 0.0 if abs(x) < 1e-100 else x)


@given(st.lists(number, min_size=2, max_size=40).filter(lambda v: len(set(v)) > 1))
def test_scaled_values_are_finite_and_in_order(values: list[float]) -> None:
    array = np.sort(values)
    scaled = fit_scaling(array)(array)
    assert np.isfinite(scaled).all()
    assert np.all(np.diff(scaled) >= 0)


@pytest.mark.parametrize(
    "values", [[1e308, -1e308, 1.0], [1e200, 1e300], [1e300, 0.0, 1.0], [0.0, 5e-324, 5e-324, 5e-324, 0.0, 1.0]]
)
def test_scaled_extremes_of_float64_are_finite_and_in_order(values: list[float]) -> None:
    array = np.sort(values)
    scaled = fit_scaling(array)(array)
    assert np.isfinite(scaled).all()
    assert np.all(np.diff(scaled) >= 0)
