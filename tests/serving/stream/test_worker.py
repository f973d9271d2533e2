"""The loop, with a source and a sink that fail as planned."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from detector.errors import StreamError
from detector.scorer import Scorer
from serving.limits import RecordLimits
from serving.log import configure_logging
from serving.model import ServedModel
from serving.stream import model_watcher
from serving.stream import worker as loop
from serving.stream.base import ConnectionLost, RetryBatch, ScoredRecords
from serving.stream.metrics import StreamMetrics
from serving.stream.model_watcher import ModelWatcher
from serving.stream.scoring import RecordScorer
from serving.stream.series_state import ReadState
from serving.stream.text import LineBatch
from serving.stream.worker import StreamWorker
from tests.data.make_bundle import write_minimal
from tests.serving.stream.conftest import rows, values
from tests.serving.stream.fakes import FakeEndpoints

LIMITS = RecordLimits(2**20, 8, 10_000)
LINES = values(rows(20))
DELIVERY = ["poll", "add", "flush", "commit", "source.commit"]


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("json")
    monkeypatch.setattr(loop, "MIN_BACKOFF", 0.001)


def run(endpoints: FakeEndpoints, pumps: Path, worker_id: str | None = "one") -> StreamWorker:
    metrics = StreamMetrics(list)
    watcher = ModelWatcher(pumps, "cpu", metrics.loaded)
    worker = StreamWorker(endpoints.connect, watcher, LIMITS, metrics, lambda _: None, worker_id)
    worker.run()
    return worker


def test_calls_are_in_the_documented_order(pumps: Path) -> None:
    endpoints = FakeEndpoints(LINES[:1])
    run(endpoints, pumps)
    assert endpoints.calls == ["connect", *DELIVERY, "poll", "close", "sink.close"]


@pytest.mark.parametrize("call", ["add", "flush", "commit"])
def test_a_batch_that_is_not_delivered_is_retried(call: str, pumps: Path) -> None:
    endpoints = FakeEndpoints(LINES[:3], (call, RetryBatch("no")))
    worker = run(endpoints, pumps)
    assert endpoints.visible == [0, 1, 2]
    assert worker.progress.records == 3
    first = endpoints.calls.index(call)
    assert endpoints.calls[first + 1 : first + 4] == ["discard", "rewind", "idle"]


@pytest.mark.parametrize("call", ["connect", "poll", "add", "commit", "discard"])
def test_a_lost_connection_is_opened_again(call: str, pumps: Path) -> None:
    errors = [("add", RetryBatch("no"))] if call == "discard" else []
    endpoints = FakeEndpoints(LINES[:3], *errors, (call, ConnectionLost("gone")))
    run(endpoints, pumps)
    assert endpoints.calls.count("connect") == 2
    assert endpoints.calls.count("close") == endpoints.calls.count("sink.close") == 2 - (call == "connect")


def test_repeated_fencing_stops_a_worker_with_an_id(pumps: Path) -> None:
    fenced = ("poll", ConnectionLost("fenced", fenced=True))
    with pytest.raises(StreamError, match="has the same --id"):
        run(FakeEndpoints(LINES[:3], *[fenced] * 3), pumps)
    run(FakeEndpoints(LINES[:3], *[fenced] * 2), pumps)
    run(FakeEndpoints(LINES[:3], *[fenced] * 3), pumps, worker_id=None)


def test_a_permanent_error_closes_both_ends(pumps: Path) -> None:
    endpoints = FakeEndpoints(LINES[:3], ("flush", StreamError("the topic is gone")))
    with pytest.raises(StreamError):
        run(endpoints, pumps)
    assert endpoints.calls[-2:] == ["close", "sink.close"]


def test_the_source_idles_while_scoring_takes_long(pumps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = RecordScorer.__call__

    def slow(self: RecordScorer, batch: LineBatch, read_state: ReadState) -> ScoredRecords:
        time.sleep(0.2)
        return score(self, batch, read_state)

    monkeypatch.setattr(loop, "SCORING_TIMEOUT", 0.05)
    monkeypatch.setattr(RecordScorer, "__call__", slow)
    endpoints = FakeEndpoints(LINES[:1])
    run(endpoints, pumps)
    assert endpoints.calls.count("idle") > 5
    assert endpoints.visible == [0]


def test_a_new_version_scores_from_the_next_batch_on(pumps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_watcher, "INTERVAL", 0.0)
    models, versions = tmp_path / "pumps", []
    shutil.copytree(pumps, models)
    endpoints = FakeEndpoints(LINES[:3])
    metrics = StreamMetrics(list)
    watcher = ModelWatcher(models, "cpu", metrics.loaded)

    def on_progress(_: object) -> None:
        versions.append(watcher.model.version)
        if len(versions) == 1:
            write_minimal(models / "2", name="pumps", version=2)

    StreamWorker(endpoints.connect, watcher, LIMITS, metrics, on_progress).run()
    assert versions == [1, 2, 2]
    assert endpoints.calls.count("connect") == 1


def test_a_change_between_rows_and_series_reconnects(
    pumps: Path, presses: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only series have a changelog to open, and windows to restore."""
    series = ServedModel("presses", Scorer.open(presses[0], "cpu"))

    def update(self: ModelWatcher) -> bool:
        changed, self.model = self.model is not series, series
        return changed

    monkeypatch.setattr(ModelWatcher, "update", update)
    endpoints = FakeEndpoints(LINES[:2])
    worker = run(endpoints, pumps)
    closed = ["close", "sink.close"]
    assert endpoints.calls == ["connect", *DELIVERY, *closed, "connect", "poll", "read_state", *DELIVERY[1:], "poll", *closed]
    assert worker.progress.dead_letters == 1
