"""A shadow version: it scores a sample of the current version's rows, and its verdicts are compared and counted, never returned.

It scores in a thread of its own; while that is busy, further tables are skipped and counted.
"""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from detector.batch import Batch, ImageBatch, MatrixBatch
from detector.scorer import Scorer
from detector.verdicts import Verdicts
from serving.log import error_fields, log
from serving.monitoring.agreement import VersionComparison
from serving.monitoring.metric_table import MetricDefinition
from serving.monitoring.observed import ObservedModel

MAX_QUEUED = 8  # tables

SHADOW = ("model", "version", "shadow")
ROWS = MetricDefinition(
    "counter", "residuum_shadow_rows", "Rows that the shadow scored too, by which version flagged them.", (*SHADOW, "flagged_by")
)
SKIPPED = MetricDefinition("counter", "residuum_shadow_skipped", "Tables that the busy shadow did not score.", SHADOW)
RANK_CORRELATION = MetricDefinition(
    "gauge", "residuum_shadow_rank_correlation", "Spearman's rank correlation of both versions' latest 2,000 scores.", SHADOW
)
ALARM_RATIO = MetricDefinition(
    "gauge", "residuum_shadow_alarm_ratio", "Share of anomalies among the same latest 2,000 rows, by version.", (*SHADOW, "by")
)
DEFINITIONS = (ROWS, SKIPPED, RANK_CORRELATION, ALARM_RATIO)


class ShadowModel:
    """One version in the shadow of another."""

    def __init__(self, name: str, scorer: Scorer, current: Scorer, share: float) -> None:
        """Start the thread; `share` of the batches are scored."""
        self.name = name
        self.version = scorer.manifest.version
        self.scorer = scorer
        self.comparison = VersionComparison()
        self._same_columns = scorer.columns == current.columns
        self._share = share
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_QUEUED)
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def submit(self, batch: Batch, verdicts: Verdicts) -> None:
        """Score a batch too, if it is sampled; an encoded one only if both versions encode alike."""
        if isinstance(batch, MatrixBatch | ImageBatch) and not self._same_columns:
            return
        if self._share <= random.random():  # noqa: S311 - a sample, no secret
            return
        try:
            self._queue.put_nowait(lambda: self._compare(batch, verdicts))
        except queue.Full:
            self.comparison.skip()

    def close(self) -> None:
        """End the thread."""
        self._share = 0.0
        self._queue.put(None)

    def _compare(self, batch: Batch, verdicts: Verdicts) -> None:
        self.comparison.add(verdicts, self.scorer.session().score(batch, explain="none", top=0))

    def _run(self) -> None:
        while compare := self._queue.get():
            try:
                compare()
            except Exception as error:  # noqa: BLE001 - a failing shadow must not affect the current version
                self.comparison.skip()
                log().error("shadow failed", model=self.name, version=self.version, **error_fields(error))


def missing_columns(shadow: Scorer, current: Scorer) -> list[str]:
    """Return the columns that a shadow needs and the current version's requests do not hold, with their kinds."""
    return [f"{name!r} ({kind})" for name, kind in sorted(_required(shadow) - _required(current))]


def _required(scorer: Scorer) -> set[tuple[str, str]]:
    window = scorer.manifest.window
    series = {(name, "of a series") for name in window.columns} if window else set()
    return {(column.name, column.kind) for column in scorer.columns} | series


class ShadowMetricsCollector(Collector):
    """Reads the metrics of all shadows at each scrape."""

    def __init__(self, shadowed: Callable[[], Sequence[tuple[ObservedModel, ShadowModel]]]) -> None:
        """Start with what lists each current version that has a shadow, and the shadow."""
        self._shadowed = shadowed

    def describe(self) -> list[Metric]:
        """Return nothing: no metric is reserved beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of every shadow."""
        rows, skipped, correlation, ratio = (definition.family() for definition in DEFINITIONS)
        for model, shadow in self._shadowed():
            agreement, labels = shadow.comparison.agreement(), [model.name, str(model.version), str(shadow.version)]
            for flagged_by in ("both", "neither", "current_alone", "shadow_alone"):
                rows.add_metric([*labels, flagged_by], getattr(agreement, flagged_by))
            skipped.add_metric(labels, shadow.comparison.skipped)
            correlation.add_metric(labels, _or_nan(agreement.rank_correlation))
            ratio.add_metric([*labels, "current"], _or_nan(agreement.current_alarm_ratio))
            ratio.add_metric([*labels, "shadow"], _or_nan(agreement.shadow_alarm_ratio))
        yield from (rows, skipped, correlation, ratio)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
