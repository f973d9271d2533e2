"""What every source and every sink keeps to; a new one is a line in the tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from detector.rejects import Reject
from detector.windows import Window
from serving.stream.addresses import Topic
from serving.stream.base import Batch, DeadLetter, Origin, RecordVerdict, ScoredBatch, StreamSink, StreamSource
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.kafka.connect import KafkaConnector
from serving.stream.metrics import StreamMetrics
from serving.stream.run import connector as ends
from serving.stream.settings import Guarantee, StreamSettings
from serving.stream.tail import TailSource
from serving.stream.text import LineBatch, LineSink, StdinSource
from tests.serving.stream.conftest import QUICK, WITHIN, Topics, until

LINES = [b'{"n":%d}' % place for place in range(30)]
LINGER = 0.05
QUICK_SETTINGS = dict(setting.split("=") for setting in map(str, QUICK[1::2]) if "transaction" not in setting)


class Place(NamedTuple):
    """Where a source or a sink may live: a folder, or topics, for which brokers are started."""

    folder: Path
    topics: Callable[[], Topics]


class Fed(NamedTuple):
    """A source, how to feed it, and whether another that is opened after it goes on where it was committed."""

    open: Callable[[], StreamSource[Any]]
    feed: Callable[[list[bytes]], None]
    remembers: bool


class Emptied(NamedTuple):
    """A sink, how to read what is to be seen, and whether it can take back."""

    open: Callable[[], StreamSink]
    seen: Callable[[int], tuple[list[float], list[bytes]]]  # scores, and dead letters
    takes_back: bool


def standard_input(_: Place) -> Iterator[Fed]:
    read, write = os.pipe()
    yield Fed(lambda: StdinSource(LINGER, read), lambda lines: _write(write, lines), remembers=False)
    os.close(read)
    os.close(write)


def followed(place: Place) -> Iterator[Fed]:
    path = place.folder / "readings.ndjson"
    path.touch()

    def feed(lines: list[bytes]) -> None:
        with path.open("ab") as file:
            _write(file.fileno(), lines)

    yield Fed(lambda: TailSource(path, place.folder / "state", LINGER), feed, remembers=True)


def topic(place: Place) -> Iterator[Fed]:
    some = place.topics()
    yield Fed(lambda: _connected(some, "at-least-once")[0], lambda lines: _send(some, lines), remembers=True)


def _send(some: Topics, lines: list[bytes]) -> None:
    some.send(lines)


def _write(file: int, lines: list[bytes]) -> None:
    os.write(file, b"".join(line + b"\n" for line in lines))


SOURCES = (standard_input, followed, topic)


def text_file(place: Place) -> Iterator[Emptied]:
    verdicts, letters = place.folder / "verdicts.ndjson", place.folder / "letters.ndjson"

    def seen(_: int) -> tuple[list[float], list[bytes]]:
        found = [msgspec.json.decode(line) for path in (verdicts, letters) for line in path.read_bytes().splitlines()]
        scores = [each["anomaly_score"] for each in found if "anomaly_score" in each]
        return scores, [each["value"].encode() for each in found if "rejected" in each]

    yield Emptied(lambda: LineSink(str(verdicts), str(letters)), seen, takes_back=False)


def idempotent(place: Place) -> Iterator[Emptied]:
    yield _topics_as_sink(place.topics(), "at-least-once")


def transactional(place: Place) -> Iterator[Emptied]:
    yield _topics_as_sink(place.topics(), "exactly-once")


def _topics_as_sink(some: Topics, guarantee: Guarantee) -> Emptied:
    def open_sink() -> StreamSink:
        source, sink = _connected(some, guarantee)
        source.close()
        return sink

    def seen(count: int) -> tuple[list[float], list[bytes]]:
        verdicts = some.read(some.verdicts, count, 10)
        letters = some.read(some.letters, 1 if count else 0, 10)
        return [each.said["anomaly_score"] for each in verdicts], [each.value or b"" for each in letters]  # type: ignore[misc]

    return Emptied(open_sink, seen, takes_back=guarantee == "exactly-once")


SINKS = (text_file, idempotent, transactional)


def _connected(some: Topics, guarantee: Guarantee) -> tuple[StreamSource[Any], StreamSink]:
    settings = StreamSettings(
        source=Topic(some.bootstrap, some.readings),
        sink=Topic(some.bootstrap, some.verdicts),
        group=some.group,
        guarantee=guarantee,
        worker_id="contract",
    )
    kafka = KafkaConnector(settings, StreamMetrics(list), lambda: None, exactly_once=settings.exactly_once)
    return kafka.connect(lambda: pytest.fail("no other source is asked for"), lambda: None)


@pytest.fixture(params=SOURCES, ids=lambda made: made.__name__)
def fed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fed]:
    yield from request.param(Place(tmp_path, lambda: request.getfixturevalue("topics")))


@pytest.fixture(params=SINKS, ids=lambda made: made.__name__)
def emptied(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Emptied]:
    yield from request.param(Place(tmp_path, lambda: request.getfixturevalue("topics")))


def taken(source: StreamSource[Any], count: int) -> list[Batch]:
    """Take until there are so many records."""
    batches: list[Batch] = []
    for _ in range(int(WITHIN / LINGER)):
        batch = source.poll()
        assert batch is not None
        if len(batch):
            batches.append(batch)
        if sum(map(len, batches)) >= count:
            break
    return batches


def values_of(batches: list[Batch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def test_a_source_gives_each_record_once_and_says_where_it_stood(fed: Fed) -> None:
    with contextlib.closing(fed.open()) as source:
        fed.feed(LINES[:20])
        batches = taken(source, 20)
        for batch in batches:
            source.commit(batch, ())
            assert batch.block == b"".join(line + b"\n" for line in values_of([batch]) if line)
        fed.feed(LINES[20:])
        batches += taken(source, 10)
        origins = [origin for batch in batches for origin in batch.origins(range(len(batch)))]
        assert len({msgspec.json.encode(origin) for origin in origins}) == len(LINES)
        assert sorted(values_of(batches)) == sorted(LINES)
        empty = source.poll()
        assert empty is not None
        assert not len(empty)


def test_what_is_rewound_comes_again(fed: Fed) -> None:
    with contextlib.closing(fed.open()) as source:
        fed.feed(LINES)
        first = source.poll()
        while first is not None and not len(first):
            first = source.poll()
        assert first is not None
        source.rewind(first)
        assert sorted(values_of(taken(source, len(LINES)))) == sorted(LINES)


def test_nothing_comes_while_it_rests_and_everything_after(fed: Fed) -> None:
    with contextlib.closing(fed.open()) as source:
        fed.feed(LINES[:5])
        batches = taken(source, 5)
        fed.feed(LINES[5:])
        source.idle(0.3)
        assert sorted(values_of(batches + taken(source, 25))) == sorted(LINES)


def test_a_partition_that_went_away_while_it_rested_is_read_when_it_is_back(topics: Topics) -> None:
    def joined() -> StreamSource[Any]:
        here = Topic(topics.bootstrap, topics.readings)
        settings = StreamSettings(source=here, sink=here, group=topics.group, guarantee="at-least-once", kafka=QUICK_SETTINGS)
        return ends(settings, StreamMetrics(list), lambda: None)()[0]

    def holds(source: StreamSource[Any]) -> int:
        batch = source.poll()
        assert batch is not None
        assert not len(batch)
        return len(batch.assignments)

    with contextlib.closing(joined()) as source:
        until(lambda: holds(source) == 2)
        with contextlib.closing(joined()) as other:
            until(lambda: source.idle(0.05) or holds(other) == 1)
        until(lambda: holds(source) == 2)
        topics.send(LINES)
        assert sorted(values_of(taken(source, len(LINES)))) == sorted(LINES)


def test_a_source_goes_on_where_it_was_committed(fed: Fed) -> None:
    if not fed.remembers:
        pytest.skip("what was read of a pipe is gone")
    with contextlib.closing(fed.open()) as source:
        fed.feed(LINES[:10])
        for batch in taken(source, 10):
            source.commit(batch, ())
        fed.feed(LINES[10:20])
        taken(source, 10)
    fed.feed(LINES[20:])
    with contextlib.closing(fed.open()) as source:
        assert sorted(values_of(taken(source, 20))) == sorted(LINES[10:])


def outcome(scores: list[float]) -> ScoredBatch:
    """Make verdicts with these scores, and a dead letter behind them."""
    batch = LineBatch(b"".join(line + b"\n" for line in LINES), "-", 1)
    verdicts = [RecordVerdict(score, 0.5, score > 2, "pumps", 1, Origin(file="-", row=at)) for at, score in enumerate(scores)]
    letter = DeadLetter(len(scores), "not JSON", Reject(len(scores), "", "x", "a JSON object"))
    return ScoredBatch(batch, verdicts, range(len(scores)), [letter])


def test_what_a_sink_has_committed_is_to_be_seen(emptied: Emptied) -> None:
    with contextlib.closing(emptied.open()) as sink:
        for scores in ([1.0, 2.0], [3.0]):
            sink.add(outcome(scores))
            sink.flush()
            sink.commit(None)
    scores, letters = emptied.seen(3)
    assert sorted(scores) == [1, 2, 3]
    assert sorted(letters) == sorted([LINES[2], LINES[1]])


def test_what_a_sink_discards_is_not_to_be_seen_where_it_can(emptied: Emptied) -> None:
    with contextlib.closing(emptied.open()) as sink:
        sink.add(outcome([1.0]))
        sink.flush()
        sink.discard()
        sink.add(outcome([2.0]))
        sink.flush()
        sink.commit(None)
        sink.add(outcome([3.0]))
        sink.flush()
    scores, _ = emptied.seen(1)
    assert 2 in scores
    if emptied.takes_back:
        assert scores == [2]


WINDOW = Window(time="ts", key="machine", length=3, max_gap=60.0)


@pytest.mark.parametrize(
    ("source", "sink", "guarantee"),
    [
        ("file", "file", None),
        ("file", "topic", None),
        ("topic", "file", None),
        ("topic", "topic", "at-least-once"),
        ("topic", "topic", "exactly-once"),
    ],
)
def test_windows_stand_where_the_position_stands(
    source: str, sink: str, guarantee: Guarantee | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What a batch changed comes back if the batch was committed, and else the batch does."""
    connect, feed = _pair(source, sink, guarantee, tmp_path, request)
    feed(LINES[:10])
    kept: list[ChangelogRecord] = []
    with _opened(connect) as (reading, writing):
        for batch in taken(reading, 10):
            slots = [ChangelogRecord(partition, "ä", at % 3, b"%d" % at) for at, partition in enumerate(batch.partitions())]
            _deliver(writing, batch, slots)
            writing.commit(batch.position)
            reading.commit(batch, slots)
            kept += slots
        feed(LINES[10:20])
        for batch in taken(reading, 10):
            _deliver(writing, batch, [ChangelogRecord(batch.partitions()[0], "ä", 0, b"never committed")])
    with _opened(connect) as (reading, _):
        batches = taken(reading, 10)
        assert sorted(values_of(batches)) == sorted(LINES[10:20])
        partitions = sorted({slot.partition for slot in kept})
        last = {(slot.partition, slot.ring_index): slot for slot in kept}
        assert {(slot.partition, slot.ring_index): slot for slot in reading.read_state(partitions)} == last


