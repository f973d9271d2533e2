"""What is said of a run when it is over."""

from __future__ import annotations

import time

import msgspec

from detector.batch import ImageBatch, TableBatch
from detector.decision import CalibrationCounts
from detector.manifest import Manifest
from detector.rejects import Reject
from detector.verdicts import Verdicts
from serving.files.promise import PromiseCheck, check_promise

FIRST = 5


class ScoringSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures."""

    rows: int  # scored
    not_scored: int  # rows of a series without a score: they warm a window up, or lie between two windows
    alarms: int  # of a series: how many began ...
    stretches: int | None  # ... in so many stretches of a window's length; None where rows are scored one by one
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
        if self.rejected and not self.rows and not self.not_scored:
            return "every row was rejected: not the data it was trained for, or written otherwise (such as 1,5 for 1.5)"
        if self.not_scored and not self.rows:
            return "no row was scored: no series has as many rows as a window, or training needed a larger --max-gap"
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
        self._started = time.perf_counter()
        self._rows = self._not_scored = self._alarms = self._anomalies = self._rejected = self._blank = self._infinite = 0
        self._unused: dict[str, None] = {}
        self._first_rejects: list[Reject] = []

    def add(self, batch: TableBatch | ImageBatch, verdicts: Verdicts) -> None:
        """Count a batch."""
        not_scored = verdicts.not_scored or 0
        self._rows += len(verdicts.score) - not_scored
        self._not_scored += not_scored
        self._alarms += verdicts.alarms
        self._anomalies += int(verdicts.is_anomaly.sum())
        self._rejected += len(verdicts.rejects)
        self._blank += batch.blank
        self._infinite += verdicts.infinite
        self._unused.update(dict.fromkeys(batch.unknown_columns))
        if len(self._first_rejects) < FIRST:
            rejects = sorted(verdicts.rejects, key=lambda reject: reject.row)
            self._first_rejects += rejects[: FIRST - len(self._first_rejects)]

    def summary(self, manifest: Manifest, calibration: CalibrationCounts) -> ScoringSummary:
        """Return the figures."""
        window = manifest.window
        stretches = self._rows * window.stride // window.length if window else None
        return ScoringSummary(
            rows=self._rows,
            not_scored=self._not_scored,
            alarms=self._alarms,
            anomalies=self._anomalies,
            rejected=self._rejected,
            blank=self._blank,
            infinite=self._infinite,
            unused=tuple(self._unused),
            seconds=time.perf_counter() - self._started,
            stretches=stretches,
            promise=self._promise(manifest, calibration, stretches),
            first_rejects=tuple(self._first_rejects),
        )

    def _promise(self, manifest: Manifest, calibration: CalibrationCounts, stretches: int | None) -> PromiseCheck:
        """Compare the alarms with the promise; of series those that began, of which there cannot be too few."""
        if stretches is None:
            return check_promise(calibration, manifest.decision, self._anomalies, self._rows)
        check = check_promise(calibration, manifest.decision, min(self._alarms, stretches), stretches)
        return msgspec.structs.replace(check, is_broken=check.is_broken and self._alarms > check.rate * stretches)
