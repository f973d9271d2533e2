"""Expected values are in the user's units."""

from __future__ import annotations

import numpy as np

from tests.tables import normal_rows
from tests.training.conftest import TrainedCase


def test_expected_values_are_in_the_users_units(mixed: TrainedCase) -> None:
    frame = normal_rows(300, seed=8, holes=0.0)
    by_column = mixed.scorer.graph.explain(mixed.matrix(frame)).expected.T
    expected = dict(zip((column.name for column in mixed.scorer.columns), by_column, strict=True))
    assert np.corrcoef(expected["temperature"], frame["temperature"])[0, 1] > 0.85
    assert np.all(np.abs(expected["serial"] - 1e9) < 10)
    assert np.all(expected["slots"] == 8)
    hours = expected["at"] % 86_400 / 3600
    assert np.mean((hours > 7) & (hours < 17)) > 0.95
