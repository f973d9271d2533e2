"""The loop: take, judge, deliver; and what happens when a batch cannot be delivered.

One thread owns source and sink. Another one judges, so that the first can keep the source alive when that takes long.
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

from detector.errors import StreamError
from serving.log import log
from serving.model import Model
from serving.stream.base import Again, Batch, Lost, Outcome, Sink, Source
from serving.stream.metrics import Metrics
from serving.stream.model_watcher import Current
from serving.stream.scoring import Judge, Limits
from serving.stream.series_state import Runs

PATIENCE = 0.5  # seconds that judging may take before the source is told to rest
TICK = 0.1
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a batch or a connection is tried again
FENCES, WITHIN = 3, 300.0  # so often within so many seconds: no accident

Ends = tuple[Source[Any], Sink]


class Progress(NamedTuple):
    """How far the worker is, since its start."""

    records: int
    anomalies: int
    letters: int


class Worker:
    """Judges a stream until it ends or is stopped."""

    def __init__(
        self,
        connect: Callable[[], Ends],
        current: Current,
        limits: Limits,
        metrics: Metrics,
        watch: Callable[[Progress], None],
        worker_id: str | None = None,
        state_memory: int | None = None,
    ) -> None:
        """Take what opens source and sink; `watch` is told of every batch that is delivered.

        `state_memory` is how many bytes the windows of series may take, about.

        Of a worker without an id nobody else can take the name: it is shut out only where it was too slow.
        """
        self._worker_id = worker_id
        self._connect = connect
        self._current = current
        self._limits = limits
        self._metrics = metrics
        self._watch = watch
        self._runs = Runs(current.model, metrics, state_memory)
        self._judge = Judge(current.model, limits, self._runs)
        self._thread = ThreadPoolExecutor(1, "judge")
        self._stop = threading.Event()
        self._fences: deque[float] = deque(maxlen=FENCES)
        self._failures = 0  # since a batch was delivered
        self.done = Progress(0, 0, 0)

    def stop(self) -> None:
        """Finish or give up the batch that is at work, then end."""
        self._stop.set()

    def run(self) -> None:
        """Work until the source ends or `stop` is called; what is lost on the way is opened anew.

        Raises:
            StreamError: there is no going on.
        """
        with self._thread:
            ended = False
            while not ended and not self._stop.is_set():
                try:
                    ended = self._connected()
                except Lost as lost:
                    self._told(lost)
                    self._stop.wait(self._pause())

    def _connected(self) -> bool:
        """Open source and sink, and work with them; tells whether the source has ended."""
        source, sink = self._connect()
        self._metrics.opened()
        with closing(sink), closing(source):
            while not self._stop.is_set():
                with self._metrics.stage("take"):
                    batch = source.take()
                if batch is None:
                    return True
                if len(batch):
                    self._handle(source, sink, batch)
                if self._current.look() and self._take_up(self._current.model):
                    return False
        return False

    def _take_up(self, model: Model) -> bool:
        """Judge by another version; tells whether source and sink have to be opened anew, because only series need a memory."""
        before = self._runs.window
        self._runs.take_up(model)
        self._judge = Judge(model, self._limits, self._runs)
        return (before is None) != (self._runs.window is None)

    def _handle(self, source: Source[Any], sink: Sink, batch: Batch) -> None:
        """Judge and deliver a batch, or have it come again."""
        try:
            with self._metrics.stage("judge"):
                outcome = self._judged(source, batch)
            with self._metrics.stage("deliver"):
                sink.add(outcome)
                sink.flush()
                sink.commit(batch.claim)
                source.commit(batch, outcome.slots)
        except Again as again:
            log().warning("batch comes again", said=str(again), records=len(batch))
            self._metrics.aborted()
            sink.discard()
            source.rewind(batch)
            source.idle(self._pause())
            return
        self._failures = 0
        self._runs.settle()
        self._metrics.delivered(outcome)
        records, anomalies, letters = self.done
        flagged = [verdict.is_anomaly for verdict in outcome.verdicts].count(True)
        self.done = Progress(records + len(outcome.verdicts), anomalies + flagged, letters + len(outcome.letters))
        self._watch(self.done)

    def _judged(self, source: Source[Any], batch: Batch) -> Outcome:
        """Judge a batch; while that takes long, the source rests and stays alive."""
        job: Future[Outcome] = self._thread.submit(self._judge, batch, source.recall)
        try:
            return job.result(PATIENCE)
        except TimeoutError:
            if job.done():
                raise
        try:
            while not job.done():
                source.idle(TICK)
        finally:
            wait([job])  # nobody else touches what it works on
        return job.result()

    def _pause(self) -> float:
        """Give how long to wait before the next attempt: longer each time, and by chance more or less."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._failures) * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        self._failures += 1
        return pause

    def _told(self, lost: Lost) -> None:
        """Log what was lost.

        Raises:
            StreamError: another worker keeps taking our name.
        """
        log().warning("connection lost", said=str(lost), fenced=lost.fenced)
        if not lost.fenced:
            return
        self._metrics.fenced()
        self._fences.append(time.monotonic())
        if self._worker_id and len(self._fences) == FENCES and self._fences[-1] - self._fences[0] < WITHIN:
            raise StreamError(
                f"another worker that is alive has the same --id {self._worker_id}: this one was shut out {FENCES} times within "
                f"{self._fences[-1] - self._fences[0]:.0f} s; give each its own"
            )
