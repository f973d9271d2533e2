"""Protocols of a stream's source and sink: the calls that the worker makes, their order, and what each one guarantees.

One batch passes through these calls:

    source.poll -> (score) -> sink.add -> sink.flush -> sink.commit -> source.commit

Threads: one thread makes every call, except `read_state`, which runs on the scoring thread while the first thread waits in
`idle`. Calls on one object never overlap otherwise. `poll` and `idle` must return within the time that they are given; the other
calls may block for as long as their service needs, up to a limit of their own, after which they raise.

Delivery: if a call from `add` to the last `commit` raises `RetryBatch`, the worker calls `sink.discard` and `source.rewind`,
waits in `source.idle`, and polls the same records again. If a call raises `ConnectionLost`, it closes both ends and opens new
ones. A process that ends in the middle of a batch has the same effect. No record is skipped. Delivery is at least once; it is
exactly once if `sink.commit` publishes the verdicts and commits the source's position in one step.

Series: the changes that a batch makes to the windows of series (`ScoredRecords.changes`) are stored in the same step as the
position, by `source.commit` or by the sink that commits the source's position. `source.read_state` reads them back.

A new source (NATS, MQTT) is a class with these methods, a `PolledBatch` of its records, and a line in `stream.run`. The contract
suite is `tests/serving/stream/test_contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from detector.rejects import Reject
from detector.verdicts import record_type
from serving.stream.changelog_records import ChangelogRecord

Headers = Sequence[tuple[str, bytes | None]]
DeadLetterReason = Literal[
    "not JSON",
    "schema-registry frame",
    "Avro",
    "compressed",
    "UTF-16",
    "binary",
    "tombstone",
    "no column of this model",
    "wrong type",
    "too big",
    "too deep",
    "scorer failed",
    "no time",
    "no key",
    "wrong key",
    "too old",
]


class RetryBatch(Exception):
    """The current batch was not delivered; the worker may deliver it again over the same connection."""


class ConnectionLost(Exception):
    """The connection is unusable; the worker closes source and sink and opens new ones."""

    def __init__(self, message: str, *, fenced: bool = False) -> None:
        """Set the message; `fenced` means that another worker now uses this worker's ID."""
        super().__init__(message)
        self.fenced = fenced


class Origin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Position of a record: topic, partition and offset, or file and row (its line number)."""

    topic: str = ""
    partition: int = -1
    offset: int = -1
    file: str = ""
    row: int = -1

    def __str__(self) -> str:
        """Return the position for a message."""
        if self.topic:
            return f"topic {self.topic}, partition {self.partition}, offset {self.offset}"
        return f"{self.file}, line {self.row}"


class PolledBatch(Protocol):
    """Records that were polled together, in order."""

    @property
    def block(self) -> bytes:
        r"""All values, each followed by `\n`; a value that contains `\n` spans several lines."""

    @property
    def values(self) -> Sequence[bytes | None]:
        """The value of each record."""

    @property
    def position(self) -> object:
        """The position after this batch, for a sink that commits it together with the verdicts; None if the source commits it."""

    @property
    def assignments(self) -> Mapping[int, int]:
        """Assignment number of each partition assigned to this worker; a partition that leaves and returns gets a new number."""

    def __len__(self) -> int:
        """Return the number of records."""

    def origins(self, indices: Sequence[int]) -> Sequence[Origin]:
        """Return the origins of the records at these indices."""

    def partitions(self) -> Sequence[int]:
        """Return the partition of each record."""

    @property
    def has_keys(self) -> bool:
        """Whether keys decide the partition of a record; the key of a series' row is then its series."""

    def keys(self, indices: Sequence[int]) -> Sequence[bytes | None]:
        """Return the keys of the records at these indices; None for a record without a key."""

    def headers(self, indices: Sequence[int]) -> Sequence[Headers]:
        """Return the headers of the records at these indices."""

    def timestamps(self, indices: Sequence[int]) -> Sequence[int]:
        """Return when records were created, in milliseconds since 1970; 0 if unknown."""

    def is_blank(self, index: int) -> bool:
        """Return whether a record is an empty line, which gets no answer."""


B = TypeVar("B", bound=PolledBatch)


