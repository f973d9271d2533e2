"""The exported graph agrees with an oracle in numpy; contributions sum to the score; extreme values have finite scores."""

from __future__ import annotations

import numpy as np
import polars as pl

from tests.tables import normal_rows
from tests.training import oracle
from tests.training.conftest import TrainedCase, assert_close
from training.rare_events import USUAL


def test_contributions_sum_to_the_score(trained: TrainedCase) -> None:
    frame = pl.concat([trained.case.normal(seed=1), trained.case.anomalies()])
    outputs = trained.scorer.graph.explain(trained.matrix(frame))
    image = trained.case.image
    positions = image.width * image.height if image else len(trained.scorer.columns)
    assert outputs.contribution.shape[1] == positions + len(trained.scorer.manifest.score.extra_terms)
    assert_close(outputs.contribution.sum(axis=1), outputs.score)


def test_the_graph_agrees_with_the_oracle(trained: TrainedCase) -> None:
    rows = 4 if trained.case.image else 40  # the oracle is slow on images
    frame = pl.concat([trained.case.normal(rows, seed=2), trained.case.anomalies()[: rows // 4]])
    if not trained.case.image:
        frame = pl.concat([frame, frame.with_columns(machine=pl.lit("unheard of"))])
    matrix = trained.matrix(frame)
    matrix[: rows // 2, 0], matrix[rows // 4 : rows, -1] = 1.5, 7.0  # extreme values, and a constant that changed
    outputs, graph = trained.scorer.graph.explain(matrix), trained.graph
    expected = [oracle.score(graph, row) for row in matrix]
    assert_close(outputs.score, np.array([score for score, _ in expected]), trained.tolerance)
    for found, (score, contribution) in zip(outputs.contribution, expected, strict=True):
        largest = max(1.0, abs(score), np.abs(contribution).max())
        assert np.abs(found - contribution).max() <= trained.tolerance * largest


def test_extreme_values_have_finite_scores(trained: TrainedCase) -> None:
    extremes = [1e308, -1e308, 0.0, np.nan, 1e-308]
    matrix = np.array([[value] * len(trained.scorer.columns) for value in extremes])
    outputs = trained.scorer.graph.explain(matrix)
    assert np.isfinite(outputs.score).all()
    assert np.isfinite(outputs.contribution).all()


def test_a_missing_number_contributes_only_its_missing_rate(mixed: TrainedCase) -> None:
    frame = normal_rows(20, seed=5, holes=0.0).with_columns(pl.lit(None, pl.Float64).alias("flow"))
    index = [column.name for column in mixed.scorer.columns].index("flow")
    outputs = mixed.scorer.graph.explain(mixed.matrix(frame))
    surprise = -np.log(mixed.scorer.columns[index].missing_rate)
    if mixed.scorer.manifest.score.unit == "points":
        surprise = max(0.0, surprise - np.log(USUAL))
    assert_close(outputs.contribution[:, index], np.full(20, surprise))


def test_an_unseen_category_is_surprising(mixed: TrainedCase) -> None:
    frame = normal_rows(200, seed=6, holes=0.0)
    frames = (frame, frame.with_columns(machine=pl.lit("crane")))
    index = [column.name for column in mixed.scorer.columns].index("machine")
    seen, unseen = (mixed.scorer.graph.explain(mixed.matrix(each)).contribution[:, index] for each in frames)
    assert np.all(unseen > mixed.scorer.manifest.decision.threshold)  # flagged by itself
    assert np.median(seen) < 2
