"""Which columns moved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from detector.columns import encode
from detector.profile import bin_counts, bin_edges
from detector.scorer import Scorer
from serving.http.models.moved_columns import find_drift
from serving.monitoring.recent import RecentStatistics
from tests.data.make_bundle import KEPT
from tests.tables import normal_rows


@pytest.fixture(scope="module")
def scorer() -> Any:  # noqa: ANN401 - what is read of a scorer
    """The kept detector, with a profile of its training cells."""
    opened = Scorer.open(KEPT, "cpu")
    matrix = cells(opened, seed=1)
    columns = []
    for column, values in zip(opened.columns, matrix.T, strict=True):
        edges = bin_edges(column, values)
        counts = bin_counts(edges, values).astype(int)
        columns.append(msgspec.structs.replace(column, bins=tuple(edges), bin_rows=tuple(counts)))
    parts = {name: getattr(opened, name) for name in ("graph", "calibration", "manifest")}
    return SimpleNamespace(columns=tuple(columns), **parts)


def cells(scorer: Any, seed: int, temperature: float | None = None) -> np.ndarray:  # noqa: ANN401 - as above
    rows = normal_rows(600, seed=seed)
    matrix: np.ndarray = encode(rows, scorer.columns, np.arange(rows.height)).matrix
    if temperature is not None:
        matrix[:, [column.name for column in scorer.columns].index("temperature")] = temperature
    return matrix


def recent(scorer: Any, *blocks: np.ndarray) -> RecentStatistics:  # noqa: ANN401 - as above
    statistics = RecentStatistics(scorer)
    for block in blocks:
        statistics.add(len(block), 0, scorer.graph.scores(block), block)
    return statistics


def test_normal_rows_have_no_drift(scorer: Any) -> None:  # noqa: ANN401 - as above
    assert find_drift(scorer, recent(scorer)) is None
    assert find_drift(scorer, recent(scorer, cells(scorer, seed=2))) is None


def test_the_column_that_moved_is_named_with_what_it_holds(scorer: Any) -> None:  # noqa: ANN401 - as above
    drift = find_drift(scorer, recent(scorer, *(cells(scorer, seed, temperature=75.0) for seed in (2, 3))))
    assert drift is not None
    assert drift.median > drift.usual
    assert (drift.columns[0].column, drift.columns[0].found) == ("temperature", "75")
    assert [column.column for column in drift.changed] == ["temperature"]


def test_scores_that_fell_are_blamed_on_no_column(scorer: Any) -> None:  # noqa: ANN401 - as above
    calm = cells(scorer, seed=2)
    calm = np.repeat(calm[np.argsort(scorer.graph.scores(calm))[:5]], 200, axis=0)
    drift = find_drift(scorer, recent(scorer, calm))
    assert drift is not None
    assert drift.median < drift.usual
    assert drift.columns == []
    assert drift.changed
