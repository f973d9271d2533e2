"""The conformal test martingale, against what the theory promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.monitoring.drift import Martingale


def test_the_expected_capital_is_one_under_exchangeability() -> None:
    random = np.random.default_rng(0)
    capital = []
    for seed in range(1000):
        martingale = Martingale(random.normal(size=50), seed)
        martingale.add(random.normal(size=20))
        capital.append(np.exp(martingale.log_capital))
    assert np.mean(capital) == pytest.approx(1, abs=4 * np.std(capital) / np.sqrt(len(capital)))


def test_a_large_capital_is_rare_under_exchangeability() -> None:
    random = np.random.default_rng(0)
    reached = []
    for seed in range(100):
        martingale = Martingale(random.normal(size=200), seed)
        largest = 0.0
        for _ in range(20):
            martingale.add(random.normal(size=30))
            largest = max(largest, martingale.log_capital)
        reached.append(largest > np.log(20))
    assert np.mean(reached) < 0.12  # Ville: at most 1/20; 100 trials may show a few more


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_the_capital_grows_under_drift_in_either_direction(shift: float) -> None:
    random = np.random.default_rng(0)
    martingale = Martingale(random.normal(size=200))
    martingale.add(random.normal(size=500) + shift)
    assert martingale.log_capital > np.log(100)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 1e9]), max_size=60), st.integers(0, 60))
def test_blocks_of_any_size_give_the_same_capital(scores: list[float], split: int) -> None:
    whole, parts = Martingale(np.arange(30.0)), Martingale(np.arange(30.0))
    whole.add(np.array(scores))
    parts.add(np.array(scores[:split]))
    parts.add(np.array(scores[split:]))
    assert whole.log_capital == parts.log_capital


def test_equal_scores_are_no_drift() -> None:
    martingale = Martingale(np.ones(100))
    martingale.add(np.ones(1000))
    assert martingale.log_capital < np.log(20)
