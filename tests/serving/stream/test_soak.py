"""Half an hour at 70 % of a worker's capacity: every record is answered, memory stays flat, and latencies are printed."""

from __future__ import annotations

import itertools
import sys
import threading
import time

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.kafka.brokers import QUIET
from tests.ports import free_port
from tests.serving.stream.conftest import TORTURE, StartProcess, Topics, memory, metrics, rows, until, values

SECONDS = 1800 if TORTURE else 20
LOAD = 0.7
BACKLOG = 100_000 if TORTURE else 20_000
PARTS = 6  # of the time, each with percentiles of its own
SMALL = {"retention.bytes": "200000000", "segment.bytes": "50000000"}  # limits disk usage
GROWTH = 50  # MB


class Reader(threading.Thread):
    """Reads verdicts, and measures the time since each one's record was sent."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer(
            {"bootstrap.servers": topics.bootstrap, "group.id": "soak", "isolation.level": "read_committed", **QUIET}
        )
        self._consumer.assign([TopicPartition(topics.verdicts, partition, 0) for partition in range(2)])
        self._ended = threading.Event()
        self.count = 0
        self.latencies: list[tuple[float, float]] = []  # time of reading, and latency, of every 20th verdict

    def run(self) -> None:
        """Read until `stop` is called."""
        while not self._ended.is_set():
            now = time.time()
            messages = [message for message in self._consumer.consume(2000, 0.02) if not message.error()]
            self.latencies += [(now, time.time() - message.timestamp()[1] / 1000) for message in messages[::20]]
            self.count += len(messages)
        self._consumer.close()

    def stop(self) -> None:
        """Stop reading."""
        self._ended.set()
        self.join()


@pytest.mark.long
def test_a_soak(broker: str, start_process: StartProcess, capsys: pytest.CaptureFixture[str]) -> None:
    topics, records, port = Topics(broker, config=SMALL), values(rows(2000)), free_port()
    reader = Reader(topics)
    reader.start()
    worker = start_process(*topics.options, "--metrics-port", port)
    until(lambda: "partitions assigned" in worker.log)
    sent = topics.send(itertools.islice(itertools.cycle(records), BACKLOG))
    began = time.monotonic()
    until(lambda: reader.count >= sent, 300)
    rate = LOAD * BACKLOG / (time.monotonic() - began)
    memories, soaking = [], time.time()
    while (passed := time.time() - soaking) < SECONDS:
        due = BACKLOG + int(passed * rate)
        sent = topics.put((records[number % len(records)] for number in range(sent, due)), sent)
        if passed > len(memories) * SECONDS / 60:
            memories.append(memory(worker.process.pid))
        time.sleep(0.02)
    topics.flush()
    until(lambda: reader.count >= sent, 120)
    reader.stop()
    aborted = metrics(port).get(("residuum_stream_transactions_total", "aborted"), 0)
    assert worker.stop() == 0
    assert reader.count == sent
    times, latencies = np.array(reader.latencies).T
    report = [f"{rate:,.0f} records/s ({LOAD:.0%} of the capacity), {sent:,} records, {aborted:.0f} transactions aborted"]
    for part in range(PARTS):
        is_in_part = (times - soaking) // (SECONDS / PARTS) == part
        p50, p99 = 1000 * np.percentile(latencies[is_in_part], [50, 99])
        megabytes = memories[len(memories) * (part + 1) // PARTS - 1]
        report.append(f"part {part + 1} of {PARTS}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {megabytes:.0f} MB")
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(report) + "\n")
    settled = len(memories) // PARTS
    assert max(memories[settled:]) < memories[settled - 1] + GROWTH
