"""Comparison of a run's alarms with the promised false-alarm rate, to notice far too many or far too few.

Of n calibration scores let k - 1 exceed the threshold. The false-alarm rate is then Beta(k, n + 1 - k), and the alarms
among m fresh normal rows are beta-binomial (Vovk 2012). The tail is summed term by term: a normal approximation is far
off for the small k of a strict promise.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from detector.decision import CalibrationCounts, Decision

TAIL = 0.0005  # on either side, of a 99.9 % interval
CHUNK = 4096


class PromiseCheck(msgspec.Struct, frozen=True):
    """The expected share of alarms among normal rows, and whether a run's share is far from it."""

    rate: float
    is_broken: bool


def check_promise(calibration: CalibrationCounts, decision: Decision, alarms: int, rows: int) -> PromiseCheck:
    """Compare the alarms of a run with what its threshold promises."""
    a, b = calibration.above + 1, max(calibration.rows - calibration.above, 1)
    is_above_mean = alarms * (a + b) > rows * a
    tail = beta_binomial_tail(alarms, rows, a, b) if is_above_mean else beta_binomial_tail(rows - alarms, rows, b, a)
    return PromiseCheck(decision.false_alarm_rate or a / (a + b), tail < TAIL)


def beta_binomial_tail(count: int, rows: int, a: float, b: float) -> float:
    """Return the beta-binomial probability of `count` or more among `rows`; the sum stops once it exceeds `TAIL`."""
    term = math.exp(_log_probability(count, rows, a, b))
    total = 0.0
    for start in range(count, rows + 1, CHUNK):
        j = np.arange(start, min(start + CHUNK, rows), dtype=float)
        growth = np.cumprod((rows - j) * (a + j) / ((j + 1) * (b + rows - j - 1)))
        total += term * (1.0 + float(growth[: CHUNK - 1].sum()))
        term *= float(growth[-1]) if len(growth) else 0.0
        if total > TAIL or term < total * 1e-9:
            break
    return total


def _log_probability(count: int, rows: int, a: float, b: float) -> float:
    """Return the logarithm of the beta-binomial probability of exactly `count`."""
    binomial = math.lgamma(rows + 1) - math.lgamma(count + 1) - math.lgamma(rows - count + 1)
    return binomial + _log_beta(a + count, b + rows - count) - _log_beta(a, b)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
