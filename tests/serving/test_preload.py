"""The first run of a graph."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detector.columns import Column
from detector.errors import BundleCorrupt
from detector.scorer import Scorer
from serving.preload import example_rows, preload
from tests.data.make_bundle import KEPT


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer.open(KEPT, "cpu")


def test_example_rows_lie_within_the_training_range() -> None:
    columns = [
        Column(name="number", kind="number", lowest=-2.0, highest=3.0),
        Column(name="category", kind="category", vocabulary=("x", "y", "z")),
        Column(name="flag", kind="boolean"),
        Column(name="empty", kind="number"),
    ]
    rows = example_rows(columns, 60)
    assert rows.shape == (60, 4)
    assert (rows[:, 0].min(), rows[:, 0].max()) == (-2.0, 3.0)
    assert set(rows[:, 1]) == {0.0, 1.0, 2.0}
    assert set(rows[:, 2]) == {0.0, 1.0}
    assert np.isnan(rows[:, 3]).all()
    assert not np.array_equal(np.sort(rows[:, 0]), rows[:, 0])  # each column has an order of its own


def test_a_kept_bundle_is_preloaded(scorer: Scorer) -> None:
    preload(scorer)


def fake(scorer: Scorer, explain: Any) -> Any:  # noqa: ANN401
    graph = SimpleNamespace(explain=explain)
    return SimpleNamespace(columns=scorer.columns, input=scorer.input, graph=graph, folder=scorer.folder, classifier=None)


def test_a_graph_that_fails_is_a_corrupt_bundle(scorer: Scorer) -> None:
    def fail(_rows: np.ndarray) -> None:
        raise RuntimeError("bad node")

    with pytest.raises(BundleCorrupt, match="cannot score rows like its training rows: RuntimeError"):
        preload(fake(scorer, fail))


def test_a_graph_without_scores_is_a_corrupt_bundle(scorer: Scorer) -> None:
    with pytest.raises(BundleCorrupt, match="has no score"):
        preload(fake(scorer, lambda rows: SimpleNamespace(score=np.full(len(rows), np.nan))))
