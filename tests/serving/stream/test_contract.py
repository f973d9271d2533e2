"""The contract of sources and sinks; a new one is a line in these tables."""

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
from serving.stream.base import DeadLetter, Origin, PolledBatch, RecordVerdict, ScoredRecords, StreamSink, StreamSource
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.metrics import StreamMetrics
from serving.stream.run import connector
from serving.stream.settings import Guarantee, StreamSettings
from serving.stream.tail import TailSource
from serving.stream.text import LineSink, StdinSource
from tests.serving.stream.conftest import TIMEOUT, Topics, lines_of
from tests.serving.stream.fakes import batch_of

LINES = [b'{"n":%d}' % number for number in range(30)]
LINGER = 0.05
WINDOW = Window(time="ts", key="machine", length=3, max_gap=60.0)


class Resources(NamedTuple):
    """What a source or a sink may use: a folder, or topics, for which a broker is started."""

    folder: Path
    topics: Callable[[], Topics]


class SourceCase(NamedTuple):
    """How to open a source, how to feed it, and whether one that is opened later continues at the committed position."""

    open: Callable[[], StreamSource[Any]]
    feed: Callable[[list[bytes]], object]
    has_position: bool


class SinkCase(NamedTuple):
    """How to open a sink, how to read what is visible (scores, and dead letters), and whether it can discard."""

    open: Callable[[], StreamSink]
    read: Callable[[int], tuple[list[float], list[bytes]]]
    can_discard: bool


def standard_input(_: Resources) -> Iterator[SourceCase]:
    reader, writer = os.pipe()
    yield SourceCase(lambda: StdinSource(LINGER, reader), lambda lines: write(writer, lines), has_position=False)
    os.close(reader)
    os.close(writer)


def tailed_file(resources: Resources) -> Iterator[SourceCase]:
    path = resources.folder / "readings.ndjson"
    path.touch()

    def feed(lines: list[bytes]) -> None:
        with path.open("ab") as file:
            write(file.fileno(), lines)

    yield SourceCase(lambda: TailSource(path, resources.folder / "state", LINGER), feed, has_position=True)


def topic(resources: Resources) -> Iterator[SourceCase]:
    topics = resources.topics()
    yield SourceCase(lambda: connect(topics, "at-least-once")[0], topics.send, has_position=True)


def write(file: int, lines: list[bytes]) -> None:
    os.write(file, b"".join(line + b"\n" for line in lines))


SOURCES = (standard_input, tailed_file, topic)


def text_file(resources: Resources) -> Iterator[SinkCase]:
    verdicts, dead_letters = resources.folder / "verdicts.ndjson", resources.folder / "dead-letters.ndjson"

    def read(_: int) -> tuple[list[float], list[bytes]]:
        values = [str(line["value"]).encode() for line in lines_of(dead_letters)]
        return [line["anomaly_score"] for line in lines_of(verdicts)], values  # type: ignore[misc]

    yield SinkCase(lambda: LineSink(str(verdicts), str(dead_letters)), read, can_discard=False)


def idempotent(resources: Resources) -> Iterator[SinkCase]:
    yield topics_as_sink(resources.topics(), "at-least-once")


def transactional(resources: Resources) -> Iterator[SinkCase]:
    yield topics_as_sink(resources.topics(), "exactly-once")


def topics_as_sink(topics: Topics, guarantee: Guarantee) -> SinkCase:
    def open_sink() -> StreamSink:
        source, sink = connect(topics, guarantee)
        source.close()
        return sink

    def read(count: int) -> tuple[list[float], list[bytes]]:
        verdicts = topics.read(topics.verdicts, count, 10)
        dead_letters = topics.read(topics.dead_letters, 1 if count else 0, 10)
        scores = [verdict.content["anomaly_score"] for verdict in verdicts]
        return scores, [dead_letter.value or b"" for dead_letter in dead_letters]  # type: ignore[return-value]

    return SinkCase(open_sink, read, can_discard=guarantee == "exactly-once")


