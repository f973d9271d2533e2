"""Missing residuals are completed as linear algebra has it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.missing_cells import STEPS, complete
from training.scores import sobol_normal

SIZE = 30


def problem(rows: int, seed: int, condition: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    """Give residuals and a precision matrix whose eigenvalues span a condition number."""
    random = np.random.default_rng(seed)
    vectors = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    precision = (vectors * np.geomspace(1, condition, SIZE)) @ vectors.T
    scale = 10 ** random.uniform(-1, 1, SIZE)
    return random.normal(size=(rows, SIZE)), precision * np.outer(scale, scale)


def holes(rows: int, most: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    present = np.ones((rows, SIZE))
    for row in present:
        row[random.choice(SIZE, random.integers(0, most + 1), replace=False)] = 0
    return present


def solved(residual: np.ndarray, present: np.ndarray, precision: np.ndarray) -> np.ndarray:
    filled: np.ndarray = residual * present
    for row, there in zip(filled, present.astype(bool), strict=True):
        if not there.all():
            row[~there] = -np.linalg.solve(precision[np.ix_(~there, ~there)], precision[np.ix_(~there, there)] @ row[there])
    return filled


def completed(residual: np.ndarray, present: np.ndarray, precision: np.ndarray) -> np.ndarray:
    found: np.ndarray = complete(*(torch.from_numpy(part) for part in (residual * present, present, precision))).numpy()
    return found


def score(residual: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * ((residual @ precision) * residual).sum(axis=1))


def test_as_many_holes_as_steps_are_filled_exactly() -> None:
    residual, precision = problem(200, 0)
    present = holes(200, STEPS, 1)
    wanted = solved(residual, present, precision)
    np.testing.assert_allclose(completed(residual, present, precision), wanted, rtol=1e-6, atol=1e-6)


def test_the_score_is_the_marginal_of_what_is_there() -> None:
    residual, precision = problem(50, 2)
    present = holes(50, STEPS, 3)
    covariance = np.linalg.inv(precision)
    marginal = []
    for row, there in zip(residual, present.astype(bool), strict=True):
        part = row[there]
        marginal.append(0.5 * part @ np.linalg.solve(covariance[np.ix_(there, there)], part))
    np.testing.assert_allclose(score(completed(residual, present, precision), precision), marginal, rtol=1e-6)


def test_more_holes_than_steps_are_filled_closely() -> None:
    residual, precision = problem(300, 4)
    present = holes(300, 25, 5)
    exact = score(solved(residual, present, precision), precision)
    found = score(completed(residual, present, precision), precision)
    assert np.quantile(found / exact - 1, 0.99) < 0.03
    assert np.all(found >= exact * (1 - 1e-9))


@pytest.mark.parametrize("others", [0, 5])
def test_rows_without_holes_come_back_as_they_are(others: int) -> None:
    residual, precision = problem(10, 6)
    present = np.ones((10, SIZE))
    present[10 - others :, :3] = 0
    assert np.array_equal(completed(residual, present, precision)[: 10 - others], residual[: 10 - others])


def test_a_row_of_nothing_is_filled_with_nothing() -> None:
    residual, precision = problem(4, 7)
    present = np.ones((4, SIZE))
    present[2] = 0
    assert np.array_equal(completed(residual, present, precision)[2], np.zeros(SIZE))


def test_latents_are_fixed_and_fill_the_space() -> None:
    first, again, other = (sobol_normal(16, 5, seed).numpy() for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(first.mean(axis=0)).max() < 0.2
    assert np.abs(first.std(axis=0) - 1).max() < 0.25
