"""Profiles of columns, and the population stability index between them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector.profile import PRIOR_COUNT, evenly_spaced, stability_index

COUNTS = arrays(float, 5, elements=st.integers(0, 10**6).map(float))


def test_the_index_by_hand() -> None:
    assert stability_index(np.array([5.0, 5.0]), np.array([50.0, 50.0])) == pytest.approx(0, abs=1e-9)
    p, q = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    assert stability_index(p * 1e6, q * 1e6) == pytest.approx(0.3 * np.log(1.6) + 0.3 * np.log(2.5), rel=1e-4)


@given(COUNTS, COUNTS)
def test_the_index_is_the_sum_of_both_divergences(latest: np.ndarray, reference: np.ndarray) -> None:
    p, q = ((counts + PRIOR_COUNT) / (counts + PRIOR_COUNT).sum() for counts in (latest, reference))
    found = stability_index(latest, reference)
    assert found == pytest.approx((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum(), abs=1e-9)
    assert found == pytest.approx(stability_index(reference, latest), abs=1e-12)
    assert found >= 0


@given(st.integers(0, 5000), st.integers(1, 2000))
def test_a_sample_is_bounded_and_spread_over_all_rows(rows: int, max_rows: int) -> None:
    sample = evenly_spaced(np.arange(rows), max_rows)
    assert len(sample) <= max_rows
    assert len(sample) >= min(rows, max_rows / 2)
    assert len(set(np.diff(sample))) <= 1
