"""Where reading starts in a partition without a position, or whose position is gone; and what is passed over without being read.

The client does not reset a position itself: it would not say so. It returns an error instead, and `Positions` decides, logs the
range of offsets, and counts it.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable
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


class Positions:
    """Finds positions in the partitions of one topic."""

    def __init__(self, consumer: Consumer, topic: str, policy: PositionPolicy, observer: SourceObserver) -> None:
        self._consumer = consumer
        self._topic = topic
        self._policy = policy
        self._observer = observer

    def find(self, partition: int, lost: int | None) -> int:
        """Return the offset to continue at; `lost` is the position that is gone, None if there was none.

        Raises:
            KafkaException: the brokers do not answer.
            StreamError: the position is gone, and the policy is to stop.
        """
        low, high = self._offset(partition, EARLIEST), self._offset(partition, LATEST)
        offset = self._start(partition, low, high) if lost is None else self._after_loss(partition, lost, low, high)
        if lost is not None or offset != low:
            self._commit(partition, offset)  # a restart before the first batch finds it, and not a later end
        return offset

    def _start(self, partition: int, low: int, high: int) -> int:
        start = self._policy.start
        if start == EARLIEST or self._is_known_group():  # a known group has not seen this partition yet: it is new
            offset = low
        elif (offset := self._offset(partition, start)) < 0:  # no record is that new
            offset = high
        log().info("no position yet: starting", **self._place(partition), position=offset, earliest=low, latest=high)
        return offset

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
            f"position lost: {problem}{reset}", **self._place(partition), position=lost, continued_at=offset, remedy=remedy
        )
        return offset

    def _is_known_group(self) -> bool:
        """Return whether the group has a position in any partition."""
        partitions = self._consumer.list_topics(self._topic, TIMEOUT).topics[self._topic].partitions
        committed = self._consumer.committed([TopicPartition(self._topic, each) for each in partitions], TIMEOUT)
        return any(each.offset >= 0 for each in committed)

    def _offset(self, partition: int, timestamp: int) -> int:
        """Return the first offset at or after a time; -1 if there is none."""
        (found,) = self._consumer.offsets_for_times([TopicPartition(self._topic, partition, timestamp)], TIMEOUT)
        if found.error:
            raise KafkaException(found.error)
        return found.offset

    def _commit(self, partition: int, offset: int) -> None:
        try:
            self._consumer.commit(offsets=[TopicPartition(self._topic, partition, offset)], asynchronous=False)
        except KafkaException as exception:  # the next batch commits a position, too
            log().warning(
                "position not committed", **self._place(partition), error=describe("commit offsets", error_of(exception))
            )

    def _place(self, partition: int) -> dict[str, object]:
        return {"topic": self._topic, "partition": partition}


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
