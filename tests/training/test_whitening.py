"""The covariance of residuals: of many columns only its diagonal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector import bundle
from detector.columns import encode
from detector.scorer import Scorer
from residuum import describe
from tests.tables import planted_shares, shares
from tests.training.conftest import assert_close, table_of
from training import fit, train, weights, whitening
from training.export import torch_scores
from training.inputs import tabular
from training.recipe import Recipe


def test_the_summary_and_training_agree_on_what_is_wide() -> None:
    assert describe.WIDE == whitening.MAX_WHITENED


def test_many_columns_are_divided_by_their_deviations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fit, "STEPS", 100)
    monkeypatch.setattr(tabular, "MAX_WHITENED", 3)
    rows = shares(200)
    trained = train.train(table_of(rows), tmp_path / "wide", Recipe(variant="plain", false_alarm_rate=0.1))
    scorer = Scorer.open(trained.folder, "cpu")
    graph = weights.load(bundle.read(trained.folder))
    assert graph.score.get_buffer("precision").ndim == 1
    matrix = encode(rows, scorer.columns, np.arange(rows.height)).matrix
    assert_close(torch_scores(graph, matrix), scorer.graph.scores(matrix))
    normal, odd = (scorer.score(each, explain="none").score for each in (shares(200, seed=1), planted_shares()))
    assert np.median(odd) > np.median(normal)
