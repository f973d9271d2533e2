"""The loop, with a source and a sink that fail when they are told to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from detector.errors import StreamError
from detector.scorer import Scorer
from serving.log import configure_logging
from serving.model import Model
from serving.stream import worker as loop
from serving.stream.base import ConnectionLost, RetryBatch, ScoredBatch
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.metrics import StreamMetrics
from serving.stream.model_watcher import ModelWatcher
from serving.stream.scoring import Judge, Limits
from serving.stream.series_state import ReadState
from serving.stream.text import LineBatch
from serving.stream.worker import StreamWorker
from tests.serving.stream.conftest import rows, values

LIMITS = Limits(2**20, 8, 10_000)


class Ends:
    """A source and a sink that write down how they are called; each error that is given is raised once."""

    def __init__(self, *errors: tuple[str, Exception], records: int = 3) -> None:
        self.calls: list[str] = []
        self._errors = list(errors)
        self._left = [LineBatch(value + b"\n", "-", at) for at, value in enumerate(values(rows(20))[:records])]
        self.seen: list[int] = []
        self._added: list[int] = []

    def connect(self) -> tuple[Ends, Sink]:
        self.called("connect")
        return self, Sink(self)

    def poll(self) -> LineBatch | None:
        self.called("take")
        return self._left.pop(0) if self._left else None

    def commit(self, batch: LineBatch, changes: Sequence[ChangelogRecord]) -> None:  # noqa: ARG002 - `Source`
        self.called("source.commit")

    def read_state(self, partitions: Sequence[int]) -> Sequence[ChangelogRecord]:  # noqa: ARG002 - `Source`
        self.called("recall")
        return ()

    def rewind(self, batch: LineBatch) -> None:
        self.called("rewind")
        self._left.insert(0, batch)

    def idle(self, seconds: float) -> None:
        self.called("idle")
        time.sleep(min(seconds, 0.01))

    def close(self) -> None:
        self.called("close")

    def called(self, name: str) -> None:
        self.calls.append(name)
        if self._errors and self._errors[0][0] == name:
            raise self._errors.pop(0)[1]


class Sink:
    """The sink of such ends."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._added: list[int] = []

    def add(self, outcome: ScoredBatch) -> None:
        self._added = [verdict.origin.row for verdict in outcome.verdicts]
        self._ends.called("add")

    def flush(self) -> None:
        self._ends.called("flush")

    def commit(self, claim: object) -> None:  # noqa: ARG002 - `Sink`
        self._ends.called("commit")
        self._ends.seen += self._added

    def discard(self) -> None:
        self._ends.called("discard")

    def close(self) -> None:
        self._ends.called("sink.close")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    configure_logging("json")
    monkeypatch.setattr(loop, "MIN_BACKOFF", 0.001)


def run(ends: Ends, pumps: Path, worker_id: str | None = "one") -> StreamWorker:
    metrics = StreamMetrics(list)
    worker = StreamWorker(ends.connect, ModelWatcher(pumps, "cpu", metrics.loaded), LIMITS, metrics, lambda _: None, worker_id)
    worker.run()
    return worker


def test_the_order_of_calls(pumps: Path) -> None:
    ends = Ends(records=1)
    run(ends, pumps)
    assert ends.calls == ["connect", "take", "add", "flush", "commit", "source.commit", "take", "close", "sink.close"]


@pytest.mark.parametrize("at", ["add", "flush", "commit"])
def test_a_batch_that_is_not_delivered_comes_again(at: str, pumps: Path) -> None:
    ends = Ends((at, RetryBatch("no")))
    worker = run(ends, pumps)
    assert ends.seen == [0, 1, 2]
    assert worker.progress.records == 3
    first = ends.calls.index(at)
    assert ends.calls[first + 1 : first + 4] == ["discard", "rewind", "idle"]


@pytest.mark.parametrize("at", ["connect", "take", "add", "commit", "discard"])
def test_what_is_lost_is_opened_anew(at: str, pumps: Path) -> None:
    ends = Ends(*([("add", RetryBatch("no"))] if at == "discard" else []), (at, ConnectionLost("gone")))
    run(ends, pumps)
    assert ends.calls.count("connect") == 2
    assert ends.calls.count("close") == ends.calls.count("sink.close") == 2 - (at == "connect")


def test_a_name_that_is_taken_again_and_again_ends_it(pumps: Path) -> None:
    ends = Ends(*[("take", ConnectionLost("fenced", fenced=True))] * 3)
    with pytest.raises(StreamError, match="has the same --id"):
        run(ends, pumps)
    run(Ends(*[("take", ConnectionLost("fenced", fenced=True))] * 2), pumps)
    run(Ends(*[("take", ConnectionLost("fenced", fenced=True))] * 3), pumps, worker_id=None)


def test_what_cannot_go_on_is_closed(pumps: Path) -> None:
    ends = Ends(("flush", StreamError("the topic is gone")))
    with pytest.raises(StreamError):
        run(ends, pumps)
    assert ends.calls[-2:] == ["close", "sink.close"]


def test_the_source_lives_while_judging_takes_long(pumps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = Judge.__call__

    def slow(self: Judge, batch: LineBatch, recall: ReadState) -> ScoredBatch:
        time.sleep(0.2)
        return judged(self, batch, recall)

    monkeypatch.setattr(loop, "SCORING_TIMEOUT", 0.05)
    monkeypatch.setattr(Judge, "__call__", slow)
    ends = Ends(records=1)
    run(ends, pumps)
    assert ends.calls.count("idle") > 5
    assert ends.seen == [0]


def test_a_version_that_judges_series_where_the_last_one_did_not_has_source_and_sink_opened_anew(
    pumps: Path, presses: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only then are there topics to look for, and windows to recall."""
    series = Model("presses", Scorer.open(presses[0], "cpu"))

    def update(self: ModelWatcher) -> bool:
        taken_up, self.model = self.model is not series, series
        return taken_up

    monkeypatch.setattr(ModelWatcher, "update", update)
    ends = Ends(records=2)
    worker = run(ends, pumps)
    once = ["take", "add", "flush", "commit", "source.commit"]
    closed = ["close", "sink.close"]
    assert ends.calls == ["connect", *once, *closed, "connect", "take", "recall", *once[1:], "take", *closed]
    assert worker.progress.dead_letters == 1
