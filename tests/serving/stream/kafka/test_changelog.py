"""Windows in a topic are read to their end, past open transactions."""

from __future__ import annotations

import secrets
import threading
import time

import pytest
from confluent_kafka import Producer

from detector.windows import Window
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.kafka.changelog import key_of
from serving.stream.kafka.connect import KafkaConnector
from serving.stream.metrics import StreamMetrics
from tests.kafka.brokers import QUIET
from tests.serving.stream.conftest import TIMEOUT, Topics

WINDOW = Window(time="ts", key="machine", length=3, max_gap=60.0)


def test_a_partition_is_read_to_its_end_and_not_to_the_last_stable_offset(topics: Topics) -> None:
    """The last transaction of another worker may be open when its partition is assigned; its windows are waited for."""
    topics.for_series()
    kafka = KafkaConnector(topics.settings(), StreamMetrics(list), lambda: WINDOW, exactly_once=True)
    source, sink = kafka.connect(lambda: pytest.fail("the source is a topic"), lambda: None)
    name = secrets.token_hex(4)
    aborted, committed = (
        Producer({"bootstrap.servers": topics.bootstrap, "transactional.id": name + suffix, **QUIET}) for suffix in "ab"
    )
    for producer, value in ((aborted, b"aborted"), (committed, b"committed")):
        producer.init_transactions(TIMEOUT)
        producer.begin_transaction()
        producer.produce(topics.changelog, value, key_of(ChangelogRecord(1, "press", 2, None)), 1)
        producer.flush(TIMEOUT)
    found: list[ChangelogRecord] = []
    reader = threading.Thread(target=lambda: found.extend(source.read_state([0, 1])), daemon=True)
    reader.start()
    committed.commit_transaction(TIMEOUT)
    time.sleep(1)
    assert reader.is_alive()
    assert not found
    aborted.abort_transaction(TIMEOUT)
    reader.join(TIMEOUT)
    assert found == [ChangelogRecord(1, "press", 2, b"committed")]
    source.close()
    sink.close()
