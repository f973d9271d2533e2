"""Metrics of the worker; what the models say is counted as by every other door."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from serving.model import Model
from serving.monitoring.model_metrics import ModelMetricsCollector
from serving.stream.base import Outcome

ROWS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000)
STAGE = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # seconds
AGE = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)  # seconds


class Metrics:
    """Everything that is counted in this process."""

    def __init__(self, models: Callable[[], Sequence[Model]]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(ModelMetricsCollector(models))
        self._records = Counter("residuum_stream_records", "Records that are done with.", ("outcome",), registry=registry)
        self._letters = Counter(
            "residuum_stream_dead_letters", "Records that could not be judged.", ("reason",), registry=registry
        )
        self._rows = Histogram("residuum_stream_batch_rows", "Records of a batch.", buckets=ROWS, registry=registry)
        self._stages = Histogram(
            "residuum_stream_stage_seconds", "Time of a batch by stage.", ("stage",), buckets=STAGE, registry=registry
        )
        self._age = Histogram(
            "residuum_stream_record_age_seconds",
            "Time from a record's making until its verdict is to be seen, of the oldest of each batch.",
            buckets=AGE,
            registry=registry,
        )
        self._batches = Counter(
            "residuum_stream_transactions", "Batches that were delivered, or not.", ("result",), registry=registry
        )
        self._rebalances = Counter("residuum_stream_rebalances", "Partitions came or went.", ("event",), registry=registry)
        self._fenced = Counter("residuum_stream_fenced", "Times that another worker took this one's name.", registry=registry)
        self._opened = Counter("residuum_stream_connections", "Times that source and sink were opened.", registry=registry)
        self._lag = Gauge("residuum_stream_lag", "Records that wait.", ("topic", "partition"), registry=registry)
        self._held = Gauge("residuum_stream_assigned_partitions", "Partitions that are ours.", registry=registry)
        self._paused = Gauge("residuum_stream_paused_partitions", "Partitions that rest.", registry=registry)
        self._last = Gauge("residuum_stream_last_commit_timestamp_seconds", "When a batch was last delivered.", registry=registry)
        self._loads = Counter("residuum_model_loads", "Bundles that were opened, or not.", ("outcome",), registry=registry)
        self._keys = Gauge("residuum_stream_series_keys", "Series that are remembered.", registry=registry)
        self._size = Gauge("residuum_stream_series_bytes", "Memory that their windows take, about.", registry=registry)
        self._evictions = Counter(
            "residuum_stream_series_evictions", "Series that were forgotten for want of memory.", registry=registry
        )
        self._restored = Counter(
            "residuum_stream_restored_records", "Records from which windows were made again.", registry=registry
        )
        self._restoring = Counter("residuum_stream_restore_seconds", "Time that this took.", registry=registry)
        for result in ("committed", "aborted"):
            self._batches.labels(result)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of a batch: `take`, `judge` or `deliver`."""
        began = time.perf_counter()
        yield
        self._stages.labels(name).observe(time.perf_counter() - began)

    def delivered(self, outcome: Outcome) -> None:
        """Count a batch whose verdicts are to be seen."""
        self._batches.labels("committed").inc()
        self._rows.observe(len(outcome.batch))
        self._records.labels("scored").inc(len(outcome.verdicts))
        self._records.labels("dead_letter").inc(len(outcome.letters))
        for letter in outcome.letters:
            self._letters.labels(letter.why).inc()
        now = time.time()
        self._last.set(now)
        (made,) = outcome.batch.times([0])
        if made:
            self._age.observe(max(0.0, now - made / 1000))

    def aborted(self) -> None:
        """Count a batch that was not delivered, and comes again."""
        self._batches.labels("aborted").inc()

    def fenced(self) -> None:
        """Count a name that was taken."""
        self._fenced.inc()

    def opened(self) -> None:
        """Count an opening of source and sink."""
        self._opened.inc()

    def remembered(self, keys: int, size: int) -> None:
        """Take how many series are remembered, and how many bytes that takes, about."""
        self._keys.set(keys)
        self._size.set(size)

    def evicted(self, keys: int) -> None:
        """Count series that were forgotten for want of memory."""
        self._evictions.inc(keys)

    def restored(self, records: int, seconds: float) -> None:
        """Count a restoring of windows."""
        self._restored.inc(records)
        self._restoring.inc(seconds)

    def loaded(self, outcome: str) -> None:
        """Count an opened bundle, or one that could not be: `opened` or `refused`."""
        self._loads.labels(outcome).inc()

    def rebalanced(self, event: str) -> None:
        """Count partitions that came or went."""
        self._rebalances.labels(event).inc()

    def held(self, partitions: int, paused: int) -> None:
        """Take how many partitions are ours, and how many rest."""
        self._held.set(partitions)
        self._paused.set(paused)

    def behind(self, lag: Mapping[tuple[str, int], int]) -> None:
        """Take how many records wait; partitions that are not named are no longer ours."""
        self._lag.clear()
        for (topic, partition), records in lag.items():
            self._lag.labels(topic, str(partition)).set(records)
