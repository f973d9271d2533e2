"""Split rows before anything is learned from them: into training, validation and calibration rows, or into folds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.decision import check_rate, required_rows, smallest_rate
from detector.errors import SettingError, TableError

DEFAULT_RATE = 0.01
CALIBRATION_SHARE = 0.2  # of the rows; more where the promised rate needs it
MAX_CALIBRATION_SHARE = 0.4
VALIDATION_SHARE = 0.2  # of the remaining rows
MIN_VALIDATION = 4
MIN_ROWS = 20
FEW_ROWS = 2000  # fewer are split into folds: what calibration would take from them is worth more than the time of fitting
FOLDS = 10
MIN_ROWS_LENIENT = 6  # two rows for each part


class Split(NamedTuple):
    """Row indices of each part, and the false-alarm rate that the calibration rows can promise."""

    training: np.ndarray  # int64[rows]
    validation: np.ndarray
    calibration: np.ndarray
    rate: float
    folds: tuple[np.ndarray, ...] = ()  # held out in turn, int64[rows] each; then all rows train and all calibrate


def split(rows: int, rate: float | None, seed: int, order: np.ndarray | None, *, lenient: bool = False) -> Split:
    """Split `rows` rows: by `order` (oldest rows train, newest rows calibrate), or shuffled if that is None.

    `rate` is the requested false-alarm rate; None means the default, lowered to what the rows can promise. With
    `lenient`, a requested rate is lowered too, and a split needs fewer rows.

    Raises:
        TableError: too few rows.
        SettingError: the rate is invalid, or the rows are too few to promise it.
    """
    _check(rows, rate, lenient=lenient)
    calibration_rows = _calibration_rows(rows, rate, lenient=lenient)
    sequence = np.random.default_rng(seed).permutation(rows) if order is None else order
    rest, calibration = np.split(sequence, [rows - calibration_rows])
    validation_rows = min(max(MIN_VALIDATION, round(VALIDATION_SHARE * len(rest))), len(rest) // 2)
    training, validation = np.split(rest, [len(rest) - validation_rows])
    return Split(training, validation, calibration, _promised(calibration_rows, rate, lenient=lenient))


def split_into_folds(rows: int, rate: float | None, seed: int, *, lenient: bool = False) -> Split:
    """Split `rows` rows into folds, shuffled: all rows train, and each calibrates by a model that was fitted without it.

    Raises:
        TableError, SettingError: as `split`.
    """
    _check(rows, rate, lenient=lenient)
    if rate is not None and rows < required_rows(rate) and not lenient:
        raise SettingError(
            f"{rows} rows cannot promise a false-alarm rate of {rate:g}: that takes {required_rows(rate):,} rows. "
            f"The smallest rate these rows can promise is {smallest_rate(rows):g}"
        )
    folds = tuple(np.array_split(np.random.default_rng(seed).permutation(rows), FOLDS))
    every, none = np.arange(rows), np.empty(0, dtype=np.int64)
    return Split(every, none, every, _promised(rows, rate, lenient=lenient), folds)


def _check(rows: int, rate: float | None, *, lenient: bool) -> None:
    needed = MIN_ROWS_LENIENT if lenient else MIN_ROWS
    if rows < needed:
        raise TableError(f"{rows} usable rows are too few to train on: at least {needed} are needed")
    if rate is not None:
        check_rate(rate)


def _promised(calibration_rows: int, rate: float | None, *, lenient: bool) -> float:
    """Return the requested or default rate, or the smallest that so many rows can promise."""
    return max(rate or DEFAULT_RATE, smallest_rate(calibration_rows)) if rate is None or lenient else rate


def _calibration_rows(rows: int, rate: float | None, *, lenient: bool) -> int:
    usual = math.ceil(CALIBRATION_SHARE * rows)
    largest = math.floor(MAX_CALIBRATION_SHARE * rows)
    needed = required_rows(rate or DEFAULT_RATE)
    if rate is not None and needed > largest and not lenient:
        raise SettingError(
            f"{rows} rows cannot promise a false-alarm rate of {rate:g}: that takes {math.ceil(needed / MAX_CALIBRATION_SHARE)} "
            f"rows. The smallest rate these rows can promise is {smallest_rate(largest):g}"
        )
    return min(max(usual, needed), largest)
