"""What a consumer remembers over rebalances, on a real broker."""

from __future__ import annotations

from confluent_kafka import Consumer

from serving.stream.kafka.consumer import KafkaSource, Most
from serving.stream.metrics import Metrics
from tests.kafka.brokers import QUIET
from tests.serving.stream.conftest import Topics, until


def test_a_partition_that_was_taken_while_it_rested_works_when_it_is_back(topics: Topics) -> None:
    settings = {
        "bootstrap.servers": topics.bootstrap,
        "group.id": topics.group,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 300,
        "auto.offset.reset": "earliest",
        **QUIET,
    }
    metrics, taken = Metrics(list), set[int]()
    source = KafkaSource(Consumer(settings), topics.readings, metrics, Most(100, 1 << 20, 0.05))

    def take() -> None:
        batch = source.take()
        assert batch is not None
        taken.update(origin.partition for origin in batch.origins(range(len(batch))))

    def all_taken() -> bool:
        topics.send([b"{}"] * 10)
        take()
        return taken == {0, 1}

    until(all_taken)
    other = Consumer(settings)
    other.subscribe([topics.readings])

    def one_given_up() -> bool:
        source.idle(0.1)
        other.poll(0.1)
        return bool(other.assignment())

    until(one_given_up)
    other.close()
    take()
    taken.clear()
    until(all_taken)
    source.close()