SINKS = (text_file, idempotent, transactional)


def connect(topics: Topics, guarantee: Guarantee) -> tuple[StreamSource[Any], StreamSink]:
    settings = topics.settings(guarantee=guarantee, worker_id="contract")
    return connector(settings, StreamMetrics(list), lambda: None)()


@pytest.fixture(params=SOURCES, ids=lambda case: case.__name__)
def source_case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SourceCase]:
    yield from request.param(Resources(tmp_path, lambda: request.getfixturevalue("topics")))


@pytest.fixture(params=SINKS, ids=lambda case: case.__name__)
def sink_case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SinkCase]:
    yield from request.param(Resources(tmp_path, lambda: request.getfixturevalue("topics")))


def poll(source: StreamSource[Any], count: int) -> list[PolledBatch]:
    """Poll until there are `count` records."""
    batches: list[PolledBatch] = []
    for _ in range(int(TIMEOUT / LINGER)):
        batch = source.poll()
        assert batch is not None
        if len(batch):
            batches.append(batch)
        if sum(map(len, batches)) >= count:
            break
    return batches


def values_of(batches: list[PolledBatch]) -> list[bytes | None]:
    return [value for batch in batches for value in batch.values]


def test_a_source_returns_each_record_once_with_its_origin(source_case: SourceCase) -> None:
    with contextlib.closing(source_case.open()) as source:
        source_case.feed(LINES[:20])
        batches = poll(source, 20)
        for batch in batches:
            source.commit(batch, ())
            assert batch.block == b"".join(line + b"\n" for line in values_of([batch]) if line)
        source_case.feed(LINES[20:])
        batches += poll(source, 10)
        origins = [origin for batch in batches for origin in batch.origins(range(len(batch)))]
        assert len({msgspec.json.encode(origin) for origin in origins}) == len(LINES)
        assert sorted(values_of(batches)) == sorted(LINES)
        empty = source.poll()
        assert empty is not None
        assert not len(empty)


def test_rewound_records_are_returned_again(source_case: SourceCase) -> None:
    with contextlib.closing(source_case.open()) as source:
        source_case.feed(LINES)
        source.rewind(poll(source, 1)[0])
        assert sorted(values_of(poll(source, len(LINES)))) == sorted(LINES)


def test_an_idle_source_loses_no_record(source_case: SourceCase) -> None:
    with contextlib.closing(source_case.open()) as source:
        source_case.feed(LINES[:5])
        batches = poll(source, 5)
        source_case.feed(LINES[5:])
        source.idle(0.3)
        assert sorted(values_of(batches + poll(source, 25))) == sorted(LINES)


def test_a_source_continues_at_the_committed_position(source_case: SourceCase) -> None:
    if not source_case.has_position:
        pytest.skip("lines read from a pipe are gone")
    with contextlib.closing(source_case.open()) as source:
        source_case.feed(LINES[:10])
        for batch in poll(source, 10):
            source.commit(batch, ())
        source_case.feed(LINES[10:20])
        poll(source, 10)
    source_case.feed(LINES[20:])
    with contextlib.closing(source_case.open()) as source:
        assert sorted(values_of(poll(source, 20))) == sorted(LINES[10:])


def scored(scores: list[float]) -> ScoredRecords:
    """Return verdicts with these scores, and a dead letter after them."""
    verdicts = [RecordVerdict(score, 0.5, score > 2, "pumps", 1, Origin(file="-", row=row)) for row, score in enumerate(scores)]
    dead_letter = DeadLetter(len(scores), "not JSON", Reject(len(scores), "", "x", "a JSON object"))
    return ScoredRecords(batch_of(LINES), verdicts, range(len(scores)), [dead_letter])


