"""Training, validation and calibration rows: split first, so that a calibration row meets nothing but the finished graph."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detector.decision import check_rate, required_rows, smallest_rate
from detector.errors import SettingError, TableError

DEFAULT_RATE = 0.01
CALIBRATION = 0.2  # share of the rows, more where the promise needs it
MOST_CALIBRATION = 0.4
VALIDATION = 0.2  # share of what is left
LEAST_TRAINING = 8
LEAST_VALIDATION = 4
LEAST_ROWS = 20
FEWEST_ROWS = 6  # for a lenient split: two rows for each purpose


class Split(NamedTuple):
    """Positions of the rows for each purpose, and the false-alarm rate that they can promise."""

    training: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    rate: float


def split(rows: int, rate: float | None, seed: int, order: np.ndarray | None, *, lenient: bool = False) -> Split:
    """Split `rows` rows; in the order given (oldest train, newest calibrate) or, without one, shuffled.

    `rate` is the false-alarm rate that the user named; None asks for the default, lowered to what can be promised. With
    `lenient` the rate that was named is lowered too, and few rows are split as well as may be.

    Raises:
        TableError: there are too few rows to split.
        SettingError: the rate that was named is none, or they are too few for it.
    """
    least = FEWEST_ROWS if lenient else LEAST_ROWS
    if rows < least:
        raise TableError(f"{rows} usable rows are too few to train on: at least {least} are needed")
    if rate is not None:
        check_rate(rate)
    calibration = _calibration_rows(rows, rate, lenient=lenient)
    sequence = np.random.default_rng(seed).permutation(rows) if order is None else order
    rest, calibrating = np.split(sequence, [rows - calibration])
    validation = min(max(LEAST_VALIDATION, round(VALIDATION * len(rest))), len(rest) // 2)
    training, validating = np.split(rest, [len(rest) - validation])
    promised = max(rate or DEFAULT_RATE, smallest_rate(calibration)) if rate is None or lenient else rate
    return Split(training, validating, calibrating, promised)


def _calibration_rows(rows: int, rate: float | None, *, lenient: bool) -> int:
    """Give the number of calibration rows: enough for the promise, within bounds."""
    share = math.ceil(CALIBRATION * rows)
    most = math.floor(MOST_CALIBRATION * rows)
    needed = required_rows(rate or DEFAULT_RATE)
    if rate is not None and needed > most and not lenient:
        raise SettingError(
            f"{rows} rows cannot promise a false-alarm rate of {rate:g}: that takes {math.ceil(needed / MOST_CALIBRATION)} rows. "
            f"The smallest rate these rows can promise is {smallest_rate(most):g}"
        )
    return min(max(share, needed), most)
