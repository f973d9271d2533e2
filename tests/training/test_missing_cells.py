"""Residuals of missing cells equal those of a direct solution; their ONNX translation is the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from training.missing_cells import STEPS, complete

SIZE = 30
PRINT_FUNCTION = """
import sys
from training.missing_cells import complete_in_onnx
sys.stdout.buffer.write(complete_in_onnx.to_function_proto().SerializeToString())
"""


def problem(rows: int, seed: int, condition: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    """Return residuals, and a precision matrix with a condition number."""
    random = np.random.default_rng(seed)
    vectors = np.linalg.qr(random.normal(size=(SIZE, SIZE)))[0]
    precision = (vectors * np.geomspace(1, condition, SIZE)) @ vectors.T
    scale = 10 ** random.uniform(-1, 1, SIZE)
    return random.normal(size=(rows, SIZE)), precision * np.outer(scale, scale)


def presence(rows: int, max_missing: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    present = np.ones((rows, SIZE))
    for row in present:
        row[random.choice(SIZE, random.integers(0, max_missing + 1), replace=False)] = 0
    return present


def solve(residual: np.ndarray, present: np.ndarray, precision: np.ndarray) -> np.ndarray:
    completed: np.ndarray = residual * present
    for row, known in zip(completed, present.astype(bool), strict=True):
        if not known.all():
            row[~known] = -np.linalg.solve(precision[np.ix_(~known, ~known)], precision[np.ix_(~known, known)] @ row[known])
    return completed


def completed(residual: np.ndarray, present: np.ndarray, precision: np.ndarray) -> np.ndarray:
    found: np.ndarray = complete(*(torch.from_numpy(part) for part in (residual * present, present, precision))).numpy()
    return found


def score(residual: np.ndarray, precision: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * ((residual @ precision) * residual).sum(axis=1))


def test_up_to_as_many_missing_cells_as_steps_are_exact() -> None:
    residual, precision = problem(200, 0)
    present = presence(200, STEPS, 1)
    expected = solve(residual, present, precision)
    np.testing.assert_allclose(completed(residual, present, precision), expected, rtol=1e-6, atol=1e-6)


def test_the_score_is_the_marginal_of_the_present_cells() -> None:
    residual, precision = problem(50, 2)
    present = presence(50, STEPS, 3)
    covariance = np.linalg.inv(precision)
    marginal = []
    for row, known in zip(residual, present.astype(bool), strict=True):
        part = row[known]
        marginal.append(0.5 * part @ np.linalg.solve(covariance[np.ix_(known, known)], part))
    np.testing.assert_allclose(score(completed(residual, present, precision), precision), marginal, rtol=1e-6)


def test_more_missing_cells_than_steps_are_close() -> None:
    residual, precision = problem(300, 4)
    present = presence(300, 25, 5)
    exact = score(solve(residual, present, precision), precision)
    found = score(completed(residual, present, precision), precision)
    assert np.quantile(found / exact - 1, 0.99) < 0.03
    assert np.all(found >= exact * (1 - 1e-9))


@pytest.mark.parametrize("incomplete", [0, 5])
def test_complete_rows_do_not_change(incomplete: int) -> None:
    residual, precision = problem(10, 6)
    present = np.ones((10, SIZE))
    present[10 - incomplete :, :3] = 0
    assert np.array_equal(completed(residual, present, precision)[: 10 - incomplete], residual[: 10 - incomplete])


def test_a_row_without_cells_has_no_residual() -> None:
    residual, precision = problem(4, 7)
    present = np.ones((4, SIZE))
    present[2] = 0
    assert np.array_equal(completed(residual, present, precision)[2], np.zeros(SIZE))


@pytest.mark.long
def test_the_onnx_translation_is_the_same_in_every_process() -> None:
    """Hashes of names differ between processes, and onnxscript keeps the variables of a loop in sets."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_FUNCTION], stdout=subprocess.PIPE, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in ("1", "2")
    ]
    first, second = [process.communicate()[0] for process in processes]
    assert first
    assert first == second
