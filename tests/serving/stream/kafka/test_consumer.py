"""Batches of records, and partitions that come and go."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from serving.stream.base import Origin, RetryBatch, StreamSource
from serving.stream.kafka.consumer import GroupMember, KafkaBatch
from serving.stream.metrics import StreamMetrics
from serving.stream.run import connector
from tests.serving.stream.conftest import FAST, Topics, until
from tests.serving.stream.fakes import FakeRecord, kafka_batch

LINES = [b'{"n":%d}' % number for number in range(30)]
SESSION = {name: value for name, value in FAST.items() if "transaction" not in name}


def test_a_batch_describes_its_records() -> None:
    records = [FakeRecord(b"a", b"{}", 1, 7, [("h", b"")], 5), FakeRecord(None, None, 0, 3), FakeRecord(b"c", b"[]", 1, 8)]
    batch = kafka_batch(records, {0: 4, 1: 5, 2: 6})
    assert len(batch) == 3
    assert batch.block == b"{}\n\n[]\n"
    assert batch.partitions() == [1, 0, 1]
    assert batch.keys([2, 1]) == [b"c", None]
    assert batch.headers([0, 1]) == [[("h", b"")], ()]
    assert batch.timestamps([0, 1]) == [5, 0]
    assert batch.origins([2]) == [Origin("readings", 1, 8)]
    assert batch.start_offsets == {0: 3, 1: 7}
    assert batch.end_offsets == {0: 4, 1: 9}
    assert not batch.is_blank(1)


def test_offsets_are_committed_only_while_their_partitions_stay_assigned() -> None:
    assigned = {0: 4, 1: 5}
    member = GroupMember("metadata", lambda numbers: numbers.items() <= assigned.items())
    position = KafkaBatch("readings", [FakeRecord(None, b"", 1, 7)], dict(assigned), member).position
    assert position.metadata == "metadata"
    assert position.offsets == [TopicPartition("readings", 1, 8)]
    del assigned[0]
    position.check()
    assigned[1] = 6  # revoked, and assigned again
    with pytest.raises(RetryBatch, match="were revoked"):
        position.check()


def test_a_partition_that_was_revoked_while_paused_is_read_after_it_returns(topics: Topics) -> None:
    def join() -> StreamSource[Any]:
        settings = topics.settings(guarantee="at-least-once", kafka=SESSION)
        return connector(settings, StreamMetrics(list), lambda: None)()[0]

    def assigned(source: StreamSource[Any]) -> int:
        batch = source.poll()
        assert batch is not None
        assert not len(batch)
        return len(batch.assignments)

    with contextlib.closing(join()) as source:
        until(lambda: assigned(source) == 2)
        with contextlib.closing(join()) as other:
            until(lambda: source.idle(0.05) or assigned(other) == 1)
        until(lambda: assigned(source) == 2)
        topics.send(LINES)
        values: list[bytes] = []
        until(lambda: values.extend(source.poll().values) or len(values) >= len(LINES))  # type: ignore[union-attr]
        assert sorted(values) == sorted(LINES)
