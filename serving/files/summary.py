"""Summary of a run: its figures, and a warning if something is wrong with it as a whole."""

from __future__ import annotations

import time

import msgspec

from detector.batch import ImageBatch, TableBatch
from detector.decision import CalibrationCounts
from detector.manifest import Manifest
from detector.rejects import Reject
from detector.verdicts import Verdicts
from serving.files.promise import PromiseCheck, check_promise

MAX_FIRST_REJECTS = 5


class ScoringSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a run."""

    rows: int  # scored
    not_scored: int  # rows of a series without a score: they warm a window up, or lie between two windows
    alarms: int  # of a series: how many began
    stretches: int | None  # of a series: how many stretches of a window's length were scored
    anomalies: int
    rejected: int
    blank: int  # skipped lines
    infinite: int  # cells with an infinity, read as missing
    unused: tuple[str, ...]  # columns of the files that were not read
    seconds: float
    promise: PromiseCheck
    first_rejects: tuple[Reject, ...]

    @property
    def alarm_rate(self) -> float:
        """The share of scored rows that were flagged."""
        return self.anomalies / self.rows if self.rows else 0.0

    @property
    def is_empty(self) -> bool:
        """Whether no row was scored, though there were some: such a run is no success."""
        return not self.rows and bool(self.rejected or self.not_scored)

    @property
    def rows_per_second(self) -> float:
        """Rows scored per second."""
        return self.rows / max(self.seconds, 1e-9)

    @property
    def warning(self) -> str:
        """What is wrong with the run: no row was scored, or the alarms break the promise; "" if nothing is."""
        if self.rejected and not self.rows and not self.not_scored:
            return "every row was rejected: these are not rows like the training rows, or are written differently (1,5 for 1.5)"
        if self.not_scored and not self.rows:
            return "no row was scored: no series has as many rows as a window, or training needed a larger --max-gap"
        if not self.promise.is_broken:
            return ""
        if self.stretches is not None:
            expected = f"{self.alarms:,} alarms; normal stretches have about {self.promise.rate * self.stretches:,.0f}"
            return f"{expected}: anomalies, drift, or not rows like the training rows"
        expected = f"{self.anomalies:,} alarms; normal rows have about {self.promise.rate * self.rows:,.0f}: "
        many = "many anomalies, " if self.alarm_rate > self.promise.rate else ""
        return f"{expected}{many}drift, or not rows like the training rows"


class SummaryBuilder:
    """Adds up the figures of a run, batch by batch."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._rows = self._not_scored = self._alarms = self._anomalies = self._rejected = self._blank = self._infinite = 0
        self._unused: dict[str, None] = {}
        self._first_rejects: list[Reject] = []

    def add(self, batch: TableBatch | ImageBatch, verdicts: Verdicts) -> None:
        """Add a batch."""
        not_scored = verdicts.not_scored or 0
        self._rows += len(verdicts.score) - not_scored
        self._not_scored += not_scored
        self._alarms += verdicts.alarms
        self._anomalies += int(verdicts.is_anomaly.sum())
        self._rejected += len(verdicts.rejects)
        self._blank += batch.blank
        self._infinite += verdicts.infinite
        self._unused.update(dict.fromkeys(batch.differences.unknown))
        if len(self._first_rejects) < MAX_FIRST_REJECTS:
            rejects = sorted(verdicts.rejects, key=lambda reject: reject.row)
            self._first_rejects += rejects[: MAX_FIRST_REJECTS - len(self._first_rejects)]

    def summary(self, manifest: Manifest, calibration: CalibrationCounts) -> ScoringSummary:
        """Return the figures so far."""
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
        """Compare the alarms with the promise; of a series, the alarms that began, and never too few of them."""
        if stretches is None:
            return check_promise(calibration, manifest.decision, self._anomalies, self._rows)
        check = check_promise(calibration, manifest.decision, min(self._alarms, stretches), stretches)
        return msgspec.structs.replace(check, is_broken=check.is_broken and self._alarms > check.rate * stretches)
