"""Opens topics as source and sink, after checks that raise before anything is read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined] # documented, but not exported

from detector.errors import SettingError, StreamError
from detector.windows import Window
from serving.stream.addresses import Topic
from serving.stream.base import ConnectionLost, SourceObserver, StreamSink, StreamSource
from serving.stream.kafka import config
from serving.stream.kafka.changelog import Changelog
from serving.stream.kafka.client_log import HANDLER
from serving.stream.kafka.consumer import BatchLimits, KafkaSource, TransactionalSource
from serving.stream.kafka.errors import REMEDIES, error_of, exception_for, reaction, translate_errors
from serving.stream.kafka.positions import PositionPolicy
from serving.stream.kafka.producer import KafkaProducer
from serving.stream.kafka.sink import CombinedSink, KafkaSink, OutputTopics
from serving.stream.settings import StreamSettings

TOPIC_TIMEOUT, RETRY_INTERVAL = 3.0, 0.2  # seconds for a new topic to become known to every broker
ADMIN_TIMEOUT = 10.0  # seconds
LOG_TIMEOUT = 0.2  # seconds
CREATE = REMEDIES[KafkaError.UNKNOWN_TOPIC_OR_PART]
BATCH_BYTES = 1_000_000  # the client's default of `batch.size`


class KafkaConnector:
    """Opens a source and a sink of which at least one is a topic."""

    def __init__(
        self, settings: StreamSettings, observer: SourceObserver, window: Callable[[], Window | None], *, exactly_once: bool
    ) -> None:
        """Check the settings; `window` returns the current model's window, if it has one.

        Raises:
            SettingError: a setting is invalid.
        """
        config.check(settings.kafka)
        self._policy = PositionPolicy.of(settings.start, settings.on_lost_position)
        self._settings = settings
        self._observer = observer
        self._window = window
        self._changelog: Topic | None = None
        self._exactly_once = exactly_once
        self._transactional_id = settings.transactional_id
        self._source = _topic(settings.source)
        self._verdicts = _topic(settings.sink)
        self._dead_letters = _topic(settings.dead_letters_to)
        if self._verdicts and self._dead_letters and self._verdicts.brokers != self._dead_letters.brokers:
            raise SettingError("--to and --dead-letters must name the same brokers: one producer writes both")

    def connect(
        self, open_line_source: Callable[[], StreamSource[Any]], open_line_sink: Callable[[], StreamSink | None]
    ) -> tuple[StreamSource[Any], StreamSink]:
        """Open source and sink; the callables open what is not a topic.

        Raises:
            ConnectionLost: the brokers do not answer.
            StreamError: a topic does not exist.
        """
        source = self._source
        self._check_topics(topic for topic in (source, self._verdicts, self._dead_letters) if topic)
        window = self._window()
        self._changelog = self._check_changelog(source, window) if source and window else None
        # The producer first: it aborts a predecessor's transaction before the consumer reads the committed offsets.
        sink = self._open_sink(open_line_sink())
        try:
            endpoints = (self._open_source(source) if source else open_line_source()), sink
        except BaseException:
            sink.close()
            raise
        HANDLER.reset()
        return endpoints

    def _open_source(self, topic: Topic) -> StreamSource[Any]:
        settings = self._settings
        consumer_settings = config.consumer(topic.brokers, settings.group, settings.worker_id, settings.kafka, reset="error")
        with config.mask_errors(settings.kafka):
            consumer = Consumer(consumer_settings)
        kind = TransactionalSource if self._exactly_once or self._changelog else KafkaSource
        limits = BatchLimits(settings.max_batch, settings.max_batch_bytes, settings.linger)
        changelog = None
        if self._changelog:
            reader_settings = config.consumer(topic.brokers, settings.group, None, settings.kafka)
            changelog = Changelog(self._changelog.name, reader_settings, self._admin(topic))
        source = kind(consumer, topic.name, self._observer, limits, self._policy, changelog)
        if self._is_compacted(topic):
            source.observe_gaps()
        return source

    def _open_sink(self, lines: StreamSink | None) -> StreamSink:
        """Open the topics for verdicts, dead letters and changes to windows; `lines` gets what goes to no topic."""
        topic, changelog = self._verdicts or self._dead_letters, self._changelog
        topics = OutputTopics(self._verdicts and self._verdicts.name, self._dead_letters and self._dead_letters.name)
        if topic and self._exactly_once:
            topics = topics._replace(changelog=changelog and changelog.name)
            return self._open_topics(topic, topics, transactional=True)
        sink = self._open_topics(topic, topics, transactional=False) if topic else lines
        assert sink  # noqa: S101 - verdicts go to a topic or to lines
        if topic and lines:
            sink = CombinedSink(lines, sink)
        if changelog:
            # At least once: verdicts first, then the changes to windows and the offsets in one transaction.
            try:
                sink = CombinedSink(
                    sink, self._open_topics(changelog, OutputTopics(changelog=changelog.name), transactional=True)
                )
            except BaseException:
                sink.close()
                raise
        return sink

    def _open_topics(self, topic: Topic, topics: OutputTopics, *, transactional: bool) -> StreamSink:
        producer_settings = config.producer(
            topic.brokers, self._transactional_id if transactional else None, self._settings.kafka
        )
        if "batch.size" not in self._settings.kafka and (limits := self._message_limits(topic, filter(None, topics))):
            # Messages that are sent together must fit the topic's limit too: the client does not split them.
            producer_settings["batch.size"] = min(BATCH_BYTES, *limits)
        return KafkaSink(KafkaProducer(producer_settings, self._settings.kafka, transactional=transactional), topics)

    def _message_limits(self, topic: Topic, names: Iterable[str]) -> list[int]:
        """Return the topics' limits of the size of a message; those that cannot be read are left out."""
        admin, limits = self._admin(topic), []
        for name in names:
            with contextlib.suppress(ConnectionLost, StreamError):  # the right to describe a topic's configuration is optional
                limits.append(int(_topic_setting(admin, topic._replace(name=name), "max.message.bytes")))
        return limits

    def _is_compacted(self, topic: Topic) -> bool:
        """Return whether the topic is known to be compacted; in any other one, gaps are marks of transactions."""
        with contextlib.suppress(ConnectionLost, StreamError):  # the right to describe a topic's configuration is optional
            return "compact" in _topic_setting(self._admin(topic), topic, "cleanup.policy")
        return False

    def _admin(self, topic: Topic) -> AdminClient:
        with config.mask_errors(self._settings.kafka):
            return AdminClient(config.common(topic.brokers) | dict(self._settings.kafka))

    def _check_topics(self, topics: Iterable[Topic]) -> None:
        for topic in topics:
            if problem := self._wait_for_topic(self._admin(topic), topic):
                raise StreamError(f"{topic}: {problem.str()}; {REMEDIES.get(problem.code(), CREATE)}")

    def _check_changelog(self, source: Topic, window: Window) -> Topic:
        """Check that the changelog topic can store the windows of the source's partitions.

        Raises:
            StreamError: it cannot; the message holds the command that creates or changes it.
        """
        name = self._settings.changelog or f"{source.name}.{self._settings.group}.changelog"
        changelog, admin = source._replace(name=name), self._admin(source)
        partitions = _partition_count(admin, source)
        if window.key is None and partitions > 1:
            raise StreamError(f"{source} has {partitions} partitions, but a model trained without --key scores a single series")
        server = f"--bootstrap-server {source.brokers.split(',')[0]}"
        if problem := self._wait_for_topic(admin, changelog):
            raise StreamError(
                f"{changelog}, the topic for windows of series: {problem.str()}; create it: "
                f"kafka-topics.sh {server} --create --topic {name} --partitions {partitions} --config cleanup.policy=compact"
            )
        if (found := _partition_count(admin, changelog)) != partitions:
            command = f"kafka-topics.sh {server} --alter --topic {name} --partitions {partitions}"
            raise StreamError(
                f"{changelog} has {found} partitions but needs {partitions}, as many as {source}; "
                f"{'name another topic with --changelog' if found > partitions else command}"
            )
        if (policy := _topic_setting(admin, changelog, "cleanup.policy")) != "compact":
            raise StreamError(
                f"{changelog} has cleanup.policy={policy}, which deletes windows; change it: kafka-configs.sh {server} --alter "
                f"--entity-type topics --entity-name {name} --add-config cleanup.policy=compact"
            )
        return changelog

    def _wait_for_topic(self, admin: AdminClient, topic: Topic) -> KafkaError | None:
        """Return why a topic cannot be used, if so; waits for one that was just created."""
        deadline = time.monotonic() + TOPIC_TIMEOUT
        while (problem := _problem(admin, topic)) and time.monotonic() < deadline:
            time.sleep(RETRY_INTERVAL)
        return problem


