"""Where reading starts in a partition without a position, or whose position is gone; and what is passed over without being read.

The client does not reset a position itself: it would not say so. It returns an error instead, and `Positions` decides, logs the
range of offsets, and counts it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from detector.errors import SettingError, StreamError
from serving.log import log
from serving.stream.base import SourceObserver
from serving.stream.kafka.errors import describe, error_of
from serving.stream.settings import LostPosition

EARLIEST, LATEST = -2, -1  # "times" that Kafka's requests for offsets know
TIMES = {"earliest": EARLIEST, "latest": LATEST}
TIMEOUT = 10.0  # seconds
GAP_INTERVAL = 60.0  # seconds between two warnings about gaps
MAX_GAPS = 5  # in a warning


class PositionPolicy(NamedTuple):
    """What to do in a partition without a usable position."""

    start: int  # of a new group: a time in ms, EARLIEST or LATEST
    on_lost: LostPosition

    @classmethod
    def of(cls, start: str, on_lost: LostPosition) -> PositionPolicy:
        """Read the settings.

        Raises:
            SettingError: `start` is neither earliest, latest nor a time.
        """
        return cls(TIMES[start] if start in TIMES else _milliseconds(start), on_lost)


class FoundPosition(NamedTuple):
    """Where to continue in a partition."""

    offset: int
    lost: int | None  # the position that is gone; None if there was none


class Positions:
    """Finds positions in the partitions of one topic."""

    def __init__(self, consumer: Consumer, topic: str, policy: PositionPolicy, observer: SourceObserver) -> None:
        self._consumer = consumer
        self._topic = topic
        self._policy = policy
        self._observer = observer

    def find(self, lost: Mapping[int, int | None], fresh: Collection[int]) -> dict[int, FoundPosition]:
        """Return where to continue, by partition.

        `lost` has the partitions without a usable position: the one that is gone, or None if there was none. `fresh` partitions
        have not been read yet; those among them without a usable position are found at once, and not one after the other.

        Raises:
            KafkaException: the brokers do not answer.
            StreamError: a position is gone, and the policy is to stop.
        """
        committed = self._committed(fresh)
        partitions = [*lost, *fresh]
        low, high = self._offsets(partitions, EARLIEST), self._offsets(partitions, LATEST)
        is_usable = {partition: low[partition] <= committed[partition] <= high[partition] for partition in fresh}
        gone = {**lost, **{each: committed[each] if committed[each] >= 0 else None for each in fresh if not is_usable[each]}}
        missing = [partition for partition, position in gone.items() if position is None]
        starts = self._starts(missing, low, high) if missing else {}
        found, commits = {}, []
        for partition, position in gone.items():
            ends = low[partition], high[partition]
            offset = starts[partition] if position is None else self._after_loss(partition, position, *ends)
            found[partition] = FoundPosition(offset, position)
            if position is not None or offset != low[partition]:
                commits.append(TopicPartition(self._topic, partition, offset))
        if commits:
            self._commit(commits)  # a restart before the first batch finds them, and not later ends
        return found

    def _starts(self, partitions: Sequence[int], low: Mapping[int, int], high: Mapping[int, int]) -> dict[int, int]:
        """Return where to start in partitions without a position."""
        start = self._policy.start
        if start == EARLIEST or self._is_known_group():  # a known group has not seen these partitions yet: they are new
            found = {partition: low[partition] for partition in partitions}
        else:
            offsets = self._offsets(partitions, start)
            found = {each: offset if offset >= 0 else high[each] for each, offset in offsets.items()}  # -1: no record is that new
        log().info("no position yet: starting", topic=self._topic, positions=found)
        return found

    def _after_loss(self, partition: int, lost: int, low: int, high: int) -> int:
        if lost < low:
            problem, expired = f"the records at offsets {lost} to {low - 1} expired before they were read", low - lost
            remedy = "keep records for longer (retention.ms, retention.bytes), or start more workers"
        else:
            problem, expired = f"the partition ends at offset {high}", 0
            remedy = "was the topic truncated, or deleted and created again? a topic of another name needs another --group"
        if self._policy.on_lost == "stop":
            raise StreamError(
                f"topic {self._topic}, partition {partition}, offset {lost}: {problem}; --on-lost-position is stop: start again "
                f"with earliest (continues at {low}) or latest (continues at {high})"
            )
        offset = high if self._policy.on_lost == "latest" else low
        self._observer.skipped(self._topic, partition, "expired", expired)
        self._observer.skipped(self._topic, partition, "reset", offset - low)
        reset = (
            f"; the records at offsets {low} to {offset - 1} are skipped: --on-lost-position is latest" if offset > low else ""
        )
        log().warning(
            f"position lost: {problem}{reset}",
            topic=self._topic,
            partition=partition,
            position=lost,
            continued_at=offset,
            remedy=remedy,
        )
        return offset

    def _is_known_group(self) -> bool:
        """Return whether the group has a position in any partition."""
        partitions = self._consumer.list_topics(self._topic, TIMEOUT).topics[self._topic].partitions
        return any(offset >= 0 for offset in self._committed(partitions).values())

    def _committed(self, partitions: Iterable[int]) -> dict[int, int]:
        """Return the group's positions; negative where it has none."""
        wanted = [TopicPartition(self._topic, each) for each in partitions]
        return {each.partition: each.offset for each in self._consumer.committed(wanted, TIMEOUT)} if wanted else {}

    def _offsets(self, partitions: Sequence[int], timestamp: int) -> dict[int, int]:
        """Return the first offset of each partition at or after a time; -1 if there is none."""
        found = self._consumer.offsets_for_times([TopicPartition(self._topic, each, timestamp) for each in partitions], TIMEOUT)
        for each in found:
            if each.error:
                raise KafkaException(each.error)
        return {each.partition: each.offset for each in found}

    def _commit(self, positions: list[TopicPartition]) -> None:
        try:
            self._consumer.commit(offsets=positions, asynchronous=False)
        except KafkaException as exception:  # the next batch commits a position, too
            error = describe("commit offsets", error_of(exception))
            log().warning("positions not committed", topic=self._topic, positions=str(positions), error=error)


