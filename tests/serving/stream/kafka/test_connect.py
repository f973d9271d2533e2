"""Checks of topics before anything is read, and brokers that do not answer."""

from __future__ import annotations

import time

import pytest

from detector.errors import SettingError, StreamError
from detector.windows import Window
from serving.log import configure_logging
from serving.stream.addresses import Topic
from serving.stream.base import StreamSink
from serving.stream.kafka import connect
from serving.stream.kafka.connect import KafkaConnector
from serving.stream.metrics import StreamMetrics
from serving.stream.settings import StreamSettings
from tests.kafka.brokers import make_topics
from tests.ports import free_port
from tests.serving.stream.conftest import StartThread, Topics, until

WINDOW = Window(time="ts", key="machine", length=3, max_gap=60.0)


def connector(topics: Topics, window: Window | None = None, **settings: object) -> KafkaConnector:
    return KafkaConnector(topics.settings(**settings), StreamMetrics(list), lambda: window, exactly_once=True)


def not_called() -> StreamSink:
    return pytest.fail("source and sink are topics")


def no_lines() -> None:
    """Return no sink of lines."""


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report missing topics at once; those that were just created are known after half a second."""
    monkeypatch.setattr(connect, "TOPIC_TIMEOUT", 0.0)


@pytest.mark.usefixtures("at_once")
def test_a_missing_topic_is_named(topics: Topics) -> None:
    nowhere = Topic(topics.bootstrap, "nowhere")
    with pytest.raises(StreamError, match=f"^{nowhere}: .*create the topic first"):
        connector(topics, dead_letters=nowhere).connect(not_called, no_lines)


def test_verdicts_and_dead_letters_need_the_same_brokers(topics: Topics) -> None:
    with pytest.raises(SettingError, match="must name the same brokers"):
        connector(topics, dead_letters=Topic("other:9092", "readings.dlq"))


@pytest.mark.usefixtures("at_once")
def test_an_unsuitable_changelog_is_rejected_with_the_command_that_fixes_it(topics: Topics) -> None:
    few, deleted = f"{topics.readings}-few", f"{topics.readings}-deleted"
    make_topics(topics.bootstrap, 1, {"cleanup.policy": "compact"}, **{few: 1})
    make_topics(topics.bootstrap, **{deleted: 2})
    time.sleep(0.5)
    for name, message, command in (
        (None, "Unknown topic", "kafka-topics.sh .* --create --topic .* --partitions 2 --config cleanup.policy=compact$"),
        (few, "has 1 partitions but needs 2", f"kafka-topics.sh .* --alter --topic {few} --partitions 2$"),
        (
            deleted,
            "has cleanup.policy=delete",
            f"kafka-configs.sh .* --entity-name {deleted} --add-config cleanup.policy=compact$",
        ),
    ):
        with pytest.raises(StreamError, match=f"{message}.*{command}"):
            connector(topics, WINDOW, changelog=name).connect(not_called, no_lines)
    with pytest.raises(StreamError, match="scores a single series"):
        connector(topics, Window(time="ts", length=3, max_gap=60.0)).connect(not_called, no_lines)


def test_brokers_that_do_not_answer_are_waited_for(
    start_thread: StartThread, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("json")
    monkeypatch.setattr(connect, "ADMIN_TIMEOUT", 0.2)
    nobody = f"127.0.0.1:{free_port()}"
    log: list[str] = []

    def lost_twice() -> bool:
        log.append(capsys.readouterr().err)
        return "".join(log).count(f"{nobody} does not answer") > 1

    worker = start_thread(StreamSettings(source=Topic(nobody, "a"), sink=Topic(nobody, "b"), group="group"))
    until(lost_twice)
    began = time.monotonic()
    worker.stop()
    assert time.monotonic() - began < 5
