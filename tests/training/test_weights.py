"""The weights of a bundle restore the trained network."""

from __future__ import annotations

import polars as pl

from detector import bundle
from tests.training.conftest import TrainedCase, assert_close
from training import weights
from training.export import torch_scores


def test_loaded_weights_give_the_bundles_scores(trained: TrainedCase) -> None:
    frame = pl.concat([trained.case.normal(200, seed=2), trained.case.anomalies()])
    graph = trained.graph
    assert_close(torch_scores(graph, trained.matrix(frame)), trained.scores(frame), trained.tolerance)
    assert weights.to_bytes(graph) == (trained.folder / bundle.WEIGHTS).read_bytes()
