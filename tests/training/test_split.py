"""Rows are split into training, validation and calibration rows that can promise the rate."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.decision import Calibration, smallest_rate
from detector.errors import SettingError, TableError
from training.split import DEFAULT_RATE, split, split_into_folds

rates = st.none() | st.floats(0.001, 0.9)


@given(st.integers(20, 20_000), rates, st.integers(0, 3))
def test_parts_cover_all_rows_once_and_can_promise_the_rate(rows: int, rate: float | None, seed: int) -> None:
    try:
        parts = split(rows, rate, seed, None)
    except SettingError:
        assert rate is not None
        assert math.floor((math.floor(0.4 * rows) + 1) * rate + 1e-9) < 1
        return
    every = np.concatenate(parts[:3])
    assert np.array_equal(np.sort(every), np.arange(rows))
    n, needed = len(parts.calibration), math.ceil(1 / (rate or 0.01) - 1e-9) - 1
    assert n == min(max(math.ceil(0.2 * rows), needed), math.floor(0.4 * rows))
    assert min(len(parts.training), len(parts.validation)) >= 4
    Calibration(np.arange(float(n))).decide(parts.rate)
    if rate is None:
        assert parts.rate == 0.01 or (parts.rate > 0.01 and n < 99 and parts.rate * (n + 1) < 1.11)
    else:
        assert parts.rate == rate


def test_rows_are_shuffled_by_the_seed() -> None:
    first, again, other = (split(500, None, seed, None) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    assert not np.array_equal(first.training, other.training)
    assert not np.array_equal(first.training, np.sort(first.training))


def test_the_newest_rows_calibrate() -> None:
    time = np.random.default_rng(0).permutation(300)
    parts = split(300, 0.05, 0, np.argsort(time))
    assert time[parts.training].max() < time[parts.validation].min()
    assert time[parts.validation].max() < time[parts.calibration].min()


@pytest.mark.parametrize("rows", [0, 1, 19])
def test_too_few_rows_are_an_error_with_the_number_needed(rows: int) -> None:
    with pytest.raises(TableError, match=f"{rows} usable rows are too few .* at least 20 are needed"):
        split(rows, None, 0, None)
    assert len(split(20, None, 0, None).training) >= 8


@given(st.integers(20, 3000), st.floats(0.0002, 0.1))
def test_a_rate_that_is_too_small_is_an_error_with_the_smallest_one(rows: int, rate: float) -> None:
    try:
        split(rows, rate, 0, None)
    except SettingError as error:
        found = re.search(r"takes (\d+) rows\. The smallest rate these rows can promise is ([\d.e-]+)$", str(error))
        assert found is not None
        enough = int(found[1])
        split(enough, rate, 0, None)
        with pytest.raises(SettingError):
            split(enough - 1, rate, 0, None)
        smallest = float(found[2])
        assert split(rows, smallest, 0, None).rate == smallest
        with pytest.raises(SettingError):
            split(rows, smallest / 1.12, 0, None)


@pytest.mark.parametrize("rate", [0.0, 1.0, 2.0, -1.0, math.nan, math.inf])
def test_an_invalid_rate_is_an_error(rate: float) -> None:
    with pytest.raises(SettingError, match="lies between 0 and 1"):
        split(1000, rate, 0, None)


@given(st.integers(1, 10**6))
def test_the_smallest_rate_is_rounded_up(rows: int) -> None:
    rate = smallest_rate(rows)
    assert 1 / (rows + 1) - 1e-12 <= rate <= 1.1 / (rows + 1) + 1e-12
    assert rate == float(f"{rate:.2g}")


def test_a_lenient_split_promises_the_smallest_rate() -> None:
    for rows in (6, 12, 40):
        parts = split(rows, 0.001, 0, None, lenient=True)
        assert parts.rate >= 1 / (len(parts.calibration) + 1)
        assert min(map(len, parts[:3])) >= 2
        assert sorted(np.concatenate(parts[:3])) == list(range(rows))
    assert split(2000, 0.01, 0, None, lenient=True).rate == 0.01
    with pytest.raises(TableError, match="at least 6"):
        split(5, None, 0, None, lenient=True)


@given(rows=st.integers(20, 1999), seed=st.integers(0, 9))
def test_folds_hold_out_each_row_once(rows: int, seed: int) -> None:
    parts = split_into_folds(rows, None, seed)
    assert sorted(np.concatenate(parts.folds).tolist()) == list(range(rows))
    assert parts.training.tolist() == parts.calibration.tolist() == list(range(rows))
    assert len(parts.validation) == 0
    assert parts.rate == max(DEFAULT_RATE, smallest_rate(rows))


def test_all_rows_of_folds_count_for_a_rate() -> None:
    assert split_into_folds(99, 0.01, 0).rate == 0.01
    with pytest.raises(SettingError, match=r"98 rows cannot promise a false-alarm rate of 0\.01: that takes 99 rows"):
        split_into_folds(98, 0.01, 0)
    assert split_into_folds(98, 0.01, 0, lenient=True).rate == smallest_rate(98)
    with pytest.raises(TableError, match="19 usable rows are too few"):
        split_into_folds(19, None, 0)
