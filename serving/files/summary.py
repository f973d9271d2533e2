"""Summary of a run: its figures, and a warning if something is wrong with it as a whole."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from detector.batch import ImageBatch, TableBatch
from detector.columns import Column
from detector.decision import CalibrationCounts
from detector.manifest import Manifest
from detector.rejects import Reject
from detector.verdicts import Verdicts
from serving.files.drift import ColumnDrift, DriftCounts
from serving.files.promise import PromiseCheck, check_promise
from serving.files.unseen import UnseenColumn, UnseenCounts

MAX_FIRST_REJECTS = 5
DERIVED = ("alarm_rate", "rows_per_second", "warning")  # figures that follow from others


class ScoringSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a run: what is printed, and what `--summary` writes as JSON."""

    model: Annotated[str, Meta(description="the bundle, or the service and the model there")] = ""
    version: Annotated[int | None, Meta(description="the model's version")] = None
    device: Annotated[str, Meta(description="where the graph ran; empty at a service")] = ""
    files: Annotated[tuple[str, ...], Meta(description="the files that were read")] = ()
    written: Annotated[str, Meta(description="the file of verdicts, or - for standard output")] = ""
    rejects: Annotated[str, Meta(description="the file of rejected rows; empty if none was written")] = ""
    heatmaps: Annotated[str, Meta(description="the folder of heat maps")] = ""
    started: Annotated[str, Meta(description="when the run began, ISO 8601 in UTC")] = ""
    seconds: Annotated[float, Meta(description="how long it took")]
    rows: Annotated[int, Meta(description="rows that were scored")]
    not_scored: Annotated[
        int, Meta(description="rows of a series without a score: they warm a window up, or lie between two windows")
    ]
    anomalies: Annotated[int, Meta(description="rows that were flagged")]
    alarms: Annotated[int, Meta(description="of a series: how many alarms began")]
    stretches: Annotated[int | None, Meta(description="of a series: how many stretches of a window's length were scored")]
    promise: Annotated[
        PromiseCheck, Meta(description="the share of alarms among normal rows, and whether this run is far from it")
    ]
    rejected: Annotated[int, Meta(description="rows that could not be read")]
    first_rejects: Annotated[tuple[Reject, ...], Meta(description="the first of them, with the reason")]
    blank: Annotated[int, Meta(description="blank lines, which are skipped")]
    infinite: Annotated[int, Meta(description="cells with an infinity")]
    unused: Annotated[tuple[str, ...], Meta(description="columns of the files that the model does not read")]
    unseen: Annotated[tuple[UnseenColumn, ...], Meta(description="categories that training never saw, by column")] = ()
    drift: Annotated[
        tuple[ColumnDrift, ...], Meta(description="how much each column has changed since training, the largest change first")
    ] = ()

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
    def drifted(self) -> list[ColumnDrift]:
        """The columns that have changed much since training."""
        return [column for column in self.drift if column.has_drifted]

    def record(self) -> dict[str, Any]:
        """Return all figures, also those that follow from others, as JSON has them."""
        return msgspec.structs.asdict(self) | {name: getattr(self, name) for name in DERIVED}

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

    def __init__(self, columns: Sequence[Column] = (), stretch: int = 1) -> None:
        """Start the clock; cells are counted for these columns, of a series in stretches of a window's length."""
        self._started = time.perf_counter()
        self._began = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self._unseen = UnseenCounts(columns)
        self._drift = DriftCounts(columns, stretch)
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
        self._unseen.add(batch, verdicts)
        self._drift.add(verdicts.matrix)
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
            unseen=self._unseen.columns(),
            drift=self._drift.columns(),
            started=self._began,
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
