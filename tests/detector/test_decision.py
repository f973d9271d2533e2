"""Scores to verdicts: the promise, and what it is exact about."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detector.decision import TOLERANCE, Calibration, Decision, check_rate, required_rows
from detector.errors import SettingError

score = st.floats(-1e9, 1e9) | st.integers(-3, 3).map(float)
scores = st.lists(score, min_size=1, max_size=60).map(np.array)
percent = st.integers(1, 999).map(lambda n: n / 1000)


@given(scores, st.lists(score, min_size=1, max_size=30), percent | st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_an_anomaly_is_above_the_threshold_and_below_the_rate(known: np.ndarray, fresh: list[float], rate: float) -> None:
    calibration = Calibration(known)
    alarms = (len(known) + 1) * rate
    assume(rate >= calibration.smallest_rate)
    assume(not 0 < math.ceil(alarms) - alarms < 1e-8)  # closer to a whole number than floats can represent
    decision = calibration.decide(rate)
    near = [*known, *(known + 0.9 * TOLERANCE * np.maximum(1, np.abs(known))), decision.threshold]
    every = np.array([*fresh, *near, *np.nextafter(near, np.inf), *np.nextafter(near, -np.inf)])
    flagged = decision.is_anomaly(every)
    assert flagged.tolist() == (every > decision.threshold).tolist()
    assert flagged.tolist() == (calibration.p_values(every) <= rate).tolist()


@given(scores, scores)
def test_p_values_fall_as_scores_rise(known: np.ndarray, fresh: np.ndarray) -> None:
    p = Calibration(known).p_values(np.sort(fresh))
    assert np.all((p > 0) & (p <= 1))
    assert np.all(np.diff(p) <= 0)


@given(scores, scores)
def test_p_values_by_their_definition(known: np.ndarray, fresh: np.ndarray) -> None:
    edges = known + TOLERANCE * np.maximum(1, np.abs(known))
    wanted = [(1 + sum(edges >= s)) / (len(known) + 1) for s in fresh]
    assert Calibration(known).p_values(fresh).tolist() == wanted


def test_extreme_scores() -> None:
    calibration = Calibration(np.arange(99.0))
    assert calibration.p_values(np.array([-np.inf, np.inf, 1e300])).tolist() == [1.0, 0.01, 0.01]


@given(scores, st.floats(-1, 1), percent)
def test_noise_within_the_tolerance_moves_no_verdict_of_a_calibration_row(known: np.ndarray, noise: float, rate: float) -> None:
    calibration = Calibration(known)
    assume(rate >= calibration.smallest_rate)
    moved = known + noise * 0.9 * TOLERANCE * np.maximum(1, np.abs(known))
    apart = np.abs(np.subtract.outer(known, known))
    assume(not np.any((apart > 0) & (apart < 4 * TOLERANCE * np.maximum(1, np.abs(known)))))
    assert calibration.p_values(moved).tolist() == calibration.p_values(known).tolist()
    decision = calibration.decide(rate)
    assert decision.is_anomaly(moved).tolist() == decision.is_anomaly(known).tolist()


@pytest.mark.parametrize(("rate", "allowed"), [(0.01, 0), (0.02, 1), (0.05, 4), (0.29, 28), (0.5, 49), (0.99, 98)])
def test_as_many_calibration_rows_are_above_as_the_rate_allows(rate: float, allowed: int) -> None:
    calibration = Calibration(np.random.default_rng(0).permutation(99).astype(float))
    decision = calibration.decide(rate)
    assert decision.is_anomaly(calibration.scores).sum() == allowed
    assert calibration.alarm_rate(decision.threshold) == allowed / 99
    assert (decision.promise, decision.criterion, decision.false_alarm_rate) == ("false_alarm_rate", "split conformal", rate)


@given(st.integers(1, 3000))
def test_the_smallest_rate_can_be_promised_and_none_below(rows: int) -> None:
    calibration = Calibration(np.arange(rows, dtype=float))
    assert calibration.decide(calibration.smallest_rate).threshold > rows - 1
    with pytest.raises(SettingError, match=f"{rows} calibration rows cannot promise") as refused:
        calibration.decide(calibration.smallest_rate * 0.999)
    promised = float(str(refused.value).rsplit("they can promise is ", 1)[1])
    assert calibration.decide(promised).false_alarm_rate == promised


@given(st.floats(1e-6, 1, exclude_max=True))
def test_rows_for_a_rate_are_the_fewest(rate: float) -> None:
    rows = required_rows(rate)
    assert math.floor((rows + 1) * rate + 1e-6) >= 1
    assert math.floor(rows * rate - 1e-6) < 1


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
def test_an_invalid_rate_raises(rate: float) -> None:
    with pytest.raises(SettingError, match="lies between 0 and 1"):
        check_rate(rate)
    with pytest.raises(SettingError, match="lies between 0 and 1"):
        Calibration(np.arange(9.0)).decide(rate)


def test_a_rate_next_to_one_flags_all_but_the_lowest() -> None:
    decision = Calibration(np.arange(9.0)).decide(math.nextafter(1, 0))
    assert decision.is_anomaly(np.array([-1.0, 1.0, 100.0])).tolist() == [False, True, True]


def test_a_chosen_threshold_decides_alone() -> None:
    decision = Decision(threshold=3.0, promise="value", criterion="chosen")
    assert decision.is_anomaly(np.array([2.9, 3.0, 3.1])).tolist() == [False, False, True]


@pytest.mark.parametrize(("rows", "rate"), [(19, 0.05), (57, 0.1), (150, 0.013), (399, 0.01)])
def test_the_false_alarm_rate_is_what_theory_says(rows: int, rate: float) -> None:
    runs, fresh_rows = 2000, 50
    random = np.random.default_rng(rows)
    draws = random.standard_t(3, size=(runs, rows + fresh_rows))
    alarms = np.empty(runs)
    for run, draw in enumerate(draws):
        alarms[run] = Calibration(draw[:rows]).decide(rate).is_anomaly(draw[rows:]).mean()
    allowed = math.floor((rows + 1) * rate + 1e-9)
    betas = random.beta(allowed, rows + 1 - allowed, size=(400, runs))
    spread = random.binomial(fresh_rows, betas).mean(axis=1) / fresh_rows
    lowest, highest = np.quantile(spread, [0.001, 0.999])
    assert lowest <= alarms.mean() <= highest
    assert abs(spread.mean() - allowed / (rows + 1)) < 5 * spread.std() / math.sqrt(len(spread))
    assert highest - lowest < allowed / (rows + 1)  # narrow enough to detect a wrong rate
