"""Copies dead letters back to the topic that they came from, each exactly once, after their cause is fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from detector.errors import SettingError, StreamError
from serving.stream import dead_letters
from serving.stream.addresses import Topic
from serving.stream.base import ConnectionLost, RetryBatch
from serving.stream.kafka import config
from serving.stream.kafka.consumer import KafkaRecord
from serving.stream.kafka.errors import exception_for, is_fatal
from serving.stream.kafka.offsets import OffsetCommit
from serving.stream.kafka.producer import BY_KEY, KafkaProducer, Message

BATCH_RECORDS = 500
POLL_TIMEOUT = 0.5  # seconds
METADATA_TIMEOUT = 30.0  # seconds


class ReplayCounts(NamedTuple):
    """How many dead letters were replayed, have another reason, were too large to be kept whole, or expired before."""

    replayed: int = 0
    skipped: int = 0
    incomplete: int = 0
    expired: int = 0


class ReplayJob(NamedTuple):
    """Which dead letters to replay, and where to."""

    source: Topic
    to: Topic
    group: str
    reason: str | None  # None: all
    kafka: Mapping[str, str]


def replay(job: ReplayJob, on_progress: Callable[[ReplayCounts], None]) -> ReplayCounts:
    """Replay the dead letters that exist now; the group's offsets mark those that were replayed before.

    Raises:
        SettingError: a setting is invalid, or the topics are on different brokers.
        StreamError: the replay cannot continue; a second run continues it.
    """
    if job.source.brokers != job.to.brokers:
        raise SettingError("--from and --to must name the same brokers: one transaction holds the dead letters and their offsets")
    try:
        settings = config.producer(job.to.brokers, f"residuum-{job.group}", job.kafka)
        producer = KafkaProducer(settings, job.kafka, transactional=True)
        try:
            return _replay_all(job, producer, on_progress)
        finally:
            producer.close()
    except (RetryBatch, ConnectionLost, KafkaException) as error:
        raise StreamError(f"{error}; run it again: it continues with the dead letters that are not replayed yet") from error


def _replay_all(job: ReplayJob, producer: KafkaProducer, on_progress: Callable[[ReplayCounts], None]) -> ReplayCounts:
    settings = config.consumer(job.source.brokers, job.group, None, job.kafka) | {"enable.partition.eof": True}
    with config.mask_errors(job.kafka):
        consumer = Consumer(settings)
    counts, finished = ReplayCounts(), set[int]()
    try:
        # Without these ends the replay would not end: a record that fails again becomes a new dead letter.
        watermarks = _watermarks(consumer, job.source.name)
        ends = {partition: end for partition, (_, end) in watermarks.items()}
        counts = counts._replace(expired=_count_expired(consumer, job.source.name, watermarks))
        consumer.subscribe([job.source.name])
        while True:
            messages = cast("list[KafkaRecord]", consumer.consume(BATCH_RECORDS, POLL_TIMEOUT))
            records = _records(messages, ends, finished)
            offset_commit = _offset_commit(consumer, job.source.name, records)
            if records:
                matching = [record for record in records if _matches(record, job.reason)]
                selected = [record for record in matching if dead_letters.OMITTED not in dict(record.headers() or ())]
                producer.send(job.to.name, map(_original_message, selected))
                producer.flush()
                producer.commit(offset_commit)
                counts = ReplayCounts(
                    counts.replayed + len(selected),
                    counts.skipped + len(records) - len(matching),
                    counts.incomplete + len(matching) - len(selected),
                    counts.expired,
                )
                on_progress(counts)
            elif (assigned := {each.partition for each in consumer.assignment()}) and assigned <= finished:
                return counts
    finally:
        consumer.close()


def _original_message(record: KafkaRecord) -> Message:
    """Return the record that became this dead letter."""
    headers = dead_letters.without_error_headers(record.headers() or ())
    return record.value(), record.key(), headers, max(0, record.timestamp()[1]), BY_KEY


def _watermarks(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """Return the current start and end of each partition."""
    partitions = consumer.list_topics(topic, METADATA_TIMEOUT).topics[topic].partitions
    return {partition: _watermarks_of(consumer, TopicPartition(topic, partition)) for partition in partitions}


def _watermarks_of(consumer: Consumer, partition: TopicPartition) -> tuple[int, int]:
    watermarks = cast("tuple[int, int] | None", consumer.get_watermark_offsets(partition, METADATA_TIMEOUT))
    if watermarks is None:
        raise ConnectionLost("the brokers did not return the end of the dead letters")
    return watermarks


def _count_expired(consumer: Consumer, topic: str, watermarks: Mapping[int, tuple[int, int]]) -> int:
    """Return how many offsets after the group's positions have expired."""
    partitions = [TopicPartition(topic, partition) for partition in watermarks]
    positions = consumer.committed(partitions, METADATA_TIMEOUT)
    return sum(max(0, watermarks[each.partition][0] - each.offset) for each in positions if each.offset >= 0)


def _records(messages: Sequence[KafkaRecord], ends: Mapping[int, int], finished: set[int]) -> list[KafkaRecord]:
    """Return the records before the ends, and add partitions that have reached theirs to `finished`."""
    records = []
    for message in messages:
        error = message.error()
        if error is None:
            if message.offset() < ends[message.partition()]:
                records.append(message)
            if message.offset() + 1 >= ends[message.partition()]:
                finished.add(message.partition())
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own errors begin so
            finished.add(message.partition())
        elif is_fatal(error):
            raise exception_for("read", error)
    return records


def _offset_commit(consumer: Consumer, topic: str, records: Sequence[KafkaRecord]) -> OffsetCommit:
    member_id = consumer.memberid()
    ends = {record.partition(): record.offset() + 1 for record in records}
    offsets = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    return OffsetCommit(offsets, consumer.consumer_group_metadata(), lambda: bool(member_id) and consumer.memberid() == member_id)


def _matches(record: KafkaRecord, reason: str | None) -> bool:
    """Return whether a dead letter has this reason; None matches all."""
    return reason is None or dict(record.headers() or ()).get(f"{dead_letters.PREFIX}reason") == reason.encode()
