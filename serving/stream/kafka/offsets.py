"""The offsets of a Kafka consumer group that are committed together with the verdicts of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from confluent_kafka import TopicPartition

from serving.stream.base import RetryBatch


class OffsetCommit(NamedTuple):
    """The next offset of each partition, and the group member that read up to it."""

    offsets: list[TopicPartition]
    metadata: Any  # the member's group metadata; the client does not export its type
    is_valid: Callable[[], bool]  # whether the member has kept the partitions since

    def check(self) -> None:
        """Check that the partitions are still assigned to the member.

        Raises:
            RetryBatch: they are not.
        """
        if not self.is_valid():
            raise RetryBatch("partitions were revoked before their batch was delivered")
