"""What an address means; the checks before anything is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined] # which its documentation names

from detector.errors import SettingError, StreamError
from detector.windows import Window
from serving.stream.addresses import Topic
from serving.stream.base import Lost, Sink, Source, Watcher
from serving.stream.kafka import config
from serving.stream.kafka.changelog import Changelog
from serving.stream.kafka.config import told
from serving.stream.kafka.consumer import KafkaSource, Most, TransactionalSource
from serving.stream.kafka.errors import error_of, meaning, raised, understood
from serving.stream.kafka.producer import Delivery
from serving.stream.kafka.sink import Both, KafkaSink, Names
from serving.stream.settings import Settings

SPREADS, AGAIN = 3.0, 0.2  # seconds until every broker knows of a new topic
ANSWER = 10.0  # seconds that brokers have to tell of their topics


class Kafka:
    """Opens those of source and sink that are topics."""

    def __init__(self, settings: Settings, watcher: Watcher, window: Callable[[], Window | None], *, exactly_once: bool) -> None:
        """Take the settings; `window` says how the model that judges makes windows of rows, if it does.

        Raises:
            SettingError: one may not be changed.
        """
        config.check(settings.kafka)
        self._settings = settings
        self._watcher = watcher
        self._window = window
        self._changelog: Topic | None = None
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
        window = self._window()
        self._changelog = self._fit_changelog(source, window) if source and window else None
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
        kind = TransactionalSource if self._exactly_once or self._changelog else KafkaSource
        most = Most(settings.max_batch, settings.max_batch_bytes, settings.linger)
        changelog = None
        if self._changelog:
            reader = config.consumer(topic.brokers, settings.group, None, settings.kafka)
            changelog = Changelog(self._changelog.name, reader, self._admin(topic))
        return kind(consumer, topic.name, self._watcher, most, changelog)

    def _sink(self, lines: Sink | None) -> Sink:
        """Open the topics for verdicts, letters and windows; lines take what goes to none."""
        names = Names(self._verdicts and self._verdicts.name, self._letters and self._letters.name)
        one, changelog = self._verdicts or self._letters, self._changelog
        if one and self._exactly_once:
            return self._topics(one, names._replace(changelog=changelog and changelog.name), transactional=True)
        sink = self._topics(one, names, transactional=False) if one else lines
        assert sink  # noqa: S101 - verdicts go somewhere
        if one and lines:
            sink = Both(lines, sink)
        if changelog:
            # At least once: verdicts first, then windows and position, these two in one transaction.
            try:
                sink = Both(sink, self._topics(changelog, Names(changelog=changelog.name), transactional=True))
            except BaseException:
                sink.close()
                raise
        return sink

    def _topics(self, one: Topic, names: Names, *, transactional: bool) -> Sink:
        """Open a producer."""
        made = config.producer(one.brokers, self._member if transactional else None, self._settings.kafka)
        return KafkaSink(Delivery(made, self._settings.kafka, transactional=transactional), names)

    def _admin(self, topic: Topic) -> AdminClient:
        with told(self._settings.kafka):
            return AdminClient(config.common(topic.brokers) | dict(self._settings.kafka))

    def _fit_changelog(self, source: Topic, window: Window) -> Topic:
        """Make sure that the changelog can keep what is remembered of the source's partitions.

        Raises:
            StreamError: it cannot.
        """
        name = self._settings.changelog or f"{source.name}.{self._settings.group}.changelog"
        changelog, admin = source._replace(name=name), self._admin(source)
        partitions = _partitions(admin, source)
        if window.key is None and partitions > 1:
            raise StreamError(f"{source} has {partitions} partitions, and the model, trained without --key, knows but one series")
        server = f"--bootstrap-server {source.brokers.split(',')[0]}"
        if why := self._missing_for_long(admin, changelog):
            make = f"kafka-topics.sh {server} --create --topic {name} --partitions {partitions} --config cleanup.policy=compact"
            raise StreamError(f"{changelog}, which keeps the windows of series: {why}; make it so: {make}")
        if (found := _partitions(admin, changelog)) != partitions:
            make = f"kafka-topics.sh {server} --alter --topic {name} --partitions {partitions}"
            what = f"{changelog} has {found} partitions and {source} has {partitions}: windows need as many"
            raise StreamError(f"{what}; {'name another by --changelog' if found > partitions else make}")
        if (policy := _policy(admin, changelog)) != "compact":
            make = (
                f"kafka-configs.sh {server} --alter --entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
            )
            raise StreamError(f"{changelog} has cleanup.policy={policy}, by which windows would be lost; {make}")
        return changelog

    def _check(self, topics: Iterable[Topic]) -> None:
        """Make sure that the topics are there."""
        for topic in topics:
            if why := self._missing_for_long(self._admin(topic), topic):
                raise StreamError(f"{topic}: {why}; make the topic first: the worker makes none, and loses nothing meanwhile")

    def _missing_for_long(self, admin: AdminClient, topic: Topic) -> str:
        """Say why a topic is not there, nothing if it is; a new one is waited for."""
        until = time.monotonic() + SPREADS
        while (why := _missing(admin, topic)) and time.monotonic() < until:
            time.sleep(AGAIN)
        return why


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


def _partitions(admin: AdminClient, topic: Topic) -> int:
    """Count the partitions of a topic that is there."""
    with understood(f"ask for {topic}"):
        return len(admin.list_topics(topic.name, ANSWER).topics[topic.name].partitions)


def _policy(admin: AdminClient, topic: Topic) -> str:
    """Give what becomes of a topic's old records."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name)
    with understood(f"ask how {topic} is set up"):
        (answer,) = admin.describe_configs([resource], request_timeout=ANSWER).values()
        policy: str = answer.result()["cleanup.policy"].value
        return policy
