"""A version that judges a share of what the current one judges, and answers nobody: what it would say is compared and counted.

It works in a thread of its own, behind the answers; what comes while it is busy is skipped and counted.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from detector.batch import RecordBatch
from detector.columns import Encoded
from serving.log import error_fields, log
from serving.model import Judged, Model
from serving.monitoring.agreement import VersionComparison

WAITING = 8  # tables

Work = Callable[[], None]


class ShadowModel:
    """One version in the shadow of another."""

    def __init__(self, model: Model, current: Model, share: float) -> None:
        self.model = model
        self.comparison = VersionComparison()
        self._same_columns = model.scorer.columns == current.scorer.columns
        self._share = share
        self._work: queue.Queue[Work | None] = queue.Queue(WAITING)
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def submit_rows(self, lines: RecordBatch, judged: Judged) -> None:
        """Judge decoded rows as well, if their turn has come."""
        values = {name: lines.values[name] for name in self.model.columns}
        self._put(lambda: self.model.judge(lines._replace(values=values), 0), judged)

    def submit_frame(self, frame: pl.DataFrame, numbers: Sequence[int] | np.ndarray, judged: Judged) -> None:
        """Judge a table as well, if its turn has come."""
        self._put(lambda: self.model.judge_frame(frame, numbers, 0), judged)

    def submit_matrix(self, encoded: Encoded, judged: Judged) -> None:
        """Judge rows that are encoded already as well, if their turn has come and the codes mean the same to both."""
        if self._same_columns:
            self._put(lambda: self.model.judge_matrix(encoded), judged)

    def close(self) -> None:
        """Judge no more."""
        self._share = 0.0
        self._work.put(None)

    def _put(self, judge: Callable[[], Judged], judged: Judged) -> None:
        """Leave work to the thread."""
        if self._share <= random.random():  # noqa: S311 - a sample, no secret
            return
        try:
            self._work.put_nowait(lambda: self.comparison.add(judged, judge()))
        except queue.Full:
            self.comparison.skip()

    def _run(self) -> None:
        """Judge what comes."""
        while work := self._work.get():
            try:
                work()
            except Exception as error:  # noqa: BLE001 - a shadow disturbs nobody
                self.comparison.skip()
                log().error("shadow", model=self.model.name, version=self.model.version, **error_fields(error))


def can_shadow(shadow: Model, current: Model) -> bool:
    """Tell whether what the current version reads of a request is all that the other needs."""
    return _read(shadow) <= _read(current)


def _read(model: Model) -> set[tuple[str, str]]:
    window = model.scorer.manifest.window
    series = {(name, "of a series") for name in window.columns} if window else set()
    return {(column.name, column.kind) for column in model.scorer.columns} | series


class ShadowMetricsCollector(Collector):
    """What the shadows say, read when it is asked for."""

    def __init__(self, shadowed: Callable[[], Sequence[tuple[Model, ShadowModel]]]) -> None:
        self._shadowed = shadowed

    def describe(self) -> list[Metric]:
        """Name nothing beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read every shadow's counts."""
        of = ("model", "version", "shadow")
        rows = CounterMetricFamily(
            "residuum_shadow_rows", "Rows that a shadow judged too, by who flagged them.", labels=(*of, "flagged_by")
        )
        skipped = CounterMetricFamily("residuum_shadow_skipped", "Tables that a shadow did not judge, being busy.", labels=of)
        correlation = GaugeMetricFamily(
            "residuum_shadow_rank_correlation", "Spearman's, of both versions' latest scores, about 2,000.", labels=of
        )
        ratio = GaugeMetricFamily(
            "residuum_shadow_alarm_ratio", "Share of alarms among the same latest rows, about 2,000.", labels=(*of, "by")
        )
        for model, shadow in self._shadowed():
            found, who = shadow.comparison.agreement(), [model.name, str(model.version), str(shadow.model.version)]
            for name in ("both", "neither", "current_alone", "shadow_alone"):
                rows.add_metric([*who, name], getattr(found, name))
            skipped.add_metric(who, shadow.comparison.skipped)
            correlation.add_metric(who, _known(found.rank_correlation))
            ratio.add_metric([*who, "current"], _known(found.current_alarm_ratio))
            ratio.add_metric([*who, "shadow"], _known(found.shadow_alarm_ratio))
        yield from (rows, skipped, correlation, ratio)


def _known(value: float | None) -> float:
    return np.nan if value is None else value