def test_committed_verdicts_and_dead_letters_are_visible(sink_case: SinkCase) -> None:
    with contextlib.closing(sink_case.open()) as sink:
        for scores in ([1.0, 2.0], [3.0]):
            sink.add(scored(scores))
            sink.flush()
            sink.commit(None)
    visible, dead_letters = sink_case.read(3)
    assert sorted(visible) == [1, 2, 3]
    assert sorted(dead_letters) == sorted([LINES[2], LINES[1]])


def test_discarded_verdicts_are_not_visible_where_the_sink_can_discard(sink_case: SinkCase) -> None:
    with contextlib.closing(sink_case.open()) as sink:
        sink.add(scored([1.0]))
        sink.flush()
        sink.discard()
        sink.add(scored([2.0]))
        sink.flush()
        sink.commit(None)
        sink.add(scored([3.0]))
        sink.flush()
    visible, _ = sink_case.read(1)
    assert 2 in visible
    if sink_case.can_discard:
        assert visible == [2]


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
def test_windows_match_the_position(
    source: str, sink: str, guarantee: Guarantee | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """After a restart either a batch's changes are stored, or its records are returned again."""
    connect, feed = series_pair(source, sink, guarantee, tmp_path, request)
    feed(LINES[:10])
    stored: list[ChangelogRecord] = []
    with opened(connect) as (reading, writing):
        for batch in poll(reading, 10):
            changes = [
                ChangelogRecord(partition, "ä", index % 3, b"%d" % index) for index, partition in enumerate(batch.partitions())
            ]
            deliver(writing, batch, changes)
            writing.commit(batch.position)
            reading.commit(batch, changes)
            stored += changes
        feed(LINES[10:20])
        for batch in poll(reading, 10):
            deliver(writing, batch, [ChangelogRecord(batch.partitions()[0], "ä", 0, b"never committed")])
    with opened(connect) as (reading, _):
        assert sorted(values_of(poll(reading, 10))) == sorted(LINES[10:20])
        partitions = sorted({record.partition for record in stored})
        last = {(record.partition, record.ring_index): record for record in stored}
        assert {(record.partition, record.ring_index): record for record in reading.read_state(partitions)} == last


Connect = Callable[[], tuple[StreamSource[Any], StreamSink]]


def series_pair(
    source: str, sink: str, guarantee: Guarantee | None, folder: Path, request: pytest.FixtureRequest
) -> tuple[Connect, Callable[[list[bytes]], object]]:
    """Return a function that opens source and sink for a model of series, and one that feeds the source."""
    topics: Topics | None = request.getfixturevalue("topics").for_series() if "topic" in {source, sink} else None
    path = folder / "readings.ndjson"

    def address(kind: str, file: str, topic: Callable[[Topics], str]) -> Path | Topic:
        return Topic(topics.bootstrap, topic(topics)) if topics and kind == "topic" else folder / file

    settings = StreamSettings(
        source=address(source, path.name, lambda topics: topics.readings),
        sink=address(sink, "verdicts.ndjson", lambda topics: topics.verdicts),
        dead_letters=address(sink, "dead-letters.ndjson", lambda topics: topics.dead_letters),
        group=topics.group if topics else "none",
        guarantee=guarantee,
        worker_id="contract",
    )

    def feed(lines: list[bytes]) -> None:
        if topics and source == "topic":
            topics.send(lines)
            return
        with path.open("ab") as file:
            write(file.fileno(), lines)

    return connector(settings, StreamMetrics(list), lambda: WINDOW), feed


@contextlib.contextmanager
def opened(connect: Connect) -> Iterator[tuple[StreamSource[Any], StreamSink]]:
    source, sink = connect()
    with contextlib.closing(sink), contextlib.closing(source):
        yield source, sink


def deliver(sink: StreamSink, batch: PolledBatch, changes: list[ChangelogRecord]) -> None:
    origins = batch.origins(range(len(batch)))
    verdicts = [RecordVerdict(1.0, 0.5, False, "presses", 1, origin) for origin in origins]  # noqa: FBT003
    sink.add(ScoredRecords(batch, verdicts, range(len(batch)), [], changes))
    sink.flush()
