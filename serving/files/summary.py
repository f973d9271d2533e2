"""What is said of a run when it is over."""

from __future__ import annotations

import time

import msgspec
import numpy as np

from detector.rejects import Reject
from detector.windows import JUDGED
from serving.files.judging import Judge, Judged
from serving.files.promise import PromiseCheck, check_promise

FIRST = 5


class ScoringSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures."""

    rows: int  # scored
    unjudged: int  # rows of a series that were taken in without a verdict: they warm a window up, or stand between two
    alarms: int  # of a series: how many began ...
    stretches: int | None  # ... in so many stretches of a window's length; None where rows are judged one by one
    anomalies: int
    rejected: int
    blank: int  # lines that were skipped
    infinite: int  # cells that spelt an infinity, taken as missing
    unused: tuple[str, ...]  # columns of the files that nobody asked for
    seconds: float
    promise: PromiseCheck
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
        if self.rejected and not self.rows and not self.unjudged:
            return "every row was rejected: not the data it was trained for, or written otherwise (such as 1,5 for 1.5)"
        if self.unjudged and not self.rows:
            return "no row was judged: no series has as many rows as a window, or a larger --max-gap at training was needed"
        if not self.promise.is_broken:
            return ""
        if self.stretches is not None:
            usual = f"{self.alarms:,} alarms where normal stretches begin about {self.promise.rate * self.stretches:,.0f}"
            return f"{usual}: anomalies, drift, or not the data it was trained for"
        usual = f"{self.anomalies:,} alarms where normal rows give about {self.promise.rate * self.rows:,.0f}: "
        many = "many anomalies, " if self.alarm_rate > self.promise.rate else ""
        return f"{usual}{many}drift, or not the data it was trained for"


class SummaryBuilder:
    """Counts while a run goes on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.rows = self.unjudged = self.alarms = self.anomalies = self.rejected = self.blank = self.infinite = 0
        self._unused: dict[str, None] = {}
        self._first: list[Reject] = []

    def add(self, judged: Judged) -> None:
        """Count a block."""
        verdicts, block = judged.verdicts, judged.block
        judged_rows = len(verdicts.score) if verdicts.fates is None else int(np.count_nonzero(verdicts.fates == JUDGED))
        self.rows += judged_rows
        self.unjudged += len(verdicts.score) - judged_rows
        self.alarms += verdicts.alarms
        self.anomalies += int(verdicts.is_anomaly.sum())
        self.rejected += len(block.rejects) + len(verdicts.rejects)
        self.blank += block.blank
        self.infinite += verdicts.infinite
        self._unused.update(dict.fromkeys(judged.unused))
        if len(self._first) < FIRST:
            self._first += judged.rejects[: FIRST - len(self._first)]

    def _stretches(self, scorer: Judge) -> int | None:
        """Count the stretches of a window's length that were judged."""
        window = scorer.manifest.window
        return self.rows * window.stride // window.length if window else None

    def _promise(self, scorer: Judge) -> PromiseCheck:
        """Hold the alarms against the promise: of a series those that began, too few of which are nobody's fault."""
        stretches = self._stretches(scorer)
        if stretches is None:
            return check_promise(scorer.calibration_counts, scorer.manifest.decision, self.anomalies, self.rows)
        held = check_promise(scorer.calibration_counts, scorer.manifest.decision, min(self.alarms, stretches), stretches)
        return msgspec.structs.replace(held, is_broken=held.is_broken and self.alarms > held.rate * stretches)

    def summary(self, scorer: Judge) -> ScoringSummary:
        """Sum up."""
        return ScoringSummary(
            rows=self.rows,
            unjudged=self.unjudged,
            alarms=self.alarms,
            anomalies=self.anomalies,
            rejected=self.rejected,
            blank=self.blank,
            infinite=self.infinite,
            unused=tuple(self._unused),
            seconds=time.perf_counter() - self._began,
            stretches=self._stretches(scorer),
            promise=self._promise(scorer),
            first_rejects=tuple(self._first),
        )