class StreamSource(Protocol[B]):
    """Reads records."""

    def poll(self) -> B | None:
        """Return the next records, an empty batch if there are none yet, or None at the end of the stream.

        The worker polls again at least every few seconds; the call must return within the linger time. It returns each record
        once, unless `rewind` asks for the record again.

        Raises:
            ConnectionLost: the source must be opened again.
            StreamError: the source cannot continue.
        """

    def commit(self, batch: B, changes: Sequence[ChangelogRecord]) -> None:
        """Store the position after this batch, and the changes to windows of series in the same step.

        A source opened later starts after the last committed batch, even if this process is killed. The worker calls this after
        `sink.commit`; if the sink committed the position, this does nothing.

        Raises:
            StreamError: the position cannot be stored.
        """

    def read_state(self, partitions: Sequence[int]) -> Iterable[ChangelogRecord]:
        """Yield the committed changes to windows of these partitions' series, oldest first.

        Runs on the scoring thread, while the worker's thread is in `idle`; the partitions are those of a polled batch.

        Raises:
            ConnectionLost, StreamError: the state cannot be read.
        """

    def rewind(self, batch: B) -> None:
        """Return the records of this batch from the next `poll` again: none of them was delivered.

        Skips the records of partitions that are now assigned to another worker.
        """

    def idle(self, seconds: float) -> None:
        """Wait without reading records, but keep the connection and the assigned partitions alive.

        The worker calls this while a batch is scored, and before it retries one.
        """

    def close(self) -> None:
        """Close the source; records that were polled but not committed go to the next source that is opened."""


RecordVerdict = record_type("RecordVerdict", after=[("model", str), ("version", int), ("origin", Origin)])  # an output message


class DeadLetter(NamedTuple):
    """A record that cannot be scored, and why."""

    batch_index: int
    reason: DeadLetterReason
    reject: Reject


class ScoredRecords(NamedTuple):
    """Result of scoring a batch."""

    batch: PolledBatch
    verdicts: Sequence[Any]
    indices: Sequence[int]  # in the batch, of each verdict's record
    dead_letters: Sequence[DeadLetter]
    changes: Sequence[ChangelogRecord] = ()  # to the windows of series
    skipped: int = 0  # tombstones, if the settings say so


class StreamSink(Protocol):
    """Writes verdicts and dead letters."""

    def add(self, scored: ScoredRecords) -> None:
        """Write a batch's verdicts and dead letters; they need not be durable or visible yet.

        Raises:
            RetryBatch, ConnectionLost, StreamError: they cannot be written.
        """

    def flush(self) -> None:
        """Block until everything added is durable.

        Raises:
            RetryBatch, ConnectionLost, StreamError: it is not durable.
        """

    def commit(self, position: object) -> None:
        """Make everything added visible and, if the sink can, commit the source's `position` in the same step.

        Raises:
            RetryBatch, ConnectionLost, StreamError: nothing is visible, and the position is not committed.
        """

    def discard(self) -> None:
        """Drop what was added and not committed, if the sink can; called after `RetryBatch`.

        Raises:
            ConnectionLost: it is unknown whether it was dropped.
        """

    def close(self) -> None:
        """Close the sink; what was added and not committed is dropped."""


class SourceObserver(Protocol):
    """Receives what a source observes of its partitions; `stream.metrics` implements it."""

    def rebalanced(self, event: str) -> None:
        """Count a rebalance: `assigned`, `revoked` or `lost`."""

    def skipped(self, topic: str, partition: int, cause: str, records: int) -> None:
        """Count records that are passed over without being read: `expired`, `compacted`, or skipped by a `reset`."""

    def set_assigned(self, partitions: int, paused: int) -> None:
        """Set how many partitions are assigned to this worker, and how many of them are paused."""

    def set_lag(self, lag: Mapping[tuple[str, int], int]) -> None:
        """Set how many records wait, by topic and partition; partitions that are missing are no longer assigned."""


class FileObserver(Protocol):
    """Receives what a source could not read of a file; `stream.metrics` implements it."""

    def lost(self, file: str, size: int) -> None:
        """Count a range of bytes that was not read; the size is 0 if it is unknown."""
