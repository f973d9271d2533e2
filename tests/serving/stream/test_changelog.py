"""Windows in a topic: what has to hold of it, and that nobody reads past what is undecided."""

from __future__ import annotations

import secrets
import threading
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from detector.errors import StreamError
from detector.scorer import Scorer
from detector.windows import Window
from serving.log import configure_logging
from serving.model import Model
from serving.stream.addresses import Topic
from serving.stream.base import Headers
from serving.stream.changelog_records import ChangelogRecord
from serving.stream.kafka import connect
from serving.stream.kafka.changelog import key_of
from serving.stream.kafka.connect import KafkaConnector
from serving.stream.kafka.consumer import GroupMember, KafkaBatch
from serving.stream.metrics import StreamMetrics
from serving.stream.scoring import Judge, Limits
from serving.stream.series_state import SeriesState
from serving.stream.settings import StreamSettings
from tests.kafka.brokers import QUIET, make_topics
from tests.serving.stream.conftest import WITHIN, Topics, check_series, machines, values
from tests.serving.stream.test_series import told

WINDOW = Window(time="ts", key="machine", length=3, max_gap=60.0)


def kafka(topics: Topics, window: Window = WINDOW, changelog: str | None = None) -> KafkaConnector:
    settings = StreamSettings(
        source=Topic(topics.bootstrap, topics.readings),
        sink=Topic(topics.bootstrap, topics.verdicts),
        group=topics.group,
        changelog=changelog,
    )
    return KafkaConnector(settings, StreamMetrics(list), lambda: window, exactly_once=True)


def test_a_partition_is_read_to_its_end_and_not_to_what_is_decided_of_it(topics: Topics) -> None:
    """Another worker's last transaction may be undecided when its partition comes: its windows are waited for."""
    topics.for_series()
    source, sink = kafka(topics).connect(lambda: pytest.fail("a topic"), lambda: None)
    name = secrets.token_hex(4)
    aborted, committed = (
        Producer({"bootstrap.servers": topics.bootstrap, "transactional.id": name + end, **QUIET}) for end in "ab"
    )
    for producer, value in ((aborted, b"aborted"), (committed, b"committed")):
        producer.init_transactions(WITHIN)
        producer.begin_transaction()
        producer.produce(topics.changelog, value, key_of(ChangelogRecord(1, "press", 2, None)), 1)
        producer.flush(WITHIN)
    found: list[ChangelogRecord] = []
    reader = threading.Thread(target=lambda: found.extend(source.read_state([0, 1])), daemon=True)
    reader.start()
    committed.commit_transaction(WITHIN)
    time.sleep(1)
    assert reader.is_alive()
    assert not found
    aborted.abort_transaction(WITHIN)
    reader.join(WITHIN)
    assert found == [ChangelogRecord(1, "press", 2, b"committed")]
    source.close()
    sink.close()


def test_a_changelog_that_would_lose_windows_is_refused_with_the_command_that_makes_one(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "TOPIC_TIMEOUT", 0.0)
    few, deleted = f"{topics.readings}-few", f"{topics.readings}-deleted"
    make_topics(topics.bootstrap, 1, {"cleanup.policy": "compact"}, **{few: 1})
    make_topics(topics.bootstrap, **{deleted: 2})
    time.sleep(0.5)
    for name, said, mended in (
        (None, "Unknown topic", "kafka-topics.sh .* --create --topic .* --partitions 2 --config cleanup.policy=compact$"),
        (few, "has 1 partitions but needs 2", f"kafka-topics.sh .* --alter --topic {few} --partitions 2$"),
        (
            deleted,
            "has cleanup.policy=delete",
            f"kafka-configs.sh .* --entity-name {deleted} --add-config cleanup.policy=compact$",
        ),
    ):
        with pytest.raises(StreamError, match=f"{said}.*{mended}"):
            kafka(topics, changelog=name).connect(lambda: pytest.fail("a topic"), lambda: None)
    with pytest.raises(StreamError, match="scores a single series"):
        kafka(topics, Window(time="ts", length=3, max_gap=60.0)).connect(lambda: pytest.fail("a topic"), lambda: None)


class Record:
    """A record that never was in a topic."""

    def __init__(self, key: bytes | None, value: bytes, partition: int, offset: int) -> None:
        self._said = key, value, partition, offset

    def key(self) -> bytes | None:
        return self._said[0]

    def value(self) -> bytes | None:
        return self._said[1]

    def partition(self) -> int:
        return self._said[2]

    def offset(self) -> int:
        return self._said[3]

    def topic(self) -> str:
        return "readings"

    def headers(self) -> Headers | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def error(self) -> None:
        return None


@pytest.fixture
def judge(presses: tuple[Path, str]) -> tuple[Judge, SeriesState]:
    configure_logging("json")
    model = Model("presses", Scorer.open(presses[0], "cpu"))
    runs = SeriesState(model, StreamMetrics(list))
    return Judge(model, Limits(2**20, 8, 10_000), runs), runs


def batch(records: list[Record], ours: dict[int, int]) -> KafkaBatch:
    return KafkaBatch("readings", records, ours, GroupMember(None, lambda _: True))


def test_a_record_with_another_key_than_its_row_is_a_letter(judge: tuple[Judge, SeriesState]) -> None:
    lines = values(machines(20))
    wrong: dict[int, bytes | None] = {4: None, 7: b"mill", 8: b"\xff", 9: b"Press"}
    sent = [Record(wrong.get(at, (b"lathe", b"press")[at % 2]), line, 0, at) for at, line in enumerate(lines)]
    outcome = judge[0](batch(sent, {0: 0}), lambda _: ())
    assert [(letter.batch_index, letter.reason) for letter in outcome.dead_letters] == [(at, "wrong key") for at in wrong]
    assert outcome.dead_letters[1].reject.found == "the key 'mill'"
    assert len(outcome.verdicts) == 36


def test_a_key_in_two_partitions_is_two_series_and_what_went_away_is_forgotten(
    judge: tuple[Judge, SeriesState], presses: tuple[Path, str]
) -> None:
    frame = machines(40, ["press"])
    lines, (judges, runs) = values(frame), judge
    asked: list[list[int]] = []

    def recall(partitions: object) -> tuple[()]:
        asked.append(list(partitions))  # type: ignore[call-overload]
        return ()

    both = [Record(b"press", line, partition, at) for at, line in enumerate(lines[:20]) for partition in (0, 1)]
    outcome = judges(batch(both, {0: 5, 1: 6}), recall)
    for partition in (0, 1):
        mine = [said for said in told([outcome]) if said["origin"]["partition"] == partition]  # type: ignore[index,call-overload]
        check_series(mine, frame[:20], presses[0])
    runs.commit()
    rest = [Record(b"press", line, partition, at) for at, line in enumerate(lines[20:], 20) for partition in (0, 1)]
    outcome = judges(batch(rest, {0: 5, 1: 7}), recall)  # 1 went away in between, and came back
    states = {partition: [] for partition in (0, 1)}  # type: dict[int, list[object]]
    for said in told([outcome]):
        states[said["origin"]["partition"]].append(said["state"])  # type: ignore[index,call-overload]
    assert states[0] == ["judged"] * 20
    assert states[1] == ["warming up"] * 11 + ["judged"] * 9
    assert asked == [[0, 1], [1]]