Connect = Callable[[], tuple[StreamSource[Any], StreamSink]]


def _pair(
    source: str, sink: str, guarantee: Guarantee | None, folder: Path, request: pytest.FixtureRequest
) -> tuple[Connect, Callable[[list[bytes]], None]]:
    """Give what opens such a source and such a sink for a model of series, and what feeds the source."""
    some: Topics | None = request.getfixturevalue("topics").for_series() if "topic" in {source, sink} else None
    path, group = folder / "readings.ndjson", some.group if some else "none"

    def address(kind: str, file: Path, topic: Callable[[Topics], str]) -> Path | Topic:
        return Topic(some.bootstrap, topic(some)) if some and kind == "topic" else file

    settings = StreamSettings(
        source=address(source, path, lambda topics: topics.readings),
        sink=address(sink, folder / "verdicts.ndjson", lambda topics: topics.verdicts),
        dead_letters=address(sink, folder / "letters.ndjson", lambda topics: topics.letters),
        group=group,
        guarantee=guarantee,
        worker_id="contract",
    )

    def feed(lines: list[bytes]) -> None:
        if some and source == "topic":
            some.send(lines)
            return
        with path.open("ab") as file:
            _write(file.fileno(), lines)

    return ends(settings, StreamMetrics(list), lambda: WINDOW), feed


@contextlib.contextmanager
def _opened(connect: Connect) -> Iterator[tuple[StreamSource[Any], StreamSink]]:
    source, sink = connect()
    with contextlib.closing(sink), contextlib.closing(source):
        yield source, sink


def _deliver(sink: StreamSink, batch: Batch, slots: list[ChangelogRecord]) -> None:
    verdicts = [RecordVerdict(1.0, 0.5, False, "presses", 1, origin) for origin in batch.origins(range(len(batch)))]  # noqa: FBT003
    sink.add(ScoredBatch(batch, verdicts, range(len(batch)), [], slots))
    sink.flush()
