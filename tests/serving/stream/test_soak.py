"""Half an hour at seven tenths of what a worker can do: every record is answered, memory is flat, and latency is told."""

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
from tests.serving.stream.conftest import TORTURE, Start, Topics, memory, metrics, rows, until, values

SECONDS = 1800 if TORTURE else 20
LOAD = 0.7
BACKLOG = 100_000 if TORTURE else 20_000
PARTS = 6  # of the time, each told by itself
SMALL = {"retention.bytes": "200000000", "segment.bytes": "50000000"}  # so that the disk lasts
GROWTH = 50  # MB


class Reader(threading.Thread):
    """Reads verdicts as they come, and takes down how long after its record's sending each did."""

    def __init__(self, topics: Topics) -> None:
        super().__init__(daemon=True)
        self._consumer = Consumer(
            {"bootstrap.servers": topics.bootstrap, "group.id": "soak", "isolation.level": "read_committed", **QUIET}
        )
        self._consumer.assign([TopicPartition(topics.verdicts, place, 0) for place in range(2)])
        self._ended = threading.Event()
        self.count = 0
        self.late: list[tuple[float, float]] = []  # when it was read, and how late: of one in twenty

    def run(self) -> None:
        """Read until told to end."""
        while not self._ended.is_set():
            now, found = time.time(), [each for each in self._consumer.consume(2000, 0.02) if not each.error()]
            self.late += [(now, time.time() - each.timestamp()[1] / 1000) for each in found[::20]]
            self.count += len(found)
        self._consumer.close()

    def end(self) -> None:
        """Read no more."""
        self._ended.set()
        self.join()


@pytest.mark.long
def test_a_soak(broker: str, start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    topics, records, port = Topics(broker, config=SMALL), values(rows(2000)), free_port()
    reader = Reader(topics)
    reader.start()
    worker = start(*topics.flags, "--metrics-port", port)
    until(lambda: "partitions assigned" in worker.log)
    sent = topics.send(itertools.islice(itertools.cycle(records), BACKLOG))
    began = time.monotonic()
    until(lambda: reader.count >= sent, 300)
    rate = LOAD * BACKLOG / (time.monotonic() - began)
    held, soaking = [], time.time()
    while (passed := time.time() - soaking) < SECONDS:
        due = BACKLOG + int(passed * rate)
        sent = topics.put((records[at % len(records)] for at in range(sent, due)), sent)
        if passed > len(held) * SECONDS / 60:
            held.append(memory(worker.process.pid))
        time.sleep(0.02)
    topics.flush()
    until(lambda: reader.count >= sent, 120)
    reader.end()
    aborted = metrics(port).get(("residuum_stream_transactions_total", "aborted"), 0)
    assert worker.stop() == 0
    assert reader.count == sent
    when, late = np.array(reader.late).T
    said = [f"{rate:,.0f} records/s ({LOAD:.0%} of what it can), {sent:,} records, {aborted:.0f} transactions aborted"]
    for part in range(PARTS):
        p50, p99 = 1000 * np.percentile(late[(when - soaking) // (SECONDS / PARTS) == part], [50, 99])
        said.append(
            f"part {part + 1} of {PARTS}: p50 {p50:.0f} ms, p99 {p99:.0f} ms, {held[len(held) * (part + 1) // PARTS - 1]:.0f} MB"
        )
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(said) + "\n")
    assert max(held[len(held) // PARTS :]) < held[len(held) // PARTS - 1] + GROWTH
