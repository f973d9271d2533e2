"""The process: which source and sink the addresses mean, signals, metrics, the end."""

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
from serving.stream.addresses import Topic
from serving.stream.base import Sink, Source
from serving.stream.metrics import Metrics
from serving.stream.model_watcher import Current
from serving.stream.settings import Settings
from serving.stream.tail import FollowSource
from serving.stream.text import StdinSource, TextSink
from serving.stream.worker import Ends, Progress, Worker

SELDOM = 50_000  # new objects between two looks for those that hold each other


def stream(path: Path, settings: Settings, watch: Callable[[Progress], None]) -> None:
    """Judge a stream by the bundle at a path until it ends, or a signal comes; `watch` is told how far it is.

    Raises:
        BundleError: the bundle cannot be trusted.
        SettingError: a setting cannot be honoured.
        StreamError: the stream cannot go on.
        OutputError: verdicts cannot be written.
    """
    gc.freeze()  # what is there now stays: it need not be looked through again and again ...
    gc.set_threshold(SELDOM)  # ... and what a batch makes goes with it
    configure_logging(settings.log)
    models: list[Current] = []
    metrics = Metrics(lambda: [current.model for current in models])
    models.append(Current(path, settings.device, metrics.loaded))
    connect = ends(settings, metrics, lambda: models[0].model.scorer.manifest.window)
    worker = Worker(connect, models[0], settings.limits, metrics, watch, settings.worker_id, settings.state_memory)
    with (
        serve_metrics(settings.metrics_host, settings.metrics_port, metrics.registry),
        stopped_by_signals(worker, settings.deadline),
    ):
        model = models[0].model
        log().info("streaming", model=f"{model.name}/{model.version}", **said(settings))
        worker.run()
        log().info("stopped", **worker.done._asdict())


def ends(settings: Settings, metrics: Metrics, window: Callable[[], Window | None]) -> Callable[[], Ends]:
    """Give what opens source and sink; `window` says how the model that judges makes windows of rows, if it does.

    Raises:
        SettingError: they cannot be had so.
    """
    addresses = (settings.source, settings.sink, settings.letters)
    exactly_once = settings.exactly_once
    if any(isinstance(address, Topic) for address in addresses):
        from serving.stream.kafka import Kafka

        kafka = Kafka(settings, metrics, window, exactly_once=exactly_once)
        return lambda: kafka.connect(lambda: _source(settings), lambda: _text(settings))
    return lambda: (_source(settings), TextSink(*_names(settings)))


def said(settings: Settings) -> dict[str, object]:
    """Tell the settings that matter to whoever reads the log; of Kafka's only the names."""
    places = {"source": settings.source, "sink": settings.sink, "dead_letters": settings.letters}
    guarantee = "exactly-once" if settings.exactly_once else "at-least-once"
    told = {name: str(place or STDOUT) for name, place in places.items()}
    return told | {"guarantee": guarantee, "group": settings.group, "kafka": dict.fromkeys(settings.kafka, "***")}


def _source(settings: Settings) -> Source[Any]:
    """Open a source of lines."""
    if settings.source is None:
        return StdinSource(settings.linger)
    assert isinstance(settings.source, Path)  # noqa: S101 - a topic is opened elsewhere
    state = settings.state or settings.source.with_name(f"{settings.source.name}.position")
    return FollowSource(settings.source, state, settings.linger)


def _text(settings: Settings) -> Sink | None:
    """Open a sink of lines, if verdicts or letters go to one."""
    verdicts, letters = _names(settings)
    return TextSink(verdicts, letters) if verdicts or letters else None


def _names(settings: Settings) -> tuple[str | None, str | None]:
    """Give the files of verdicts and letters; what goes to a topic has none."""
    verdicts, letters = (
        None if isinstance(address, Topic) else STDOUT if address is None else str(address)
        for address in (settings.sink, settings.letters)
    )
    return verdicts, letters


@contextlib.contextmanager
def stopped_by_signals(worker: Worker, deadline: float) -> Iterator[None]:
    """Take SIGTERM and Ctrl-C as the request to end well, and end anyway when the deadline has passed.

    What is not committed by then comes again: a transaction that is open is aborted by the brokers.
    """
    waiting, woken = os.pipe()
    os.set_blocking(woken, False)
    following = threading.Thread(target=_follow, args=(waiting, worker, deadline), daemon=True)
    following.start()
    before = signal.set_wakeup_fd(woken)
    kept = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before)
        os.close(woken)
        following.join()
        os.close(waiting)


def _follow(waiting: int, worker: Worker, deadline: float) -> None:
    """Take the numbers of signals from a pipe, in a thread of its own.

    A handler interrupts the main thread anywhere, also where that holds a lock of the log's or of an event's: whatever takes
    such a lock in a handler may wait forever.
    """
    while number := os.read(waiting, 1):
        log().info("stopping", signal=signal.Signals(number[0]).name)
        worker.stop()
        last = threading.Timer(deadline, _give_up)
        last.daemon = True
        last.start()


def _give_up() -> None:
    log().warning("deadline: ended with a batch at work, which will come again")
    os._exit(0)