class GapObserver:
    """Counts the offsets that a compacted topic lacks, and warns of them, at most once a minute."""

    def __init__(self, topic: str, observer: SourceObserver, committed: Callable[[int], int]) -> None:
        """Observe a topic; `committed` returns the position in a partition whose first batch comes, or -1."""
        self._topic = topic
        self._observer = observer
        self._committed = committed
        self._next: dict[int, int] = {}  # the offset that follows those that were read, by partition
        self._unreported: dict[int, tuple[int, list[str]]] = {}
        self._warned = -GAP_INTERVAL

    def set_position(self, partition: int, offset: int) -> None:
        """Expect this offset next."""
        self._next[partition] = offset

    def forget(self, partition: int) -> None:
        """Forget a partition that is no longer assigned."""
        self._next.pop(partition, None)

    def read(self, offsets: Iterable[tuple[int, int]]) -> None:
        """Observe the partition and offset of records, in order; those that are read again are not counted again."""
        for partition, offset in offsets:
            expected = self._next.get(partition)
            if expected is None:
                committed = self._committed(partition)
                expected = committed if committed >= 0 else offset
            if offset > expected:
                self._count(partition, expected, offset - 1)
            self._next[partition] = max(expected, offset + 1)
        self._warn()

    def _count(self, partition: int, first: int, last: int) -> None:
        self._observer.skipped(self._topic, partition, "compacted", last + 1 - first)
        total, gaps = self._unreported.get(partition, (0, []))
        gap = f"{first} to {last}" if last > first else str(first)
        self._unreported[partition] = total + last + 1 - first, [*gaps, gap] if len(gaps) < MAX_GAPS else gaps

    def _warn(self) -> None:
        if not self._unreported or time.monotonic() - self._warned < GAP_INTERVAL:
            return
        self._warned = time.monotonic()
        for partition, (total, gaps) in self._unreported.items():
            log().warning(
                "records skipped: compaction removed them before they were read",
                topic=self._topic,
                partition=partition,
                records=total,
                offsets=gaps,
            )
        self._unreported.clear()


def _milliseconds(text: str) -> int:
    try:
        time_of = dt.datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(f"--start takes earliest, latest or a time such as 2026-01-31T18:30:00Z; got {text!r}") from None
    return int((time_of if time_of.tzinfo else time_of.replace(tzinfo=dt.UTC)).timestamp() * 1000)
