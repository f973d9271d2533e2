"""Statistics of the latest rows."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from detector.scorer import Scorer
from serving.monitoring.recent import MAX_SCORES, RecentStatistics


def test_the_latest_scores_are_bounded(scorer: Scorer) -> None:
    recent = RecentStatistics(scorer)
    for start in range(0, 2 * MAX_SCORES, 4000):
        recent.add(4000, 0, np.arange(start, start + 4000.0), np.empty((0, len(scorer.columns))))
    assert len(recent.latest) == MAX_SCORES
    assert recent.latest[-1] == 2 * MAX_SCORES - 1


def test_the_alarm_ratio_follows_the_latest_rows(scorer: Scorer) -> None:
    recent, no_cells = RecentStatistics(scorer), np.empty((0, len(scorer.columns)))
    assert math.isnan(recent.alarm_ratio)
    recent.add(100, 5, np.zeros(100), no_cells)
    assert recent.alarm_ratio == pytest.approx(0.05)
    for _ in range(100):
        recent.add(1000, 300, np.zeros(1000), no_cells)
    assert recent.alarm_ratio == pytest.approx(0.3)


def test_a_series_has_no_drift_test(scorer: Scorer) -> None:
    series = SimpleNamespace(manifest=SimpleNamespace(window=object()), columns=scorer.columns, calibration=scorer.calibration)
    assert RecentStatistics(series).martingale is None  # type: ignore[arg-type]
    assert RecentStatistics(scorer).martingale == 0
