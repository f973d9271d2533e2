"""What is said of a run when it is over."""

from __future__ import annotations

import time

import msgspec

from detector.rejects import Reject
from serving.files.judging import Judge, Judged
from serving.files.promise import Promise, hold

FIRST = 5


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures."""

    rows: int  # scored
    anomalies: int
    rejected: int
    blank: int  # lines that were skipped
    infinite: int  # cells that spelt an infinity, taken as missing
    unused: tuple[str, ...]  # columns of the files that nobody asked for
    seconds: float
    promise: Promise
    first_rejects: tuple[Reject, ...]

    @property
    def alarm_rate(self) -> float:
        """The share of scored rows that were flagged."""
        return self.anomalies / self.rows if self.rows else 0.0

    @property
    def rows_per_second(self) -> float:
        """The speed."""
        return self.rows / max(self.seconds, 1e-9)

    @property
    def warning(self) -> str:
        """What is wrong with the run as a whole: no row to score, or alarms as normal rows do not give; else nothing."""
        if self.rejected and not self.rows:
            return "every row was rejected: not the data it was trained for, or written otherwise (such as 1,5 for 1.5)"
        if not self.promise.is_broken:
            return ""
        usual = f"{self.anomalies:,} alarms where normal rows give about {self.promise.rate * self.rows:,.0f}: "
        many = "many anomalies, " if self.alarm_rate > self.promise.rate else ""
        return f"{usual}{many}drift, or not the data it was trained for"


class Tally:
    """Counts while a run goes on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.rows = self.anomalies = self.rejected = self.blank = self.infinite = 0
        self._unused: dict[str, None] = {}
        self._first: list[Reject] = []

    def add(self, judged: Judged) -> None:
        """Count a block."""
        verdicts, block = judged.verdicts, judged.block
        self.rows += len(verdicts.score)
        self.anomalies += int(verdicts.is_anomaly.sum())
        self.rejected += len(block.rejects) + len(verdicts.rejects)
        self.blank += block.blank
        self.infinite += verdicts.infinite
        self._unused.update(dict.fromkeys(judged.unused))
        if len(self._first) < FIRST:
            self._first += judged.rejects[: FIRST - len(self._first)]

    def summary(self, scorer: Judge) -> Summary:
        """Sum up."""
        return Summary(
            rows=self.rows,
            anomalies=self.anomalies,
            rejected=self.rejected,
            blank=self.blank,
            infinite=self.infinite,
            unused=tuple(self._unused),
            seconds=time.perf_counter() - self._began,
            promise=hold(scorer.standing, scorer.manifest.decision, self.anomalies, self.rows),
            first_rejects=tuple(self._first),
        )
