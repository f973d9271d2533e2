"""Reads records: batches of the assigned partitions, and what is needed to commit or to rewind them.

Rebalance callbacks run inside `poll` and `idle` only. Under the cooperative protocols a group's generation also changes without
a callback, so each batch keeps the group metadata from right after it was read.
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
from serving.stream.base import Headers, Origin, RetryBatch, SourceObserver
from serving.stream.batch_range import format_range
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.kafka.changelog import Changelog
from serving.stream.kafka.errors import check_consumer_error, describe, error_of, exception_for, reaction, translate_errors
from serving.stream.kafka.offsets import OffsetCommit
from serving.stream.kafka.positions import FoundPosition, GapObserver, PositionPolicy, Positions

IDLE_POLL = 0.1  # seconds
LAG_INTERVAL = 1.0  # seconds between two updates of the lag
ASSIGNMENT_NUMBERS = itertools.count()  # in this process
REQUEST_TIMEOUT = 10.0  # seconds
NO_PARTITION = -1
FIRST_BATCH = 100  # records; their size determines how many the next batches request


class KafkaRecord(Protocol):
    """A record as Kafka's client returns it; its own types also allow other kinds of messages."""

    def value(self) -> bytes | None:
        """Return the value."""

    def key(self) -> bytes | None:
        """Return the key."""

    def headers(self) -> Headers | None:
        """Return the headers."""

    def timestamp(self) -> tuple[int, int]:
        """Return the type of the timestamp, and the timestamp in ms."""

    def topic(self) -> str:
        """Return the topic."""

    def partition(self) -> int:
        """Return the partition."""

    def offset(self) -> int:
        """Return the offset."""

    def error(self) -> KafkaError | None:
        """Return the error that takes the place of a record, or None."""


class GroupMember(NamedTuple):
    """The group member that read a batch."""

    metadata: object  # its group metadata at that time
    has_kept: Callable[[Mapping[int, int]], bool]  # whether partitions still have the same assignment numbers


class KafkaBatch:
    """Records of some partitions of a topic."""

    has_keys = True

    def __init__(self, topic: str, records: Sequence[KafkaRecord], assignments: dict[int, int], member: GroupMember) -> None:
        self.topic = topic
        self.records = records
        self.assignments = assignments
        self._member = member
        self._partitions = [record.partition() for record in records]

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.records)

    @cached_property
    def values(self) -> Sequence[bytes | None]:
        """The value of each record."""
        return [record.value() for record in self.records]

    @cached_property
    def block(self) -> bytes:
        r"""All values, each followed by `\n`."""
        return b"\n".join([*(value or b"" for value in self.values), b""])

    def origins(self, indices: Sequence[int]) -> Sequence[Origin]:
        """Return topic, partition and offset of the records at these indices."""
        topic, partitions, records = self.topic, self._partitions, self.records
        return [Origin(topic, partitions[index], records[index].offset()) for index in indices]

    def partitions(self) -> Sequence[int]:
        """Return the partition of each record."""
        return self._partitions

    @cached_property
    def start_offsets(self) -> dict[int, int]:
        """The first offset of each partition."""
        first = dict(zip(reversed(self._partitions), reversed(self.records), strict=True))
        return {partition: record.offset() for partition, record in first.items()}

    @cached_property
    def end_offsets(self) -> dict[int, int]:
        """The offset after the last record of each partition."""
        last = dict(zip(self._partitions, self.records, strict=True))
        return {partition: record.offset() + 1 for partition, record in last.items()}

    @cached_property
    def position(self) -> OffsetCommit:
        """The offsets to commit with the verdicts."""
        offsets = [TopicPartition(self.topic, partition, end) for partition, end in self.end_offsets.items()]
        assignments = {partition: self.assignments[partition] for partition in self.end_offsets}
        return OffsetCommit(offsets, self._member.metadata, partial(self._member.has_kept, assignments))

    def keys(self, indices: Sequence[int]) -> Sequence[bytes | None]:
        """Return the keys of the records at these indices."""
        records = self.records
        return [records[index].key() for index in indices]

    def headers(self, indices: Sequence[int]) -> Sequence[Headers]:
        """Return the headers of the records at these indices."""
        records = self.records
        return [records[index].headers() or () for index in indices]

    def timestamps(self, indices: Sequence[int]) -> Sequence[int]:
        """Return when records were created, in ms; 0 where Kafka returns -1, for unknown."""
        records = self.records
        return [created if (created := records[index].timestamp()[1]) > 0 else 0 for index in indices]

    def is_blank(self, index: int) -> bool:  # noqa: ARG002 - `PolledBatch`
        """Return False: an empty record is a record."""
        return False


class BatchLimits(NamedTuple):
    """Maximum size of a batch, and how long it waits for more records."""

    records: int
    bytes: int
    linger: float  # seconds


