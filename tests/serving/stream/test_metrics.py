"""What a delivered batch counts, and partitions that are no longer assigned."""

from __future__ import annotations

import time

import pytest

from detector.rejects import Reject
from serving.stream.base import DeadLetter, Origin, RecordVerdict, ScoredRecords
from serving.stream.metrics import StreamMetrics
from tests.serving.stream.fakes import FakeRecord, kafka_batch


def test_a_delivered_batch_is_counted() -> None:
    metrics = StreamMetrics(list)
    created = int(time.time() * 1000) - 5000
    batch = kafka_batch([FakeRecord(b"", b"", 0, offset, timestamp=created) for offset in range(3)], {0: 0})
    verdicts = [RecordVerdict(1.0, 0.5, False, "pumps", 1, Origin("readings", 0, offset)) for offset in (0, 2)]  # noqa: FBT003
    metrics.delivered(ScoredRecords(batch, verdicts, [0, 2], [DeadLetter(1, "too big", Reject(1, "", "2 MB", "at most 1 MB"))]))
    metrics.aborted()
    value = metrics.registry.get_sample_value
    assert value("residuum_stream_records_total", {"outcome": "scored"}) == 2
    assert value("residuum_stream_records_total", {"outcome": "dead_letter"}) == 1
    assert value("residuum_stream_dead_letters_total", {"reason": "too big"}) == 1
    assert value("residuum_stream_transactions_total", {"result": "committed"}) == 1
    assert value("residuum_stream_transactions_total", {"result": "aborted"}) == 1
    assert value("residuum_stream_batch_rows_sum") == 3
    assert value("residuum_stream_record_age_seconds_sum") == pytest.approx(5, abs=2)
    assert value("residuum_stream_last_commit_timestamp_seconds") == pytest.approx(time.time(), abs=2)


def test_the_lag_has_only_assigned_partitions() -> None:
    metrics = StreamMetrics(list)
    metrics.set_lag({("readings", 0): 7, ("readings", 1): 0})
    metrics.set_lag({("readings", 1): 3})
    value = metrics.registry.get_sample_value
    assert value("residuum_stream_lag", {"topic": "readings", "partition": "0"}) is None
    assert value("residuum_stream_lag", {"topic": "readings", "partition": "1"}) == 3


def test_a_stage_is_timed() -> None:
    metrics = StreamMetrics(list)
    with metrics.stage("score"):
        time.sleep(0.01)
    seconds = metrics.registry.get_sample_value("residuum_stream_stage_seconds_sum", {"stage": "score"})
    assert seconds
    assert seconds >= 0.01
