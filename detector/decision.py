"""From a score to a verdict: p-values, and the threshold that keeps a promised false-alarm rate.

Split conformal prediction (Vovk et al. 2005; Laxhammar & Falkman 2015; Bates et al. 2023): with n scores of normal rows
that training never saw, p = (1 + #{calibration scores >= s}) / (n + 1) is at most a with probability at most a for a
fresh normal row, whatever the distribution of the scores. Thresholds from labelled rows: `training.calibrate`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from detector.errors import SettingError

# The score of a row differs by less than this, relative to max(1, |score|), between batches and between machines.
TOLERANCE = 1e-5

Promise = Literal["false_alarm_rate", "empirical", "labels", "value"]
PROMISE_OF_SPLIT: tuple[Promise, str] = ("false_alarm_rate", "split conformal")
PROMISE_OF_FOLDS: tuple[Promise, str] = ("empirical", "scores out of fold")
RATE_PROMISES: tuple[Promise, ...] = ("false_alarm_rate", "empirical")


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How a score becomes a verdict: `is_anomaly` is `score > threshold`.

    `promise` is what the threshold is based on: a false-alarm rate, kept by scores of rows that no training saw, or
    `empirical`, by scores of rows that were held out in turn (then `is_anomaly` is also `p_value <= false_alarm_rate`);
    labelled rows (`criterion` names what was optimised; p-values do not decide), or a value that the user chose.
    """

    threshold: float
    promise: Promise
    criterion: str
    false_alarm_rate: float | None = None

    @property
    def by_p_value(self) -> bool:
        """Whether a row is an anomaly if and only if its p-value is at most the false-alarm rate."""
        return self.promise in RATE_PROMISES

    def is_anomaly(self, scores: np.ndarray) -> np.ndarray:
        """Return whether each score is an anomaly: `bool[rows]`."""
        return scores > self.threshold


class CalibrationCounts(NamedTuple):
    """The number of calibration rows, and how many of them score above a threshold."""

    rows: int
    above: int


class Calibration:
    """The scores of normal rows that training never saw, and the promises they allow."""

    def __init__(self, scores: np.ndarray, *, out_of_fold: bool = False) -> None:
        """Store the scores, `float64[rows]`, in any order.

        They are `out_of_fold` if each is by a model that was fitted without the row, and another model, fitted to all rows,
        scores fresh ones.
        """
        self.out_of_fold = out_of_fold
        self.scores = np.sort(np.asarray(scores, dtype=np.float64))
        # A calibration score counts as >= s up to its edge, so that numerical noise never changes a p-value.
        self._edges = self.scores + TOLERANCE * np.maximum(1.0, np.abs(self.scores))
        at_least = np.arange(len(self.scores), -1, -1)
        self._p_values: np.ndarray = (1 + at_least) / (len(self.scores) + 1)  # indexed by the number of lower edges

    def __len__(self) -> int:
        """Return the number of calibration rows."""
        return len(self.scores)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Return the conformal p-value of each score, `float64[rows]`; never 0."""
        return self._p_values[self._edges.searchsorted(scores)]

    @property
    def smallest_rate(self) -> float:
        """The smallest false-alarm rate that this many rows can promise."""
        return 1 / (len(self) + 1)

    def alarms_allowed(self, rate: float) -> int:
        """Return floor((n + 1) rate); the promise allows one fewer among the calibration rows."""
        return int(np.floor((len(self) + 1) * rate + 1e-9))

    def decide(self, rate: float, noun: str = "rows") -> Decision:
        """Return the decision for a false-alarm rate; `noun` is what the scores belong to, for messages.

        It is split conformal, which holds for any number of rows, unless the scores are out of fold; then it holds
        empirically.

        Raises:
            SettingError: the rate is not between 0 and 1, or smaller than these rows can promise.
        """
        check_rate(rate)
        allowed = self.alarms_allowed(rate)
        if allowed < 1:
            raise SettingError(
                f"{len(self)} calibration {noun} cannot promise a false-alarm rate of {rate:g}: "
                f"the smallest they can promise is {smallest_rate(len(self)):g}"
            )
        threshold = float(self._edges[max(0, len(self) - allowed)])
        promise, criterion = PROMISE_OF_FOLDS if self.out_of_fold else PROMISE_OF_SPLIT
        return Decision(threshold=threshold, promise=promise, criterion=criterion, false_alarm_rate=rate)

    def decide_stretches(self, rate: float, length: int) -> Decision:
        """Return the decision for a series, whose calibration scores are the maxima of stretches of `length` rows.

        Neighbouring rows of a series are not exchangeable, but long stretches nearly are: a fresh stretch exceeds the
        threshold with a probability of at most `rate` if it is like the calibration stretches. Neighbouring stretches are
        more alike than future ones, so the threshold is raised by a factor of 1 + 1 / sqrt(stretches), which a long
        calibration makes small; p-values ignore this margin.

        Raises:
            SettingError: as in `decide`.
        """
        plain = self.decide(rate, "stretches")
        margin = 1.0 + 1.0 / math.sqrt(len(self))
        criterion = f"highest scores of {len(self)} stretches of {length} rows, and a margin of {margin - 1:.0%}"
        return msgspec.structs.replace(plain, threshold=plain.threshold * margin, criterion=criterion)

    def counts(self, threshold: float) -> CalibrationCounts:
        """Return the number of calibration rows, and how many of them score above a threshold."""
        return CalibrationCounts(len(self), int(np.count_nonzero(self.scores > threshold)))

    def alarm_rate(self, threshold: float) -> float:
        """Return the share of the calibration rows that score above a threshold."""
        return float(np.mean(self.scores > threshold))


def check_rate(rate: float) -> None:
    """Raise unless 0 < rate < 1.

    Raises:
        SettingError: it is not.
    """
    if not 0 < rate < 1:
        raise SettingError(f"a false-alarm rate lies between 0 and 1, such as 0.01 for 1 %; got {rate:g}")


def smallest_rate(rows: int) -> float:
    """Return the smallest rate that `rows` calibration rows can promise, rounded up to two significant digits."""
    exact = 1 / (rows + 1)
    step = 10.0 ** (math.floor(math.log10(exact)) - 1)
    return float(f"{math.ceil(exact / step - 1e-9) * step:.2g}")


def required_rows(rate: float) -> int:
    """Return the smallest number of calibration rows that can promise a false-alarm rate."""
    return int(np.ceil(1 / rate - 1e-9)) - 1
