"""What every variant guarantees under every likelihood: one suite over the whole table.

Properties of single modules are tested in the file of that module, such as `test_graph` and `test_decoder`, on the same bundles.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from tests.tables import ROWS, normal_rows, with_holes
from tests.training.conftest import Case, TrainedCase, assert_close, train_bundle, train_once
from training.variants import DEFAULT


def test_planted_anomalies_score_higher_than_fresh_normal_rows(trained: TrainedCase) -> None:
    normal, anomalies = trained.scores(trained.case.normal(seed=1)), trained.scores(trained.case.anomalies())
    labels = np.repeat([False, True], [len(normal), len(anomalies)])
    assert roc_auc_score(labels, np.concatenate([normal, anomalies])) > 0.9


def test_a_row_scores_the_same_alone_and_in_a_batch(trained: TrainedCase) -> None:
    frame = pl.concat([trained.case.normal(5 if trained.case.image else 50, seed=3), trained.case.anomalies()[:10]])
    together = trained.scores(frame)
    alone = np.concatenate([trained.scores(frame[row]) for row in range(frame.height)])
    assert_close(alone, together, trained.tolerance)


def test_the_same_call_returns_the_same_score(trained: TrainedCase) -> None:
    frame = trained.case.normal(50, seed=3)
    assert np.array_equal(trained.scores(frame), trained.scores(frame))


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes(bundles: Path, tmp_path: Path) -> None:
    case = Case(DEFAULT)
    first, again = train_once(case, bundles).folder, train_bundle(case, tmp_path / "again")
    for name in ("model.onnx", "calibration.npy", "decoder.onnx", "weights.safetensors"):
        assert (again / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.long
def test_the_same_seed_gives_the_same_weights(trained: TrainedCase, tmp_path: Path) -> None:
    again = train_bundle(trained.case, tmp_path / "again")
    assert (again / "weights.safetensors").read_bytes() == (trained.folder / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_missing_cells_hardly_change_the_scores_of_the_others(mixed: TrainedCase, share: float) -> None:
    complete = normal_rows(ROWS, seed=4, holes=0.0)
    medians = [np.median(_without_missingness(mixed, frame)) for frame in (complete, with_holes(complete, share))]
    assert medians[1] < medians[0] + 0.35 * abs(medians[0]) + 1.0


@pytest.mark.parametrize(("column", "value"), [("firmware", "7.2"), ("slots", 9)])
def test_a_change_in_a_constant_column_is_an_anomaly(mixed: TrainedCase, column: str, value: object) -> None:
    changed = normal_rows(50, seed=6).with_columns(pl.lit(value).alias(column))
    verdicts = mixed.scorer.score(changed)
    assert verdicts.is_anomaly.all()
    assert set(verdicts.reasons.table().filter(pl.col("rank") == 1)["column"]) == {column}


def _without_missingness(trained: TrainedCase, frame: pl.DataFrame) -> np.ndarray:
    """Return scores without the terms for cells being missing or present."""
    matrix = trained.matrix(frame)
    rates = np.array([column.missing_rate for column in trained.scorer.columns])
    return trained.scorer.graph.scores(matrix) + np.where(np.isnan(matrix), np.log(rates), np.log1p(-rates)).sum(axis=1)