def _topic(address: object) -> Topic | None:
    return address if isinstance(address, Topic) else None


def _problem(admin: AdminClient, topic: Topic) -> KafkaError | None:
    """Return why a topic cannot be used, if so.

    Raises:
        ConnectionLost, StreamError: the brokers do not answer, or reject the request.
    """
    try:
        topics = admin.list_topics(topic.name, ADMIN_TIMEOUT).topics
    except KafkaException as exception:
        admin.poll(LOG_TIMEOUT)  # passes on the client's log, which explains the error
        error = error_of(exception)
        if reaction(error) == "stop":
            raise exception_for(f"look up {topic}", error) from exception
        raise ConnectionLost(f"{topic.brokers} does not answer: {error.str()}") from exception
    metadata = topics.get(topic.name)
    return metadata.error if metadata else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


def _partition_count(admin: AdminClient, topic: Topic) -> int:
    with translate_errors(f"look up {topic}"):
        return len(admin.list_topics(topic.name, ADMIN_TIMEOUT).topics[topic.name].partitions)


def _topic_setting(admin: AdminClient, topic: Topic, setting: str) -> str:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name)
    with translate_errors(f"look up the configuration of {topic}"):
        (future,) = admin.describe_configs([resource], request_timeout=ADMIN_TIMEOUT).values()
        try:
            value: str = future.result()[setting].value
        finally:
            admin.poll(0)  # passes on the client's log
        return value
