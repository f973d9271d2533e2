"""Dead letters put back where they came from, once what was wrong is mended: each exactly once, whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from detector.errors import SettingError, StreamError
from serving.stream import dead_letters
from serving.stream.addresses import Topic
from serving.stream.base import Again, Lost
from serving.stream.kafka import config
from serving.stream.kafka.consumer import Claim, Record
from serving.stream.kafka.errors import raised
from serving.stream.kafka.producer import BY_KEY, Delivery, Message

AT_ONCE = 500
WAIT = 0.5  # seconds for a batch
WITHIN = 30.0  # seconds in which the brokers tell where the letters end


class Replayed(NamedTuple):
    """How many letters were put back, and how many were passed over."""

    back: int = 0
    passed: int = 0


class Replay(NamedTuple):
    """What to put back where."""

    source: Topic
    to: Topic
    group: str
    reason: str | None  # None: all
    kafka: Mapping[str, str]


def replay(job: Replay, watch: Callable[[Replayed], None]) -> Replayed:
    """Put back the letters that are there now; the group's offsets say which were put back already.

    Raises:
        SettingError: a setting cannot be honoured, or the topics are of different brokers.
        StreamError: it cannot go on; what was put back is not put back again.
    """
    if job.source.brokers != job.to.brokers:
        raise SettingError("--from and --to name other brokers: letters are put back in one transaction with their offsets")
    try:
        delivery = Delivery(config.producer(job.to.brokers, f"residuum-{job.group}", job.kafka), job.kafka, transactional=True)
        try:
            return _replayed(job, delivery, watch)
        finally:
            delivery.close()
    except (Again, Lost, KafkaException) as error:
        raise StreamError(f"{error}; run it again: what was put back is not put back twice") from error


def _replayed(job: Replay, delivery: Delivery, watch: Callable[[Replayed], None]) -> Replayed:
    """Read to where the end is now, and put back."""
    made = config.consumer(job.source.brokers, job.group, None, job.kafka) | {"enable.partition.eof": True}
    with config.told(job.kafka):
        consumer = Consumer(made)
    done, at_end = Replayed(), set[int]()
    try:
        # A letter that is not mended comes again behind these: without them, there would be no end.
        ends = _ends(consumer, job.source.name)
        consumer.subscribe([job.source.name])
        while True:
            found = cast("list[Record]", consumer.consume(AT_ONCE, WAIT))
            claim = _claim(consumer, job.source.name, records := _records(found, ends, at_end))
            if records:
                wanted = [record for record in records if _is_wanted(record, job.reason)]
                delivery.send(job.to.name, map(_put_back, wanted))
                delivery.flush()
                delivery.commit(claim)
                done = Replayed(done.back + len(wanted), done.passed + len(records) - len(wanted))
                watch(done)
            elif (ours := {each.partition for each in consumer.assignment()}) and ours <= at_end:
                return done
    finally:
        consumer.close()


def _put_back(letter: Record) -> Message:
    """Give a letter as the record that it was."""
    headers = dead_letters.own(letter.headers() or ())
    return letter.value(), letter.key(), headers, max(0, letter.timestamp()[1]), BY_KEY


def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
    """Give where each partition ends now."""
    places = consumer.list_topics(topic, WITHIN).topics[topic].partitions
    return {place: _end(consumer, TopicPartition(topic, place)) for place in places}


def _end(consumer: Consumer, place: TopicPartition) -> int:
    """Give where a partition ends now."""
    found = cast("tuple[int, int] | None", consumer.get_watermark_offsets(place, WITHIN))
    if found is None:
        raise Lost("the brokers do not tell where the letters end")
    return found[1]


def _records(found: Sequence[Record], ends: Mapping[int, int], at_end: set[int]) -> list[Record]:
    """Give the records that were there at the start, and take down which partitions have no more."""
    records = []
    for each in found:
        error = each.error()
        if error is None:
            if each.offset() < ends[each.partition()]:
                records.append(each)
            if each.offset() + 1 >= ends[each.partition()]:
                at_end.add(each.partition())
        elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own errors begin so
            at_end.add(each.partition())
        elif error.fatal():
            raise raised("read", error)
    return records


def _claim(consumer: Consumer, topic: str, records: Sequence[Record]) -> Claim:
    """Claim what was read."""
    member = consumer.memberid()
    ends = {record.partition(): record.offset() + 1 for record in records}
    offsets = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
    return Claim(offsets, consumer.consumer_group_metadata(), lambda: bool(member) and consumer.memberid() == member)


def _is_wanted(record: Record, reason: str | None) -> bool:
    """Whether a letter is to be put back."""
    return reason is None or dict(record.headers() or ()).get(f"{dead_letters.PREFIX}reason") == reason.encode()
