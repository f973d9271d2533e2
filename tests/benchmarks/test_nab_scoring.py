"""NAB's scoring: both ends of the scale, a case by hand, and a figure that NAB's own repository publishes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.harness import nab_scoring

ROWS = 400  # 60 of probation
WINDOWS = [(100, 119), (200, 249)]
VALUES = nab_scoring.row_values(ROWS, WINDOWS)
FIRST_ROWS = [first for first, _ in WINDOWS]


def detections(*rows: int) -> np.ndarray:
    flags = np.zeros(ROWS, dtype=bool)
    flags[list(rows)] = True
    return flags


def worth(position: float) -> float:
    """2 sigma(-5 y) - 1."""
    return 2 / (1 + math.exp(5 * position)) - 1


@pytest.mark.parametrize("profile", nab_scoring.PROFILES.values(), ids=nab_scoring.PROFILES)
def test_no_detections_score_0_and_perfect_ones_100(profile: nab_scoring.Profile) -> None:
    assert nab_scoring.score_detections([VALUES], [detections()], profile).score == 0
    assert nab_scoring.score_detections([VALUES], [detections(*FIRST_ROWS)], profile).score == pytest.approx(100)
    perfect = nab_scoring.best_score([VALUES], [detections(*FIRST_ROWS).astype(float)], profile)
    assert (perfect.score, perfect.threshold, perfect.found, perfect.false) == (pytest.approx(100), 1, 2, 0)
    assert nab_scoring.best_score([VALUES], [np.full(ROWS, np.nan)], profile).score == 0
    assert nab_scoring.best_score([VALUES], [detections(70).astype(float)], profile)[:2] == (
        0,
        np.inf,
    )  # no detections are better


def test_a_case_by_hand() -> None:
    detected = detections(
        10, 70, 110, 115, 129, 300
    )  # in the probationary period; before all windows; twice in the first; 10 and 51 rows after one
    found = worth(-10 / 20) / worth(-1)  # row 110 is 10 rows before row 120, just after a window of 20
    false = -1 + worth(10 / 19) + worth(51 / 49)
    low = (found + 0.22 * false - 1 + 2) / 4 * 100
    assert nab_scoring.score_detections([VALUES], [detected], nab_scoring.PROFILES["low FP"])[::2] == (pytest.approx(low), 1)
    missed = (found + 0.11 * false - 2 + 4) / 6 * 100
    assert nab_scoring.score_detections([VALUES], [detected], nab_scoring.PROFILES["low FN"]).score == pytest.approx(missed)


def test_a_false_alarm_three_window_widths_later_has_the_full_cost() -> None:
    value = nab_scoring.row_values(1000, [(300, 310)]).worth
    assert (value[299], value[341]) == (-1, -1)
    assert value[311] == pytest.approx(worth(0.1))


def test_a_published_figure() -> None:
    # results/numenta/numenta_standard_scores.csv: rogue_agent_key_hold.csv, one row detected, a window missed, none false
    values = nab_scoring.row_values(1882, [(500, 594), (700, 794)])
    gain = values.worth[590] - 1
    assert gain == pytest.approx(-0.867400232622, abs=1e-9)


def test_the_best_threshold_scores_highest() -> None:
    random = np.random.default_rng(0)
    marks = [VALUES, nab_scoring.row_values(300, [(150, 170)])]
    scores = [random.integers(0, 30, len(mark.window)).astype(float) for mark in marks]
    scores[0][100:104] += 25
    scores[1][::7] = np.nan
    for profile in nab_scoring.PROFILES.values():
        scored = [
            nab_scoring.score_detections(marks, [score >= t for score in scores], profile).score for t in [*range(60), np.inf]
        ]
        assert nab_scoring.best_score(marks, scores, profile).score == pytest.approx(max(scored))
    assert nab_scoring.best_score(marks, scores, nab_scoring.PROFILES["standard"]).found > 0


def test_the_probationary_period_has_a_maximum() -> None:
    assert [nab_scoring.probation(rows) for rows in (1882, 4032, 22695)] == [282, 604, 750]
