"""NAB's scoring: what it gives is known at both ends, by hand, and from a figure that NAB's own repository publishes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.harness import nab_scoring

ROWS = 400  # 60 of probation
WINDOWS = [(100, 119), (200, 249)]
MARKED = nab_scoring.marked(ROWS, WINDOWS)
FIRST_ROWS = [first for first, _ in WINDOWS]


def at(*rows: int) -> np.ndarray:
    told = np.zeros(ROWS, dtype=bool)
    told[list(rows)] = True
    return told


def worth(position: float) -> float:
    """2 sigma(-5 y) - 1."""
    return 2 / (1 + math.exp(5 * position)) - 1


@pytest.mark.parametrize("profile", nab_scoring.PROFILES.values(), ids=nab_scoring.PROFILES)
def test_silence_is_nought_and_perfection_a_hundred(profile: nab_scoring.Profile) -> None:
    assert nab_scoring.judged([MARKED], [at()], profile).score == 0
    assert nab_scoring.judged([MARKED], [at(*FIRST_ROWS)], profile).score == pytest.approx(100)
    perfect = nab_scoring.best([MARKED], [at(*FIRST_ROWS).astype(float)], profile)
    assert (perfect.score, perfect.threshold, perfect.found, perfect.false) == (pytest.approx(100), 1, 2, 0)
    assert nab_scoring.best([MARKED], [np.full(ROWS, np.nan)], profile).score == 0
    assert nab_scoring.best([MARKED], [at(70).astype(float)], profile)[:2] == (0, np.inf)  # to say nothing is better


def test_a_case_by_hand() -> None:
    told = at(10, 70, 110, 115, 129, 300)  # in probation; before all windows; in the first, twice; 10 and 51 rows behind one
    found = worth(-10 / 20) / worth(-1)  # row 110 is 10 rows before row 120, which is behind a window of 20
    false = -1 + worth(10 / 19) + worth(51 / 49)
    low = (found + 0.22 * false - 1 + 2) / 4 * 100
    assert nab_scoring.judged([MARKED], [told], nab_scoring.PROFILES["low FP"])[::2] == (pytest.approx(low), 1)
    missed = (found + 0.11 * false - 2 + 4) / 6 * 100
    assert nab_scoring.judged([MARKED], [told], nab_scoring.PROFILES["low FN"]).score == pytest.approx(missed)


def test_a_false_alarm_three_windows_behind_costs_as_much_as_any() -> None:
    one = nab_scoring.marked(1000, [(300, 310)]).worth
    assert (one[299], one[341]) == (-1, -1)
    assert one[311] == pytest.approx(worth(0.1))


def test_a_published_figure() -> None:
    # results/numenta/numenta_standard_scores.csv: rogue_agent_key_hold.csv, one row detected, a window missed, none false
    marked = nab_scoring.marked(1882, [(500, 594), (700, 794)])
    gain = marked.worth[590] - 1
    assert gain == pytest.approx(-0.867400232622, abs=1e-9)


def test_the_best_threshold_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    marks = [MARKED, nab_scoring.marked(300, [(150, 170)])]
    scores = [random.integers(0, 30, len(mark.window)).astype(float) for mark in marks]
    scores[0][100:104] += 25
    scores[1][::7] = np.nan
    for profile in nab_scoring.PROFILES.values():
        tried = [nab_scoring.judged(marks, [score >= t for score in scores], profile).score for t in [*range(60), np.inf]]
        assert nab_scoring.best(marks, scores, profile).score == pytest.approx(max(tried))
    assert nab_scoring.best(marks, scores, nab_scoring.PROFILES["standard"]).found > 0


def test_probation_is_fifteen_percent_of_five_thousand_rows_at_most() -> None:
    assert [nab_scoring.probation(rows) for rows in (1882, 4032, 22695)] == [282, 604, 750]
