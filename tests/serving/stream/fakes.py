"""A source and a sink in memory that raise planned errors, and records that were never in a topic."""

from __future__ import annotations

import time
from collections.abc import Sequence

from serving.stream.base import Headers, ScoredRecords
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.kafka.consumer import GroupMember, KafkaBatch
from serving.stream.text import LineBatch


def batch_of(lines: Sequence[bytes], row: int = 1) -> LineBatch:
    """Return lines as a batch."""
    return LineBatch(b"".join(line + b"\n" for line in lines), "-", row)


def no_state(_: object) -> tuple[()]:
    """Return no changelog records."""
    return ()


class FakeEndpoints:
    """A source with a sink that write down their calls; each planned error is raised once, by the call of its name."""

    def __init__(self, lines: Sequence[bytes], *errors: tuple[str, Exception]) -> None:
        self.calls: list[str] = []
        self.visible: list[int] = []  # rows
        self._errors = list(errors)
        self._batches = [batch_of([line], row) for row, line in enumerate(lines)]

    def connect(self) -> tuple[FakeEndpoints, FakeSink]:
        self.record("connect")
        return self, FakeSink(self)

    def poll(self) -> LineBatch | None:
        self.record("poll")
        return self._batches.pop(0) if self._batches else None

    def commit(self, batch: LineBatch, changes: Sequence[ChangelogRecord]) -> None:  # noqa: ARG002 - `StreamSource`
        self.record("source.commit")

    def read_state(self, partitions: Sequence[int]) -> Sequence[ChangelogRecord]:  # noqa: ARG002 - `StreamSource`
        self.record("read_state")
        return ()

    def rewind(self, batch: LineBatch) -> None:
        self.record("rewind")
        self._batches.insert(0, batch)

    def idle(self, seconds: float) -> None:
        self.record("idle")
        time.sleep(min(seconds, 0.01))

    def close(self) -> None:
        self.record("close")

    def record(self, call: str) -> None:
        self.calls.append(call)
        if self._errors and self._errors[0][0] == call:
            raise self._errors.pop(0)[1]


class FakeSink:
    """The sink of `FakeEndpoints`."""

    def __init__(self, endpoints: FakeEndpoints) -> None:
        self._endpoints = endpoints
        self._added: list[int] = []

    def add(self, scored: ScoredRecords) -> None:
        self._added = [verdict.origin.row for verdict in scored.verdicts]
        self._endpoints.record("add")

    def flush(self) -> None:
        self._endpoints.record("flush")

    def commit(self, position: object) -> None:  # noqa: ARG002 - `StreamSink`
        self._endpoints.record("commit")
        self._endpoints.visible += self._added

    def discard(self) -> None:
        self._endpoints.record("discard")

    def close(self) -> None:
        self._endpoints.record("sink.close")


class FakeRecord:
    """A record that was never in a topic."""

    def __init__(
        self,
        key: bytes | None,
        value: bytes | None,
        partition: int = 0,
        offset: int = 0,
        headers: Headers | None = None,
        timestamp: int = 0,
    ) -> None:
        self._key, self._value, self._partition, self._offset = key, value, partition, offset
        self._headers, self._timestamp = headers, timestamp

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def partition(self) -> int:
        return self._partition

    def offset(self) -> int:
        return self._offset

    def topic(self) -> str:
        return "readings"

    def headers(self) -> Headers | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return 1, self._timestamp

    def error(self) -> None:
        return None


def kafka_batch(records: Sequence[FakeRecord], assignments: dict[int, int]) -> KafkaBatch:
    """Return records as a batch whose partitions stay assigned."""
    return KafkaBatch("readings", records, assignments, GroupMember(None, lambda _: True))
