"""Records in: batches of a topic's partitions that are ours, and what is needed to go on or to go back.

Callbacks on partitions run inside `take` and `idle` only. Under the cooperative protocols a group's generation also moves
without any callback, so who we were is taken down with each batch, right after it was read.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple, Protocol, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from serving.log import log
from serving.stream.base import Again, Headers, Origin, Watcher
from serving.stream.changelog_records import Slot
from serving.stream.kafka.changelog import Changelog
from serving.stream.kafka.errors import error_of, lost_or_worse, meaning, raised, told, understood

TICK = 0.1  # seconds
LOOK = 1.0  # seconds between two looks at how much waits
TENURES = itertools.count()  # of partitions, in this process
FIRST = 100  # records of the first batch, from which follows how large they are


class Record(Protocol):
    """A record as Kafka's client gives it; its own types allow for messages of other kinds everywhere."""

    def value(self) -> bytes | None:
        """Give the value."""

    def key(self) -> bytes | None:
        """Give the key."""

    def headers(self) -> Headers | None:
        """Give the headers."""

    def timestamp(self) -> tuple[int, int]:
        """Give what kind of time it is, and the time in ms."""

    def topic(self) -> str:
        """Give the topic."""

    def partition(self) -> int:
        """Give the partition."""

    def offset(self) -> int:
        """Give the offset."""

    def error(self) -> KafkaError | None:
        """Give the error, if it is no record but one."""


class Claim(NamedTuple):
    """Offsets that are to be committed, and who wants them."""

    offsets: list[TopicPartition]
    metadata: object
    is_held: Callable[[], bool]

    def check(self) -> None:
        """Make sure that the partitions are still ours.

        Raises:
            Again: they are not.
        """
        if not self.is_held():
            raise Again("partitions were taken away while their batch was at work")


class Taker(NamedTuple):
    """Who took a batch."""

    metadata: object  # as the group knows it
    is_held: Callable[[Mapping[int, int]], bool]  # whether partitions are still theirs, and have been all the while


class KafkaBatch:
    """Records of some partitions."""

    keyed = True

    def __init__(self, topic: str, records: Sequence[Record], ours: dict[int, int], taker: Taker) -> None:
        """Take a topic's records, and since when each partition is ours."""
        self.topic = topic
        self.records = records
        self.ours = ours
        self._taker = taker
        self._partitions = [record.partition() for record in records]

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.records)

    @cached_property
    def values(self) -> Sequence[bytes | None]:
        """The value of each record."""
        return [record.value() for record in self.records]

    @cached_property
    def block(self) -> bytes:
        """All values, each with a line break behind it."""
        return b"\n".join([*(value or b"" for value in self.values), b""])

    def origins(self, at: Sequence[int]) -> Sequence[Origin]:
        """Where records stood."""
        topic, partitions, records = self.topic, self._partitions, self.records
        return [Origin(topic, partitions[place], records[place].offset()) for place in at]

    def partitions(self) -> Sequence[int]:
        """Give the partition of each record."""
        return self._partitions

    @cached_property
    def starts(self) -> dict[int, int]:
        """The first offset of each partition."""
        first = dict(zip(reversed(self._partitions), reversed(self.records), strict=True))
        return {partition: record.offset() for partition, record in first.items()}

    @cached_property
    def ends(self) -> dict[int, int]:
        """The offset behind the last one of each partition."""
        last = dict(zip(self._partitions, self.records, strict=True))
        return {partition: record.offset() + 1 for partition, record in last.items()}

    @cached_property
    def claim(self) -> Claim:
        """What is to be committed with the verdicts."""
        offsets = [TopicPartition(self.topic, partition, end) for partition, end in self.ends.items()]
        tenures = {partition: self.ours[partition] for partition in self.ends}
        return Claim(offsets, self._taker.metadata, partial(self._taker.is_held, tenures))

    def keys(self, at: Sequence[int]) -> Sequence[bytes | None]:
        """Give the keys of records."""
        records = self.records
        return [records[place].key() for place in at]

    def headers(self, at: Sequence[int]) -> Sequence[Headers]:
        """Give the headers of records."""
        records = self.records
        return [records[place].headers() or () for place in at]

    def times(self, at: Sequence[int]) -> Sequence[int]:
        """Give when records were made; of one that does not say, Kafka says -1."""
        records = self.records
        return [made if (made := records[place].timestamp()[1]) > 0 else 0 for place in at]

    def is_blank(self, at: int) -> bool:  # noqa: ARG002 - `Batch`
        """Give no: an empty record is a record."""
        return False


class Most(NamedTuple):
    """How large a batch may be, and how long it waits to become so."""

    records: int
    bytes: int
    linger: float  # seconds


