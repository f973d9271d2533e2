"""The worker's process: opens what the addresses name, handles signals, and serves metrics."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from detector.windows import Window
from serving.files.output import STDOUT
from serving.log import configure_logging, log
from serving.monitoring.metrics_server import serve_metrics
from serving.standard_error import end_background
from serving.stream.addresses import Address, Topic
from serving.stream.base import StreamSink, StreamSource
from serving.stream.metrics import StreamMetrics
from serving.stream.model_watcher import ModelWatcher
from serving.stream.settings import StreamSettings
from serving.stream.tail import TailSource
from serving.stream.text import LineSink, StdinSource
from serving.stream.worker import Endpoints, StreamProgress, StreamWorker

GC_THRESHOLD = 50_000  # new objects between two collections


def run(path: Path, settings: StreamSettings, on_progress: Callable[[StreamProgress], None]) -> None:
    """Score a stream by the bundle at a path until the stream ends or a signal comes.

    Raises:
        BundleError: the bundle is invalid.
        SettingError: a setting is invalid.
        StreamError: the stream cannot continue.
        OutputError: verdicts cannot be written.
    """
    gc.freeze()  # excludes what is loaded now from collections ...
    gc.set_threshold(GC_THRESHOLD)  # ... and a batch's objects hold no cycles
    configure_logging(settings.log)
    worker, metrics = open_worker(path, settings, on_progress)
    with (
        serve_metrics(settings.metrics_host, settings.metrics_port, metrics.registry),
        stop_on_signals(worker, settings.deadline),
    ):
        log().info("streaming", model=f"{worker.model.name}/{worker.model.version}", **log_fields(settings))
        worker.run()
        log().info("stopped", **worker.progress._asdict())


def open_worker(
    path: Path, settings: StreamSettings, on_progress: Callable[[StreamProgress], None]
) -> tuple[StreamWorker, StreamMetrics]:
    """Open the bundle at a path, and return a worker that has not started, with its metrics; raises as `run` does."""
    watchers: list[ModelWatcher] = []
    metrics = StreamMetrics(lambda: [watcher.model for watcher in watchers])
    watcher = ModelWatcher(path, settings.device, metrics.loaded)
    watchers.append(watcher)
    connect = connector(settings, metrics, lambda: watcher.model.scorer.manifest.window)
    worker = StreamWorker(connect, watcher, settings.limits, metrics, on_progress, settings.worker_id, settings.state_memory)
    return worker, metrics


def connector(settings: StreamSettings, metrics: StreamMetrics, window: Callable[[], Window | None]) -> Callable[[], Endpoints]:
    """Return a function that opens source and sink; `window` returns the current model's window, if it has one.

    Raises:
        SettingError: a setting is invalid.
    """
    exactly_once = settings.exactly_once
    if settings.has_topic:
        from serving.stream.kafka import KafkaConnector

        kafka = KafkaConnector(settings, metrics, window, exactly_once=exactly_once)
        return lambda: kafka.connect(lambda: _line_source(settings, metrics), lambda: _line_sink(settings))
    return lambda: (_line_source(settings, metrics), LineSink(_file(settings.sink), _file(settings.dead_letters_to)))


def log_fields(settings: StreamSettings) -> dict[str, object]:
    """Return the settings to log at the start; the values of Kafka's are masked."""
    addresses = {"source": settings.source, "sink": settings.sink, "dead_letters": settings.dead_letters_to}
    fields: dict[str, object] = {name: str(address or STDOUT) for name, address in addresses.items()}
    if settings.source is None:
        fields["guarantee"] = "none"  # what was read from a pipe cannot be read again
    else:
        fields["guarantee"] = "exactly-once" if settings.exactly_once else "at-least-once"
    if settings.has_topic:
        fields |= {"group": settings.group, "kafka": dict.fromkeys(settings.kafka, "***")}
    return fields


def _line_source(settings: StreamSettings, metrics: StreamMetrics) -> StreamSource[Any]:
    if settings.source is None:
        return StdinSource(settings.linger)
    assert isinstance(settings.source, Path)  # noqa: S101 - `KafkaConnector` opens topics
    state = settings.state or settings.source.with_name(f"{settings.source.name}.position")
    return TailSource(settings.source, state, settings.linger, settings.rotation_idle, metrics)


def _line_sink(settings: StreamSettings) -> StreamSink | None:
    """Open a sink of lines, if verdicts or dead letters go to one."""
    verdicts, dead_letters = _file(settings.sink), _file(settings.dead_letters_to)
    return LineSink(verdicts, dead_letters) if verdicts or dead_letters else None


def _file(address: Address) -> str | None:
    """Return the path of an address; None for a topic."""
    if isinstance(address, Topic):
        return None
    return STDOUT if address is None else str(address)


@contextlib.contextmanager
def stop_on_signals(worker: StreamWorker, deadline: float) -> Iterator[None]:
    """Stop the worker at SIGTERM or Ctrl-C, and exit `deadline` seconds later even if it still works.

    What is not committed by then is scored again after a restart; the brokers abort an open transaction.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    thread = threading.Thread(target=_watch_signals, args=(reader, worker, deadline), daemon=True)
    thread.start()
    previous_fd = signal.set_wakeup_fd(writer)
    previous = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(previous_fd)
        os.close(writer)
        thread.join()
        os.close(reader)


def _watch_signals(reader: int, worker: StreamWorker, deadline: float) -> None:
    """Read the numbers of signals from a pipe, in a thread of its own.

    A handler may interrupt the main thread while it holds a lock of the log or of an event; a handler that takes that lock waits
    for ever.
    """
    while number := os.read(reader, 1):
        worker.stop()
        timer = threading.Timer(deadline, _exit)
        timer.daemon = True
        timer.start()
        log().info("stopping", signal=signal.Signals(number[0]).name)


def _exit() -> None:
    log().warning("deadline passed: stopped before the current batch was delivered; it will be scored again")
    end_background()
    os._exit(0)
