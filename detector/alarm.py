"""From the scores of a series to an alarm that begins and ends: smoothing, m of n, hysteresis.

Neighbouring windows share most of their rows, so a verdict for each alone would flicker. Every door steps through this
code, one score of a key after the other; nothing looks ahead.
"""

from __future__ import annotations

import struct
from typing import ClassVar

import msgspec

MAX_N = 64  # windows that m of n may look back on
_STATE = struct.Struct("<dQI?")


class AlarmRule(msgspec.Struct, frozen=True, kw_only=True):
    """When an alarm begins and ends, as the manifest has it.

    The score is smoothed by an exponential mean over a span of `smoothing` windows (1: as it is). An alarm begins when `m`
    of the newest `n` smoothed scores are above the threshold; it ends when `quiet` of them in a row are at or below
    `release` times the threshold.
    """

    smoothing: int = 1
    m: int = 1
    n: int = 1
    release: float = 0.65
    quiet: int = 5

    @property
    def weight(self) -> float:
        """What the newest score counts for in the exponential mean: 2 / (span + 1)."""
        return 2.0 / (self.smoothing + 1)


class AlarmState:
    """Where the alarm of one key stands."""

    __slots__ = ("above", "is_on", "quiet", "score")
    SIZE: ClassVar[int] = _STATE.size

    def __init__(self) -> None:
        """Begin without an alarm."""
        self.score: float | None = None  # smoothed
        self.above = 0  # a bit for each of the newest windows, the newest lowest
        self.quiet = 0  # windows in a row
        self.is_on = False

    def step(self, alarm: AlarmRule, threshold: float, score: float) -> float:
        """Take the next score; gives the smoothed one, and `is_on` says whether there is an alarm now."""
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
        """Forget everything, as when a window begins anew."""
        self.score, self.above, self.quiet, self.is_on = None, 0, 0, False

    def copy(self) -> AlarmState:
        """Give the same, apart."""
        other = AlarmState()
        other.score, other.above, other.quiet, other.is_on = self.score, self.above, self.quiet, self.is_on
        return other

    def to_bytes(self) -> bytes:
        """Give all of it."""
        score = float("nan") if self.score is None else self.score
        return _STATE.pack(score, self.above, min(self.quiet, 2**32 - 1), self.is_on)

    @classmethod
    def from_bytes(cls, kept: bytes) -> AlarmState:
        """Stand as `to_bytes` said."""
        standing = cls()
        score, standing.above, standing.quiet, standing.is_on = _STATE.unpack(kept)
        standing.score = None if score != score else score  # noqa: PLR0124 - NaN
        return standing
