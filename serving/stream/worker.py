"""The worker's loop: poll, score, deliver; and recovery when a batch cannot be delivered.

One thread calls source and sink. Another thread scores, so that the first one can keep the source alive meanwhile.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any, NamedTuple

from detector.errors import OutputError, StreamError
from serving.limits import RecordLimits
from serving.log import log
from serving.model import ServedModel
from serving.stream.base import ConnectionLost, PolledBatch, RetryBatch, ScoredRecords, StreamSink, StreamSource
from serving.stream.batch_range import format_range
from serving.stream.metrics import StreamMetrics
from serving.stream.model_watcher import ModelWatcher
from serving.stream.scoring import RecordScorer
from serving.stream.series_state import SeriesState

SCORING_TIMEOUT = 0.5  # seconds of scoring after which the source idles
IDLE_INTERVAL = 0.1
MIN_BACKOFF, MAX_BACKOFF = 0.1, 10.0  # seconds before a batch or a connection is retried
MAX_FENCINGS, FENCING_PERIOD = 3, 300.0  # this many within this many seconds: another worker has the same ID

Endpoints = tuple[StreamSource[Any], StreamSink]


class StreamProgress(NamedTuple):
    """Totals since the start of the worker."""

    records: int
    anomalies: int
    dead_letters: int


class StreamWorker:
    """Scores a stream until it ends or the worker is stopped."""

    def __init__(
        self,
        connect: Callable[[], Endpoints],
        watcher: ModelWatcher,
        limits: RecordLimits,
        metrics: StreamMetrics,
        on_progress: Callable[[StreamProgress], None],
        worker_id: str | None = None,
        state_memory: int | None = None,
    ) -> None:
        """Prepare a worker; `connect` opens source and sink, `on_progress` is called after each delivered batch.

        `state_memory` is the approximate number of bytes for windows of series. Without a `worker_id` no other worker can have
        the same one, so a worker is fenced only if it was too slow.
        """
        self._worker_id = worker_id
        self._connect = connect
        self._watcher = watcher
        self._limits = limits
        self._metrics = metrics
        self._on_progress = on_progress
        self._state = SeriesState(watcher.model, metrics, state_memory)
        self._score = RecordScorer(watcher.model, limits, self._state)
        self._scoring_thread = ThreadPoolExecutor(1, "score")
        self._stop = threading.Event()
        self._fencings: deque[float] = deque(maxlen=MAX_FENCINGS)
        self._failures = 0  # since the last delivered batch
        self.progress = StreamProgress(0, 0, 0)

    @property
    def model(self) -> ServedModel:
        """The version that scores."""
        return self._watcher.model

    def stop(self) -> None:
        """Stop after the current batch, whether it can be delivered or not."""
        self._stop.set()

    def run(self) -> None:
        """Work until the source ends or `stop` is called; reconnect when the connection is lost.

        Raises:
            StreamError: the stream cannot continue.
        """
        with self._scoring_thread:
            ended = False
            while not ended and not self._stop.is_set():
                try:
                    ended = self._run_connected()
                except ConnectionLost as lost:
                    self._log_lost(lost)
                    self._stop.wait(self._backoff())

    def _run_connected(self) -> bool:
        """Open source and sink and process batches; return whether the source has ended."""
        source, sink = self._connect()
        self._metrics.connected()
        with closing(sink), closing(source):
            while not self._stop.is_set():
                with self._metrics.stage("take"):
                    batch = source.poll()
                if batch is None:
                    return True
                if len(batch):
                    self._process(source, sink, batch)
                if self._watcher.update() and self._change_model(self.model):
                    return False
        return False

    def _change_model(self, model: ServedModel) -> bool:
        """Score by another version; return whether to reconnect, because only series need a changelog."""
        had_window = self._state.window is not None
        self._state.change_model(model)
        self._score = RecordScorer(model, self._limits, self._state)
        return had_window != (self._state.window is not None)

    def _process(self, source: StreamSource[Any], sink: StreamSink, batch: PolledBatch) -> None:
        """Score and deliver a batch, or rewind to it."""
        try:
            with self._metrics.stage("score"):
                scored = self._score_batch(source, batch)
            with self._metrics.stage("deliver"):
                sink.add(scored)
                sink.flush()
                sink.commit(batch.position)
                source.commit(batch, scored.changes)
        except StreamError as error:
            raise StreamError(f"{error} (at {format_range(batch)})") from error
        except OutputError as error:
            raise OutputError(f"{error} (at {format_range(batch)})") from error
        except ConnectionLost as lost:
            raise ConnectionLost(f"{lost} (at {format_range(batch)})", fenced=lost.fenced) from lost
        except RetryBatch as error:
            log().warning("batch not delivered: retrying", error=str(error), records=format_range(batch))
            self._metrics.aborted()
            sink.discard()
            source.rewind(batch)
            source.idle(self._backoff())
            return
        self._failures = 0
        self._state.commit()
        self._metrics.delivered(scored)
        records, anomalies, dead_letters = self.progress
        new_anomalies = [verdict.is_anomaly for verdict in scored.verdicts].count(True)
        self.progress = StreamProgress(
            records + len(scored.verdicts), anomalies + new_anomalies, dead_letters + len(scored.dead_letters)
        )
        self._on_progress(self.progress)

    def _score_batch(self, source: StreamSource[Any], batch: PolledBatch) -> ScoredRecords:
        """Score a batch; the source idles while that takes long."""
        job: Future[ScoredRecords] = self._scoring_thread.submit(self._score, batch, source.read_state)
        try:
            return job.result(SCORING_TIMEOUT)
        except TimeoutError:
            if job.done():
                raise
        try:
            while not job.done():
                source.idle(IDLE_INTERVAL)
        finally:
            wait([job])  # nothing else may touch the series' state before
        return job.result()

    def _backoff(self) -> float:
        """Return the seconds before the next attempt: exponential, with jitter."""
        seconds = min(MAX_BACKOFF, MIN_BACKOFF * 2.0**self._failures) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        self._failures += 1
        return seconds

    def _log_lost(self, lost: ConnectionLost) -> None:
        """Log a lost connection.

        Raises:
            StreamError: another worker keeps using this worker's ID.
        """
        log().warning("connection lost", error=str(lost), fenced=lost.fenced)
        if not lost.fenced:
            return
        self._metrics.fenced()
        self._fencings.append(time.monotonic())
        period = self._fencings[-1] - self._fencings[0]
        if self._worker_id and len(self._fencings) == MAX_FENCINGS and period < FENCING_PERIOD:
            raise StreamError(
                f"another running worker has the same --id {self._worker_id}: it fenced this one {MAX_FENCINGS} times within "
                f"{period:.0f} s; give each worker its own --id"
            )
