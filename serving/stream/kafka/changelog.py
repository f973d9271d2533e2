"""The windows of series in a compacted topic, one record for each key and place in its ring, in the input's own partitions.

What a worker writes there is part of the transaction that commits its offsets, so a partition's windows always stand where its
position stands. They are read to the end that the partition has when it came to us, *not* to what is committed of it by then: a
predecessor's last transaction may be decided, its offsets to be had already, and its records here not yet to be seen. To wait
for that end is to wait until every transaction before it is decided, a dead worker's too, which ends with its timeout.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # which its documentation names

from serving.log import log
from serving.stream.base import Lost
from serving.stream.changelog_records import Slot
from serving.stream.kafka.config import Config
from serving.stream.kafka.errors import lost_or_worse, meaning, told, understood

READING = "read the changelog"
TICK = 0.1  # seconds
AT_ONCE = 2000  # records
PATIENCE = 90.0  # seconds without a record: more than a transaction may stay open
SAY = 5.0  # seconds without one, until it is told what is waited for
ANSWER = 10.0  # seconds that brokers have to tell of an end
PLACE = 4  # bytes of a place in a record's key, before the series'


def key_of(slot: Slot) -> bytes:
    """Give the key of a slot's record."""
    return slot.place.to_bytes(PLACE, "big") + slot.key.encode()


class Changelog:
    """The topic, to be read from."""

    def __init__(self, topic: str, consumer: Config, admin: AdminClient) -> None:
        """Take the settings of a consumer, which is made when it is first needed."""
        self._topic = topic
        self._settings = {**consumer, "enable.partition.eof": True, "fetch.wait.max.ms": 10}
        self._admin = admin

    def read(self, partitions: Sequence[int]) -> Iterator[Slot]:
        """Give the slots of partitions, each partition's in the order in which they were written.

        Raises:
            Lost, StreamError: they cannot be read.
        """
        with understood(READING):
            ends = self._ends(partitions)
            left = {partition for partition, end in ends.items() if end > 0}
            if not left:
                return
            consumer = Consumer(self._settings)
            with contextlib.closing(consumer):
                consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in left])
                yield from self._slots(consumer, ends, left)

    def _slots(self, consumer: Consumer, ends: dict[int, int], left: set[int]) -> Iterator[Slot]:
        """Read until each partition's end has come."""
        heard, said = time.monotonic(), 0.0
        while left:
            for message in consumer.consume(AT_ONCE, TICK):
                error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
                if error is None:
                    heard, said = time.monotonic(), 0.0
                    key = message.key() or b""
                    name = key[PLACE:].decode(errors="replace")  # of a stranger's record, whose value is passed over
                    yield Slot(partition, name, int.from_bytes(key[:PLACE], "big"), message.value())
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own errors begin so
                    # The end of what is decided, which may still be before the end.
                    if offset >= ends[partition]:
                        left.discard(partition)
                elif error.fatal() or meaning(error) in {"fenced", "end"}:
                    raise lost_or_worse(READING, error)
                else:
                    log().warning("reading", said=told(READING, error))  # the client mends it itself
            silent = time.monotonic() - heard
            if silent > said + SAY:
                said = silent
                log().info("waiting for a transaction to be decided", topic=self._topic, partitions=sorted(left))
            if silent > PATIENCE:
                raise Lost(f"{self._topic}: the end of partitions {sorted(left)} is not decided after {PATIENCE:.0f} s")

    def _ends(self, partitions: Sequence[int]) -> dict[int, int]:
        """Give where partitions end now, whatever of them is decided."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        found = self._admin.list_offsets(
            {TopicPartition(self._topic, partition): latest for partition in partitions},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=ANSWER,
        )
        return {place.partition: answer.result().offset for place, answer in found.items()}
