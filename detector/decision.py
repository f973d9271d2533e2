"""From a score to a verdict: p-values and the threshold that keeps a promised false-alarm rate.

Split conformal prediction (Vovk et al. 2005; Laxhammar & Falkman 2015; Bates et al. 2023): with n scores of normal rows
that training never saw, p = (1 + #{calibration scores >= s}) / (n + 1) is at most a with probability at most a for a
fresh normal row, whatever the scores' distribution. Thresholds that need labels: `training.calibrate`.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from detector.errors import SettingError

# The same row scored alone, in a batch, or on another machine moves by less than this, relative to max(1, |score|).
TOLERANCE = 1e-5

Promise = Literal["false_alarm_rate", "labels", "value"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How a score becomes a verdict: `is_anomaly` is `score > threshold`.

    `promise` says what stands behind the threshold: a false-alarm rate (then `is_anomaly` is also
    `p_value <= false_alarm_rate`), labelled rows (`criterion` names what was optimised; p-values do not decide), or a
    value that somebody chose.
    """

    threshold: float
    promise: Promise
    criterion: str
    false_alarm_rate: float | None = None

    def is_anomaly(self, scores: np.ndarray) -> np.ndarray:
        """Tell for each score whether it is an anomaly: `bool[rows]`."""
        return scores > self.threshold


class CalibrationCounts(NamedTuple):
    """Where a threshold stands among the calibration scores: of so many rows, so many are above it."""

    rows: int
    above: int


class Calibration:
    """The scores of normal rows that training never saw, and what can be promised from them."""

    def __init__(self, scores: np.ndarray) -> None:
        """Take `float64[rows]` scores, in any order."""
        self.scores = np.sort(np.asarray(scores, dtype=np.float64))
        # A calibration score counts as >= s up to its edge, so that a row's own noise never moves its p-value.
        self._edges = self.scores + TOLERANCE * np.maximum(1.0, np.abs(self.scores))
        as_high = np.arange(len(self.scores), -1, -1)
        self._p_values: np.ndarray = (1 + as_high) / (len(self.scores) + 1)  # by how many edges are lower

    def __len__(self) -> int:
        """Count the calibration rows."""
        return len(self.scores)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Give the share of normal rows that score as high, `float64[rows]`, never 0."""
        return self._p_values[self._edges.searchsorted(scores)]

    @property
    def smallest_rate(self) -> float:
        """The smallest false-alarm rate that so many rows can promise."""
        return 1 / (len(self) + 1)

    def alarms_allowed(self, rate: float) -> int:
        """Give floor((n + 1) rate), of which the promise allows one less among the calibration rows."""
        return int(np.floor((len(self) + 1) * rate + 1e-9))

    def decide(self, rate: float, of: str = "rows") -> Decision:
        """Give the split-conformal decision for a false-alarm rate `of` rows, or of what else the scores are.

        Raises:
            SettingError: the rate is no rate, or smaller than these rows can promise.
        """
        check_rate(rate)
        allowed = self.alarms_allowed(rate)
        if allowed < 1:
            raise SettingError(
                f"{len(self)} calibration {of} cannot promise a false-alarm rate of {rate:g}: "
                f"the smallest they can promise is {smallest_rate(len(self)):g}"
            )
        threshold = float(self._edges[max(0, len(self) - allowed)])
        return Decision(threshold=threshold, promise="false_alarm_rate", criterion="split conformal", false_alarm_rate=rate)

    def decide_stretches(self, rate: float, length: int) -> Decision:
        """Give the decision for a series, where each calibration score is the highest of a stretch of `length` rows.

        Neighbouring rows of a series are not exchangeable, but long stretches nearly are: a fresh one exceeds the threshold
        with a probability of at most `rate` if it is like those that calibrated. A few stretches next to each other are more
        alike than those to come, so the threshold stands higher than that by 1 / sqrt(stretches), which a long calibration
        makes small; p-values know nothing of this margin.

        Raises:
            SettingError: as `decide`.
        """
        plain = self.decide(rate, "stretches")
        margin = 1.0 + 1.0 / math.sqrt(len(self))
        criterion = f"highest scores of {len(self)} stretches of {length} rows, and a margin of {margin - 1:.0%}"
        return msgspec.structs.replace(plain, threshold=plain.threshold * margin, criterion=criterion)

    def counts(self, threshold: float) -> CalibrationCounts:
        """Give how many calibration rows there are, and how many above a threshold."""
        return CalibrationCounts(len(self), int(np.count_nonzero(self.scores > threshold)))

    def alarm_rate(self, threshold: float) -> float:
        """Give the share of the calibration rows above a threshold."""
        return float(np.mean(self.scores > threshold))


def check_rate(rate: float) -> None:
    """Refuse what is no false-alarm rate.

    Raises:
        SettingError: the rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise SettingError(f"a false-alarm rate lies between 0 and 1, such as 0.01 for 1 %; got {rate:g}")


def smallest_rate(rows: int) -> float:
    """Give the smallest rate that so many calibration rows can promise, rounded up to two digits for people."""
    exact = 1 / (rows + 1)
    step = 10.0 ** (math.floor(math.log10(exact)) - 1)
    return float(f"{math.ceil(exact / step - 1e-9) * step:.2g}")


def required_rows(rate: float) -> int:
    """Give the least number of calibration rows that can promise a false-alarm rate."""
    return int(np.ceil(1 / rate - 1e-9)) - 1