class KafkaSource:
    """A topic, read as a member of a consumer group."""

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        observer: SourceObserver,
        limits: BatchLimits,
        policy: PositionPolicy,
        changelog: Changelog | None = None,
    ) -> None:
        """Join the group; `changelog` stores the windows of series."""
        self._changelog = changelog
        self._consumer = consumer
        self._topic = topic
        self._observer = observer
        self._limits = limits
        self._request = min(FIRST_BATCH, limits.records)  # records to request
        self._assignments: dict[int, int] = {}  # assigned partitions, and the numbers of their assignments
        self._positions = Positions(consumer, topic, policy, observer)
        self._gaps: GapObserver | None = None
        self._started: set[int] = set()  # assigned partitions whose position is usable: records came, or it was found
        self._found: dict[int, FoundPosition] = {}  # positions that replaced others, by assigned partition
        self._paused = False
        self._lag_updated = 0.0
        with translate_errors("join the group"):
            consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def observe_gaps(self) -> None:
        """Count the offsets that are missing: the topic is compacted."""
        self._gaps = GapObserver(self._topic, self._observer, self._committed)

    def poll(self) -> KafkaBatch | None:
        """Return the next records.

        Raises:
            ConnectionLost, StreamError: the consumer cannot continue.
        """
        with translate_errors("read"):
            self._resume()
            messages = cast("list[KafkaRecord]", self._consumer.consume(self._request, self._limits.linger))
            metadata, member_id = self._consumer.consumer_group_metadata(), self._consumer.memberid()
        assignments = dict(self._assignments)
        records = [message for message in messages if message.error() is None and message.partition() in assignments]
        if len(records) < len(messages):
            self._check_errors(messages)
        if len(self._started) < len(assignments):
            self._started.update(record.partition() for record in records)
        if self._gaps and records:
            with translate_errors("look up the position"):
                self._gaps.read((record.partition(), record.offset()) for record in records)
        with translate_errors("measure the lag"):
            self._update_lag()

        def has_kept(numbers: Mapping[int, int]) -> bool:
            is_same = all(self._assignments.get(partition) == number for partition, number in numbers.items())
            return is_same and bool(member_id) and self._consumer.memberid() == member_id

        batch = KafkaBatch(self._topic, records, assignments, GroupMember(metadata, has_kept))
        if records:
            self._request = self._next_request(batch)
        return batch

    def commit(self, batch: KafkaBatch, changes: Sequence[ChangelogRecord]) -> None:  # noqa: ARG002 - of series, a sink commits both
        """Commit the offsets; see `TransactionalSource` for a sink that commits them."""
        try:
            batch.position.check()
            self._consumer.commit(offsets=batch.position.offsets, asynchronous=False)
        except RetryBatch:
            event = "offsets not committed: another worker has the partitions, and scores the batch again"
            log().warning(event, records=format_range(batch))
        except KafkaException as exception:
            error = error_of(exception)
            if reaction(error) in {"fenced", "stop"}:
                raise exception_for("commit offsets", error) from exception
            # The next commit includes them.
            log().warning("offsets not committed", error=describe("commit offsets", error), records=format_range(batch))

    def read_state(self, partitions: Sequence[int]) -> Iterable[ChangelogRecord]:
        """Yield the changelog's records of these partitions."""
        return self._changelog.read(partitions) if self._changelog else ()

    def rewind(self, batch: KafkaBatch) -> None:
        """Seek to the start of a batch, in the partitions that this worker has kept since.

        Raises:
            ConnectionLost: the consumer cannot seek.
        """
        for partition, offset in batch.start_offsets.items():
            if self._assignments.get(partition) != batch.assignments[partition]:
                continue  # another worker's; or assigned again, and then read from the committed offset
            with translate_errors("rewind"):
                self._consumer.seek(TopicPartition(self._topic, partition, offset))

    def idle(self, seconds: float) -> None:
        """Wait with all partitions paused, and keep polling: the group's protocol requires it."""
        deadline = time.monotonic() + seconds
        with translate_errors("idle"):
            if not self._paused:
                self._paused = True
                self._pause([TopicPartition(self._topic, partition) for partition in self._assignments])
            while (remaining := deadline - time.monotonic()) > 0:
                messages = cast("list[KafkaRecord]", self._consumer.consume(1, min(IDLE_POLL, remaining)))
                self._check_errors(messages)
                for message in messages:
                    if not message.error():  # fetched before its partition was paused
                        self._consumer.seek(TopicPartition(self._topic, message.partition(), message.offset()))

    def close(self) -> None:
        """Leave the group."""
        self._assignments.clear()
        self._observer.set_assigned(0, 0)
        self._observer.set_lag({})
        with contextlib.suppress(KafkaException):  # raised by a callback before
            self._consumer.close()

    def _check_errors(self, messages: Sequence[KafkaRecord]) -> None:
        """Check the errors among messages, such as lost positions, a transport error, or a moved coordinator."""
        lost: dict[int, int | None] = {}
        for message in messages:
            if not (error := message.error()):
                continue
            if error.code() != KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the client's own errors begin so
                check_consumer_error(f"read{_place(message)}", error)
            elif message.partition() in self._assignments:
                offset = cast("int | None", message.offset())  # None where there is no position
                lost[message.partition()] = None if offset is None or offset < 0 else offset
        if lost:
            with translate_errors(f"find positions in topic {self._topic}, partitions {sorted(lost)}"):
                self._reset(lost)

    def _reset(self, lost: Mapping[int, int | None]) -> None:
        """Continue in partitions whose position is missing or gone; the client returns their errors one at a time."""
        # The client may return an error again after it was dealt with.
        again = {partition for partition, offset in lost.items() if self._is_known(partition, offset)}
        new = {partition: offset for partition, offset in lost.items() if partition not in again}
        fresh = self._assignments.keys() - self._started - lost.keys()
        found = self._positions.find(new, sorted(fresh)) if new else {}
        self._found |= found
        offsets = {partition: position.offset for partition, position in found.items()}
        for each in self._consumer.position([TopicPartition(self._topic, partition) for partition in again]):
            offsets[each.partition] = max(each.offset, self._found[each.partition].offset)
        positions = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        self._consumer.incremental_unassign(positions)  # the client refuses to seek in this state
        self._consumer.incremental_assign(positions)
        self._started |= offsets.keys()
        if self._gaps:
            for partition, offset in offsets.items():
                self._gaps.set_position(partition, offset)
        if self._paused:
            self._pause(positions)

    def _is_known(self, partition: int, lost: int | None) -> bool:
        """Return whether another position has replaced one that is gone."""
        found = self._found.get(partition)
        return found is not None and found.lost == lost

    def _committed(self, partition: int) -> int:
        """Return the group's position in a partition; negative if there is none."""
        (committed,) = self._consumer.committed([TopicPartition(self._topic, partition)], REQUEST_TIMEOUT)
        return committed.offset

    def _next_request(self, batch: KafkaBatch) -> int:
        """Return how many records of this mean size make a batch; it grows by at most a factor of four."""
        mean_bytes = max(1, len(batch.block) // len(batch))
        return max(1, min(self._limits.records, self._limits.bytes // mean_bytes, 4 * max(self._request, FIRST_BATCH)))

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._assignments:
                self._consumer.resume([TopicPartition(self._topic, partition) for partition in self._assignments])
            self._observer.set_assigned(len(self._assignments), 0)

    def _pause(self, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._consumer.pause(partitions)
        self._observer.set_assigned(len(self._assignments), len(self._assignments))

    def _update_lag(self) -> None:
        if time.monotonic() - self._lag_updated < LAG_INTERVAL:
            return
        self._lag_updated = time.monotonic()
        partitions = [TopicPartition(self._topic, partition) for partition in self._assignments]
        lag = {}
        for position in self._consumer.position(partitions) if partitions else ():
            _, high = self._consumer.get_watermark_offsets(position, cached=True) or (-1, -1)
            if position.offset >= 0 and high >= 0:
                lag[self._topic, position.partition] = max(0, high - position.offset)
        self._observer.set_lag(lag)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Accept partitions, paused if the source is idle."""
        consumer.incremental_assign(partitions)
        self._assignments.update((each.partition, next(ASSIGNMENT_NUMBERS)) for each in partitions)
        if self._paused:
            self._pause(partitions)
        elif partitions:
            consumer.resume(partitions)  # one that was revoked while paused is still paused when it returns (librdkafka 2.16)
        self._report_change("assigned", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Release partitions without a commit: the current batch will be aborted, earlier ones are committed."""
        self._unassign(consumer, partitions, "revoked")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Release partitions that may already be assigned to another worker."""
        self._unassign(consumer, partitions, "lost")

    def _unassign(self, consumer: Consumer, partitions: list[TopicPartition], event: str) -> None:
        consumer.incremental_unassign(partitions)
        for each in partitions:
            self._assignments.pop(each.partition, None)
            self._started.discard(each.partition)
            self._found.pop(each.partition, None)
            if self._gaps:
                self._gaps.forget(each.partition)
        self._report_change(event, partitions)

    def _report_change(self, event: str, partitions: list[TopicPartition]) -> None:
        if partitions:
            self._lag_updated = 0.0
            self._observer.rebalanced(event)
            self._observer.set_assigned(len(self._assignments), len(self._assignments) if self._paused else 0)
            log().info(f"partitions {event}", topic=self._topic, partitions=sorted(each.partition for each in partitions))


class TransactionalSource(KafkaSource):
    """A topic whose offsets the sink commits, in a transaction."""

    def commit(self, batch: KafkaBatch, changes: Sequence[ChangelogRecord]) -> None:
        """Do nothing: the sink has committed the offsets."""


def _place(message: KafkaRecord) -> str:
    """Return the place that an error concerns, as far as it names one."""
    parts = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
    known = [f"{name} {value}" for name, value in parts.items() if value is not None and value != NO_PARTITION]
    return f" {', '.join(known)}" if known else ""
