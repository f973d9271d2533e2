"""Alarms of a series: from scores to an alarm that starts and ends, by smoothing, m of n, and hysteresis.

Neighbouring windows share most of their rows, so one verdict per window would flicker. Every interface steps through the
scores of a key in order with this code; a step never uses later scores.
"""

from __future__ import annotations

import struct
from typing import ClassVar

import msgspec

MAX_N = 64  # windows that m of n may look back on
_STATE = struct.Struct("<dQI?")


class AlarmRule(msgspec.Struct, frozen=True, kw_only=True):
    """When an alarm starts and ends, as stored in the manifest.

    Scores are smoothed by an exponential mean with a span of `smoothing` windows (1: no smoothing). An alarm starts when
    `m` of the newest `n` smoothed scores are above the threshold. It ends after `quiet` consecutive smoothed scores at or
    below `release` times the threshold.
    """

    smoothing: int = 1
    m: int = 1
    n: int = 1
    release: float = 0.65
    quiet: int = 5

    @property
    def weight(self) -> float:
        """The weight of the newest score in the exponential mean: 2 / (span + 1)."""
        return 2.0 / (self.smoothing + 1)


class AlarmState:
    """The alarm state of one key."""

    __slots__ = ("above", "is_on", "quiet", "score")
    SIZE: ClassVar[int] = _STATE.size  # bytes

    def __init__(self) -> None:
        """Start without an alarm."""
        self.score: float | None = None  # smoothed
        self.above = 0  # one bit per window: whether its score was above the threshold; the newest is the lowest bit
        self.quiet = 0  # consecutive quiet windows
        self.is_on = False

    def step(self, alarm: AlarmRule, threshold: float, score: float) -> float:
        """Update the state with the next score and return the smoothed score."""
        smoothed = score if self.score is None else self.score + alarm.weight * (score - self.score)
        self.score = smoothed
        self.above = (self.above << 1 | (smoothed > threshold)) & ((1 << alarm.n) - 1)
        self.quiet = self.quiet + 1 if smoothed <= alarm.release * threshold else 0
        if self.is_on:
            self.is_on = self.quiet < alarm.quiet
        else:
            self.is_on = self.above.bit_count() >= alarm.m
        return smoothed

    def clear(self) -> None:
        """Reset to the initial state, as when a window restarts."""
        self.score, self.above, self.quiet, self.is_on = None, 0, 0, False

    def copy(self) -> AlarmState:
        """Return an independent copy."""
        other = AlarmState()
        other.score, other.above, other.quiet, other.is_on = self.score, self.above, self.quiet, self.is_on
        return other

    def to_bytes(self) -> bytes:
        """Serialise the state to `SIZE` bytes."""
        score = float("nan") if self.score is None else self.score
        return _STATE.pack(score, self.above, min(self.quiet, 2**32 - 1), self.is_on)

    @classmethod
    def from_bytes(cls, content: bytes) -> AlarmState:
        """Return the state that `to_bytes` serialised."""
        state = cls()
        score, state.above, state.quiet, state.is_on = _STATE.unpack(content)
        state.score = None if score != score else score  # noqa: PLR0124 - NaN
        return state
