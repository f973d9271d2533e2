"""What a source and a sink are.

The worker calls them in one thread, in this order:

    source.take -> (judge) -> sink.add, sink.flush, sink.commit, source.commit

Whatever fails between `add` and the last `commit` is an `Again`: then `sink.discard` and `source.rewind`, and the records are
taken once more. Nothing is skipped: at worst a record is judged twice (at least once); a sink that makes verdicts and the
source's position visible in one step makes it exactly once. An end in the middle is the same as a failure.

Of a series, what a batch changed in the windows (`Outcome.slots`) is kept where the position is, in one step with it: by
`Source.commit`, or by the sink that commits the source's claim. `Source.recall` gives it back.

A new source (NATS, MQTT) is a class with these methods, a `Batch` of its records, and a line in `stream.run`; the contract
suite is `tests/serving/stream/test_contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from detector.rejects import Reject
from detector.row_reasons import Reason
from serving.stream.changelog_records import Slot

Headers = Sequence[tuple[str, bytes | None]]
Why = Literal["not JSON", "wrong type", "too big", "too deep", "scorer failed", "no time", "no key", "wrong key", "too old"]


class Again(Exception):
    """What was added since the last commit is not delivered, and may be tried again."""


class Lost(Exception):
    """The connection is of no use any more: source and sink are closed, and opened anew."""

    def __init__(self, said: str, *, fenced: bool = False) -> None:
        """Say what happened; `fenced`: another worker has taken this one's name."""
        super().__init__(said)
        self.fenced = fenced


class Origin(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where a record stood: topic, partition and offset, or file and row (the physical line)."""

    topic: str = ""
    partition: int = -1
    offset: int = -1
    file: str = ""
    row: int = -1


class Batch(Protocol):
    """Records that were taken together, in order."""

    @property
    def block(self) -> bytes:
        """All values, each with a line break behind it; a value that holds one makes more lines than there are records."""

    @property
    def values(self) -> Sequence[bytes | None]:
        """The value of each record."""

    @property
    def claim(self) -> object:
        """What the sink needs to commit the source's position with the verdicts, where it can."""

    @property
    def ours(self) -> Mapping[int, int]:
        """The partitions that are ours, and a number for each that no earlier stay of it had; of lines there is one."""

    def __len__(self) -> int:
        """How many records there are."""

    def origins(self, at: Sequence[int]) -> Sequence[Origin]:
        """Where records stood."""

    def partitions(self) -> Sequence[int]:
        """Give the partition of each record."""

    @property
    def keyed(self) -> bool:
        """Whether records have keys, by which they came into their partitions; that of a series' row is its series then."""

    def keys(self, at: Sequence[int]) -> Sequence[bytes | None]:
        """Give the keys of records, as far as they have some."""

    def headers(self, at: Sequence[int]) -> Sequence[Headers]:
        """Give the headers of records."""

    def times(self, at: Sequence[int]) -> Sequence[int]:
        """When records were made, in milliseconds since 1970; 0: it does not say."""

    def is_blank(self, at: int) -> bool:
        """Whether a record is only a line between two others."""


B = TypeVar("B", bound=Batch)


class Source(Protocol[B]):
    """Where records come from."""

    def take(self) -> B | None:
        """Give the next records, none if there are none just now; None: there will never be one again.

        Called again and again, at least every few seconds. The same records are not given again before `rewind`.

        Raises:
            Lost: the source has to be opened anew.
            StreamError: there is no going on.
        """

    def commit(self, batch: B, slots: Sequence[Slot]) -> None:
        """Remember that these records are done with: after an end, however sudden, they do not come again.

        What changed in the windows of series is kept in the same step. Called after `Sink.commit`; a source whose position the
        sink has committed has nothing to do.

        Raises:
            StreamError: it cannot be remembered.
        """

    def recall(self, partitions: Sequence[int]) -> Iterable[Slot]:
        """Give what was kept of these partitions' series with their position, in the order in which it was written.

        Called in another thread than everything else, while this one is in `idle`; the partitions came with a batch.

        Raises:
            Lost, StreamError: it cannot be read.
        """

    def rewind(self, batch: B) -> None:
        """Give these records again at the next `take`: nothing of them was delivered.

        Records that now belong to another worker do not come again here.
        """

    def idle(self, seconds: float) -> None:
        """Let time pass while a batch is judged or a sink rests, without losing what the source holds for us.

        No records are taken meanwhile; of a batch that is at work they stay ours as long as the source can help it.
        """

    def close(self) -> None:
        """Let go; what was taken and not committed comes again to whoever opens the source next."""


class Verdict(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The verdict on a record, in the words of every other door; anomalies have reasons."""

    anomaly_score: float
    p_value: float
    is_anomaly: bool | None  # of a series: None where a row was not judged
    model: str
    version: int
    origin: Origin
    class_: str | UnsetType = msgspec.field(default=UNSET, name="class")
    class_probability: float | UnsetType = UNSET
    reasons: list[Reason] | UnsetType = UNSET
    state: str | UnsetType = UNSET  # of a series


class Letter(NamedTuple):
    """A record that cannot be judged, and why."""

    at: int  # in its batch
    why: Why
    fault: Reject


class Outcome(NamedTuple):
    """What was made of a batch."""

    batch: Batch
    verdicts: Sequence[Verdict]
    at: Sequence[int]  # the place in the batch of each verdict's record
    letters: Sequence[Letter]
    slots: Sequence[Slot] = ()  # what the batch changed in the windows of series


class Sink(Protocol):
    """Where verdicts and dead letters go."""

    def add(self, outcome: Outcome) -> None:
        """Take a batch's verdicts and letters; they need not be safe yet, nor visible.

        Raises:
            Again, Lost, StreamError: they cannot be taken.
        """

    def flush(self) -> None:
        """Return when everything that was added is safe in the sink's hands.

        Raises:
            Again, Lost, StreamError: it is not.
        """

    def commit(self, claim: object) -> None:
        """Let everything that was added be seen, and with it, in one step, the source's `claim`, where the sink can.

        Raises:
            Again, Lost, StreamError: nothing of it is to be seen, nor the claim made.
        """

    def discard(self) -> None:
        """Drop what was added and not committed, where that can be: called after an `Again`.

        Raises:
            Lost: it cannot be known what became of it.
        """

    def close(self) -> None:
        """Let go; what was added and not committed is dropped."""


class Watcher(Protocol):
    """Who is told what a source and a sink see; `stream.metrics` is one."""

    def rebalanced(self, event: str) -> None:
        """Take that partitions came or went: `assigned`, `revoked` or `lost`."""

    def held(self, partitions: int, paused: int) -> None:
        """Take how many partitions are ours, and how many of them rest."""

    def behind(self, lag: Mapping[tuple[str, int], int]) -> None:
        """Take how many records wait, by topic and partition; partitions that are not named are no longer ours."""