class KafkaSource:
    """A topic, shared with the other members of a group."""

    def __init__(self, consumer: Consumer, topic: str, watcher: Watcher, most: Most, changelog: Changelog | None = None) -> None:
        """Join the group; `changelog` keeps the windows of series."""
        self._changelog = changelog
        self._consumer = consumer
        self._topic = topic
        self._watcher = watcher
        self._most = most
        self._next = min(FIRST, most.records)  # records to ask for
        self._owned: dict[int, int] = {}  # partitions that are ours, and the number of the time that they became it
        self._paused = False
        self._looked = 0.0
        self._behind: dict[tuple[str, int], int] = {}
        with understood("join the group"):
            consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def take(self) -> KafkaBatch | None:
        """Give the records that have come.

        Raises:
            Lost, StreamError: the consumer is of no use any more.
        """
        with understood("read"):
            self._resume()
            found = cast("list[Record]", self._consumer.consume(self._next, self._most.linger))
            metadata, member = self._consumer.consumer_group_metadata(), self._consumer.memberid()
        ours = dict(self._owned)
        records = [record for record in found if record.error() is None and record.partition() in ours]
        if len(records) < len(found):
            self._heed(found)
        with understood("see how much waits"):
            self._look()

        def is_held(tenures: Mapping[int, int]) -> bool:
            same = all(self._owned.get(partition) == tenure for partition, tenure in tenures.items())
            return same and bool(member) and self._consumer.memberid() == member

        batch = KafkaBatch(self._topic, records, ours, Taker(metadata, is_held))
        if records:
            self._next = self._fitting(batch)
        return batch

    def commit(self, batch: KafkaBatch, slots: Sequence[Slot]) -> None:  # noqa: ARG002 - of series, a sink commits both
        """Commit the offsets; with transactions `TransactionalSource` is used, whose sink has done so."""
        try:
            batch.claim.check()
            self._consumer.commit(offsets=batch.claim.offsets, asynchronous=False)
        except Again:
            log().warning("offsets not committed: the partitions are another worker's, who judges the batch again")
        except KafkaException as error:
            found = error_of(error)
            if meaning(found) in {"fenced", "end"}:
                raise raised("commit offsets", found) from error
            log().warning("offsets not committed", said=told("commit offsets", found))  # the next batch's offsets say it again

    def recall(self, partitions: Sequence[int]) -> Iterable[Slot]:
        """Give what the changelog holds of these partitions."""
        return self._changelog.read(partitions) if self._changelog else ()

    def rewind(self, batch: KafkaBatch) -> None:
        """Go back to the beginning of a batch, in those partitions that were ours all the while.

        Raises:
            Lost: there is no going back.
        """
        for partition, start in batch.starts.items():
            if self._owned.get(partition) != batch.ours[partition]:
                continue  # another's; or ours again, and then from what was committed on
            with understood("go back"):
                self._consumer.seek(TopicPartition(self._topic, partition, start))

    def idle(self, seconds: float) -> None:
        """Rest: no records, but the group hears of us, and so do we of it."""
        until = time.monotonic() + seconds
        with understood("rest"):
            if not self._paused:
                self._paused = True
                self._pause([TopicPartition(self._topic, partition) for partition in self._owned])
            while (left := until - time.monotonic()) > 0:
                found = cast("list[Record]", self._consumer.consume(1, min(TICK, left)))
                self._heed(found)
                for record in found:
                    if not record.error():  # it was on its way when its partition was told to rest
                        self._consumer.seek(TopicPartition(self._topic, record.partition(), record.offset()))

    def close(self) -> None:
        """Leave the group."""
        self._owned.clear()
        self._watcher.held(0, 0)
        self._watcher.behind({})
        with contextlib.suppress(KafkaException):  # a callback's, which was told before
            self._consumer.close()

    def _heed(self, found: Sequence[Record]) -> None:
        """Look at the errors that came among the records."""
        for record in found:
            error = record.error()
            if error is None:
                continue
            if error.fatal() or meaning(error) in {"fenced", "end"}:
                raise lost_or_worse("read", error)
            # _MAX_POLL_EXCEEDED, transport trouble, a coordinator that moves: the client mends these itself
            log().warning("reading", said=told("read", error))

    def _fitting(self, batch: KafkaBatch) -> int:
        """Give how many records like these make a batch."""
        mean = max(1, len(batch.block) // len(batch))
        return max(1, min(self._most.records, self._most.bytes // mean, 4 * max(self._next, FIRST)))

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._owned:
                self._consumer.resume([TopicPartition(self._topic, partition) for partition in self._owned])
            self._watcher.held(len(self._owned), 0)

    def _pause(self, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._consumer.pause(partitions)
        self._watcher.held(len(self._owned), len(self._owned))

    def _look(self) -> None:
        """See how many records wait, now and then."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        places = [TopicPartition(self._topic, partition) for partition in self._owned]
        lag = {}
        for place in self._consumer.position(places) if places else ():
            ends = self._consumer.get_watermark_offsets(place, cached=True) or (-1, -1)
            if place.offset >= 0 and ends[1] >= 0:
                lag[self._topic, place.partition] = max(0, ends[1] - place.offset)
        self._watcher.behind(lag)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions; those that come while we rest, rest."""
        consumer.incremental_assign(partitions)
        self._owned.update((each.partition, next(TENURES)) for each in partitions)
        if self._paused:
            self._pause(partitions)
        elif partitions:
            consumer.resume(partitions)  # one that went while it rested rests still when it is back (librdkafka 2.16)
        self._changed("assigned", partitions)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give partitions up; nothing is committed here: what is at work is aborted, or was committed already."""
        consumer.incremental_unassign(partitions)
        for each in partitions:
            self._owned.pop(each.partition, None)
        self._changed("revoked", partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Lose partitions that are another's already."""
        consumer.incremental_unassign(partitions)
        for each in partitions:
            self._owned.pop(each.partition, None)
        self._changed("lost", partitions)

    def _changed(self, event: str, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._looked = 0.0
            self._watcher.rebalanced(event)
            self._watcher.held(len(self._owned), len(self._owned) if self._paused else 0)
            log().info(f"partitions {event}", topic=self._topic, partitions=sorted(each.partition for each in partitions))


class TransactionalSource(KafkaSource):
    """A topic whose offsets are committed in the transaction that holds the verdicts."""

    def commit(self, batch: KafkaBatch, slots: Sequence[Slot]) -> None:
        """Do nothing: the sink has committed the offsets."""
