"""The windows of series in a compacted topic: a record for each key and ring index, in the partition of the input.

A worker writes these records in the transaction that commits its offsets, so a partition's windows always match its committed
position. A worker reads a partition to the end that it had when it was assigned, *not* to the last stable offset: the offsets of
the previous worker's last transaction may be visible while its records here are not. Reaching that end means that every earlier
transaction is decided, including that of a dead worker, which ends by its timeout.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined] # documented, but not exported

from serving.log import log
from serving.stream.base import ConnectionLost
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.kafka.config import Config
from serving.stream.kafka.errors import check_consumer_error, translate_errors

ACTION = "read the changelog"
POLL_TIMEOUT = 0.1  # seconds
MAX_RECORDS = 2000  # per poll
READ_TIMEOUT = 90.0  # seconds without a record: longer than a transaction may stay open
LOG_INTERVAL = 5.0  # seconds without a record between two log lines
ADMIN_TIMEOUT = 10.0  # seconds
INDEX_BYTES = 4  # of a record's key; the series' key follows


def key_of(record: ChangelogRecord) -> bytes:
    """Return the key of a record's message."""
    return record.ring_index.to_bytes(INDEX_BYTES, "big") + record.key.encode()


class Changelog:
    """Reader of the topic."""

    def __init__(self, topic: str, settings: Config, admin: AdminClient) -> None:
        """Keep the settings of a consumer, which `read` creates."""
        self._topic = topic
        self._settings = {**settings, "enable.partition.eof": True, "fetch.wait.max.ms": 10}
        self._admin = admin

    def read(self, partitions: Sequence[int]) -> Iterator[ChangelogRecord]:
        """Yield the records of partitions, those of each partition in the order in which they were written.

        Raises:
            ConnectionLost, StreamError: they cannot be read.
        """
        with translate_errors(ACTION):
            ends = {partition: end for partition, end in self._end_offsets(partitions).items() if end > 0}
            if not ends:
                return
            with contextlib.closing(Consumer(self._settings)) as consumer:
                consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING) for partition in ends])
                yield from self._records(consumer, ends)

    def _records(self, consumer: Consumer, ends: dict[int, int]) -> Iterator[ChangelogRecord]:
        """Read each partition to its end."""
        last_record, last_log = time.monotonic(), 0.0
        unfinished = set(ends)
        while unfinished:
            for message in consumer.consume(MAX_RECORDS, POLL_TIMEOUT):
                error, partition, offset = message.error(), message.partition() or 0, message.offset() or 0
                if error is None:
                    last_record, last_log = time.monotonic(), 0.0
                    key = message.key() or b""
                    name = key[INDEX_BYTES:].decode(errors="replace")  # in case of a foreign record, which is skipped later
                    yield ChangelogRecord(partition, name, int.from_bytes(key[:INDEX_BYTES], "big"), message.value())
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own errors begin so
                    # The last stable offset, which may still be before the end.
                    if offset >= ends[partition]:
                        unfinished.discard(partition)
                else:
                    check_consumer_error(ACTION, error)
            silence = time.monotonic() - last_record
            if silence > last_log + LOG_INTERVAL:
                last_log = silence
                log().info("waiting for an open transaction to end", topic=self._topic, partitions=sorted(unfinished))
            if silence > READ_TIMEOUT:
                raise ConnectionLost(
                    f"{self._topic}: a transaction in partitions {sorted(unfinished)} is still open after {READ_TIMEOUT:.0f} s"
                )

    def _end_offsets(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return the current end of each partition, including open transactions."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        futures = self._admin.list_offsets(
            {TopicPartition(self._topic, partition): latest for partition in partitions},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=ADMIN_TIMEOUT,
        )
        return {topic_partition.partition: future.result().offset for topic_partition, future in futures.items()}
