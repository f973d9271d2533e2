"""Metrics of the worker; those of its model are the same as in the service."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from serving.model import ServedModel
from serving.monitoring.log_metrics import LogMetricsCollector
from serving.monitoring.metric_table import MetricDefinition
from serving.monitoring.model_metrics import ModelMetricsCollector
from serving.stream.base import ScoredRecords

ROWS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
STAGE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds
AGE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)  # seconds

METRICS = {
    "records": MetricDefinition(
        "counter", "residuum_stream_records", "Records, by outcome: scored, dead_letter, or skipped (tombstones).", ("outcome",)
    ),
    "dead_letters": MetricDefinition("counter", "residuum_stream_dead_letters", "Records that could not be scored.", ("reason",)),
    "batches": MetricDefinition(
        "counter", "residuum_stream_transactions", "Batches, by whether they were delivered.", ("result",)
    ),
    "rebalances": MetricDefinition("counter", "residuum_stream_rebalances", "Changes of the assigned partitions.", ("event",)),
    "skipped": MetricDefinition(
        "counter",
        "residuum_stream_skipped_records",
        "Offsets passed over without being read: expired, compacted, or skipped by a reset; the log names their ranges.",
        ("topic", "partition", "cause"),
    ),
    "fenced": MetricDefinition("counter", "residuum_stream_fenced", "Times that another worker fenced this one by using its ID."),
    "connections": MetricDefinition("counter", "residuum_stream_connections", "Times that source and sink were opened."),
    "loads": MetricDefinition("counter", "residuum_model_loads", "Attempts to load a bundle.", ("outcome",)),
    "evictions": MetricDefinition("counter", "residuum_stream_series_evictions", "Series evicted from memory."),
    "lost_bytes": MetricDefinition(
        "counter", "residuum_stream_lost_bytes", "Bytes of a file that could not be read; the log names them.", ("file",)
    ),
    "lost_ranges": MetricDefinition(
        "counter",
        "residuum_stream_lost_ranges",
        "Ranges of a file that could not be read; the end of some is unknown.",
        ("file",),
    ),
    "restored": MetricDefinition("counter", "residuum_stream_restored_records", "Records read to restore windows of series."),
    "restore_seconds": MetricDefinition(
        "counter", "residuum_stream_restore_seconds", "Seconds spent restoring windows of series."
    ),
    "lag": MetricDefinition("gauge", "residuum_stream_lag", "Records that wait.", ("topic", "partition")),
    "assigned": MetricDefinition("gauge", "residuum_stream_assigned_partitions", "Partitions assigned to this worker."),
    "paused": MetricDefinition("gauge", "residuum_stream_paused_partitions", "Assigned partitions that are paused."),
    "last_commit": MetricDefinition(
        "gauge", "residuum_stream_last_commit_timestamp_seconds", "Time of the last delivered batch."
    ),
    "series_keys": MetricDefinition("gauge", "residuum_stream_series_keys", "Series in memory."),
    "series_bytes": MetricDefinition("gauge", "residuum_stream_series_bytes", "Approximate memory of their windows."),
    "rows": MetricDefinition("histogram", "residuum_stream_batch_rows", "Records per batch.", (), ROWS),
    "stages": MetricDefinition("histogram", "residuum_stream_stage_seconds", "Duration of a batch, by stage.", ("stage",), STAGE),
    "age": MetricDefinition(
        "histogram",
        "residuum_stream_record_age_seconds",
        "Time from the creation of a record until its verdict is visible, of the first record of each batch.",
        (),
        AGE,
    ),
}


class StreamMetrics:
    """All metrics of a worker; implements `SourceObserver`, `FileObserver` and `StateObserver`."""

    def __init__(self, models: Callable[[], Sequence[ServedModel]]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(LogMetricsCollector())
        registry.register(ModelMetricsCollector(models))
        definitions = METRICS.items()
        self._counters = {key: metric.counter(registry) for key, metric in definitions if metric.kind == "counter"}
        self._gauges = {key: metric.gauge(registry) for key, metric in definitions if metric.kind == "gauge"}
        self._histograms = {key: metric.histogram(registry) for key, metric in definitions if metric.kind == "histogram"}
        for result in ("committed", "aborted"):
            self._counters["batches"].labels(result)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of a batch: `take`, `score` or `deliver`."""
        began = time.perf_counter()
        yield
        self._histograms["stages"].labels(name).observe(time.perf_counter() - began)

    def delivered(self, scored: ScoredRecords) -> None:
        """Count a batch whose verdicts are visible."""
        self._counters["batches"].labels("committed").inc()
        self._histograms["rows"].observe(len(scored.batch))
        self._counters["records"].labels("scored").inc(len(scored.verdicts))
        self._counters["records"].labels("dead_letter").inc(len(scored.dead_letters))
        self._counters["records"].labels("skipped").inc(scored.skipped)
        for dead_letter in scored.dead_letters:
            self._counters["dead_letters"].labels(dead_letter.reason).inc()
        now = time.time()
        self._gauges["last_commit"].set(now)
        (created,) = scored.batch.timestamps([0])
        if created:
            self._histograms["age"].observe(max(0.0, now - created / 1000))

    def aborted(self) -> None:
        """Count a batch that was not delivered."""
        self._counters["batches"].labels("aborted").inc()

    def fenced(self) -> None:
        """Count a fencing."""
        self._counters["fenced"].inc()

    def connected(self) -> None:
        """Count an opening of source and sink."""
        self._counters["connections"].inc()

    def set_series(self, keys: int, size: int) -> None:
        """Set the number of series in memory, and the approximate number of bytes that they take."""
        self._gauges["series_keys"].set(keys)
        self._gauges["series_bytes"].set(size)

    def evicted(self, keys: int) -> None:
        """Count evicted series."""
        self._counters["evictions"].inc(keys)

    def lost(self, file: str, size: int) -> None:
        """Count a range of a file that could not be read, and its bytes if they are known."""
        self._counters["lost_ranges"].labels(file).inc()
        self._counters["lost_bytes"].labels(file).inc(size)

    def restored(self, records: int, seconds: float) -> None:
        """Count the records, and the seconds, that restoring partitions took."""
        self._counters["restored"].inc(records)
        self._counters["restore_seconds"].inc(seconds)

    def loaded(self, outcome: str) -> None:
        """Count an attempt to load a bundle: `opened` or `refused`."""
        self._counters["loads"].labels(outcome).inc()

    def rebalanced(self, event: str) -> None:
        """Count a rebalance: `assigned`, `revoked` or `lost`."""
        self._counters["rebalances"].labels(event).inc()

    def skipped(self, topic: str, partition: int, cause: str, records: int) -> None:
        """Count records that are passed over without being read: `expired`, `compacted`, or skipped by a `reset`."""
        self._counters["skipped"].labels(topic, str(partition), cause).inc(records)

    def set_assigned(self, partitions: int, paused: int) -> None:
        """Set how many partitions are assigned, and how many of them are paused."""
        self._gauges["assigned"].set(partitions)
        self._gauges["paused"].set(paused)

    def set_lag(self, lag: Mapping[tuple[str, int], int]) -> None:
        """Set how many records wait, by topic and partition; partitions that are missing are no longer assigned."""
        self._gauges["lag"].clear()
        for (topic, partition), records in lag.items():
            self._gauges["lag"].labels(topic, str(partition)).set(records)
