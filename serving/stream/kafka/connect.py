"""What an address means; the checks before anything is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from detector.errors import SettingError, StreamError
from serving.stream.addresses import Topic
from serving.stream.kafka import config
from serving.stream.kafka.config import told
from serving.stream.kafka.consumer import KafkaSource, Most, TransactionalSource
from serving.stream.kafka.errors import error_of, meaning, raised
from serving.stream.kafka.producer import Delivery
from serving.stream.kafka.sink import Both, KafkaSink
from serving.stream.protocol import Lost, Sink, Source, Watcher
from serving.stream.settings import Settings

SPREADS, AGAIN = 3.0, 0.2  # seconds until every broker knows of a new topic
ANSWER = 10.0  # seconds that brokers have to tell of their topics


class Kafka:
    """Opens those of source and sink that are topics."""

    def __init__(self, settings: Settings, watcher: Watcher, *, exactly_once: bool) -> None:
        """Take the settings.

        Raises:
            SettingError: one may not be changed.
        """
        config.check(settings.kafka)
        self._settings = settings
        self._watcher = watcher
        self._exactly_once = exactly_once
        self._member = settings.member
        letters = settings.letters
        self._letters = letters if isinstance(letters, Topic) else None
        self._verdicts = settings.sink if isinstance(settings.sink, Topic) else None
        if self._verdicts and self._letters and self._verdicts.brokers != self._letters.brokers:
            raise SettingError("--to and --dead-letters name other brokers: one producer serves both")

    def connect(self, other_source: Callable[[], Source[Any]], text: Callable[[], Sink | None]) -> tuple[Source[Any], Sink]:
        """Open source and sink; what is no topic is opened by the others.

        Raises:
            Lost: the brokers do not answer.
            StreamError: a topic is not there.
        """
        settings = self._settings
        source = settings.source if isinstance(settings.source, Topic) else None
        self._check(topic for topic in (source, self._verdicts, self._letters) if topic)
        sink = self._sink(text())
        try:
            # The producer first: what a predecessor of this name left open is ended before its offsets are read.
            return (self._source(source) if source else other_source()), sink
        except BaseException:
            sink.close()
            raise

    def _source(self, topic: Topic) -> Source[Any]:
        settings = self._settings
        made = config.consumer(topic.brokers, settings.group, settings.worker_id, settings.kafka)
        with told(settings.kafka):
            consumer = Consumer(made)
        kind = TransactionalSource if self._exactly_once else KafkaSource
        most = Most(settings.max_batch, settings.max_batch_bytes, settings.linger)
        return kind(consumer, topic.name, self._watcher, most)

    def _sink(self, lines: Sink | None) -> Sink:
        """Open the topics for verdicts and letters; lines take what goes to none."""
        verdicts, letters = self._verdicts, self._letters
        one = verdicts or letters
        if one is None:
            assert lines  # noqa: S101 - verdicts go somewhere
            return lines
        member = self._member if self._exactly_once else None
        made = config.producer(one.brokers, member, self._settings.kafka)
        delivery = Delivery(made, self._settings.kafka, transactional=self._exactly_once)
        made_sink = KafkaSink(delivery, verdicts and verdicts.name, letters and letters.name)
        return Both(made_sink, lines) if lines else made_sink

    def _check(self, topics: Iterable[Topic]) -> None:
        """Make sure that the topics are there."""
        for topic in topics:
            with told(self._settings.kafka):
                admin = AdminClient(config.common(topic.brokers) | dict(self._settings.kafka))
            until = time.monotonic() + SPREADS
            while why := _missing(admin, topic):
                if time.monotonic() > until:
                    raise StreamError(f"{topic}: {why}; make the topic first: the worker makes none, and loses nothing meanwhile")
                time.sleep(AGAIN)


def _missing(admin: AdminClient, topic: Topic) -> str:
    """Say why a topic is not there; nothing if it is.

    Raises:
        Lost, StreamError: the brokers do not answer, or refuse.
    """
    try:
        found = admin.list_topics(topic.name, ANSWER)
    except KafkaException as error:
        problem = error_of(error)
        if meaning(problem) == "end":
            raise raised(f"ask for {topic}", problem) from error
        raise Lost(f"{topic.brokers} does not answer: {problem.str()}") from error
    there = found.topics.get(topic.name)
    if there is not None and there.error is None:
        return ""
    return there.error.str() if there and there.error else "it is not there"
