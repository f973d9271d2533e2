"""Verdicts and dead letters as messages, with the key, headers and timestamp of their record."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import msgspec

from serving.log import log
from serving.stream import dead_letters
from serving.stream.base import Headers, Origin, PolledBatch, RetryBatch, ScoredRecords, StreamSink
from serving.stream.kafka.changelog import key_of
from serving.stream.kafka.errors import MessageTooLarge
from serving.stream.kafka.offsets import OffsetCommit
from serving.stream.kafka.producer import BY_KEY, KafkaProducer, Message
from serving.stream.kafka.size_limits import SizeLimit

ENCODER = msgspec.json.Encoder()


class OutputTopics(NamedTuple):
    """Names of topics; None for what another sink writes."""

    verdicts: str | None = None
    dead_letters: str | None = None
    changelog: str | None = None


class KafkaSink:
    """Topics for verdicts, dead letters and changes to windows, or for some of these."""

    def __init__(self, producer: KafkaProducer, topics: OutputTopics) -> None:
        self._producer = producer
        self._topics = topics
        self._limits: dict[str, SizeLimit] = {}  # of topics that have refused a message
        self._headers: dict[str, list[Headers]] = {}  # of the messages of the current batch

    def add(self, scored: ScoredRecords) -> None:
        """Send verdicts, dead letters and changes to windows."""
        batch = scored.batch
        self._headers.clear()
        if (topic := self._topics.verdicts) and scored.verdicts:
            values = map(ENCODER.encode, scored.verdicts)
            self._send(topic, values, batch.headers(scored.indices), batch, scored.indices, is_verdict=True)
        if (topic := self._topics.dead_letters) and scored.dead_letters:
            indices = [dead_letter.batch_index for dead_letter in scored.dead_letters]
            headers = [dead_letters.headers(dead_letter, batch) for dead_letter in scored.dead_letters]
            self._send(topic, [batch.values[index] for index in indices], headers, batch, indices, is_verdict=False)
        if (topic := self._topics.changelog) and scored.changes:
            changes = ((record.value, key_of(record), (), 0, record.partition) for record in scored.changes)
            self._producer.send(topic, changes)

    def _send(
        self,
        topic: str,
        values: Iterable[bytes | None],
        headers: Sequence[Headers],
        batch: PolledBatch,
        indices: Sequence[int],
        *,
        is_verdict: bool,
    ) -> None:
        """Send messages with the keys and timestamps of their records."""
        messages: Iterable[Message] = zip(
            values, batch.keys(indices), headers, batch.timestamps(indices), itertools.repeat(BY_KEY, len(indices)), strict=True
        )
        if limit := self._limits.get(topic):
            messages = _fit(topic, limit, messages, batch.origins(indices), is_verdict=is_verdict)
        self._headers.setdefault(topic, []).extend(headers)
        with self._learn_limits():
            self._producer.send(topic, messages)

    @contextlib.contextmanager
    def _learn_limits(self) -> Iterator[None]:
        """Remember which sizes a topic refuses.

        Raises:
            RetryBatch: messages are too large, and the next attempt sends smaller ones.
        """
        try:
            yield
        except MessageTooLarge as error:
            for topic, sizes in error.refused.items():
                limit = self._limits.get(topic, SizeLimit())
                self._limits[topic] = limit.lowered(sizes, self._headers.get(topic, ()))
                if self._limits[topic] == limit:
                    raise
            raise RetryBatch(str(error)) from error

    def flush(self) -> None:
        """Block until the brokers have acknowledged every message."""
        with self._learn_limits():
            self._producer.flush()

    def commit(self, position: object) -> None:
        """Commit the transaction and the source's offsets."""
        with self._learn_limits():
            self._producer.commit(cast("OffsetCommit | None", position))

    def discard(self) -> None:
        """Abort the transaction."""
        self._producer.discard()

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


def _fit(
    topic: str, limit: SizeLimit, messages: Iterable[Message], origins: Sequence[Origin], *, is_verdict: bool
) -> Iterator[Message]:
    """Yield messages without the parts that their topic would refuse."""
    for origin, message in zip(origins, messages, strict=True):
        fitting, omitted = limit.fit(message, is_verdict=is_verdict)
        if omitted:
            log().warning("message too large: parts of it are omitted", to=topic, omitted=omitted, record=str(origin))
        yield fitting


class CombinedSink:
    """Two sinks that each write a part: verdicts, dead letters, or changes to windows."""

    def __init__(self, first: StreamSink, second: StreamSink) -> None:
        """Combine two sinks; everything is durable in `first` before `second` commits."""
        self._sinks = (first, second)

    def add(self, scored: ScoredRecords) -> None:
        """Add to both sinks."""
        for sink in self._sinks:
            sink.add(scored)

    def flush(self) -> None:
        """Flush both sinks."""
        for sink in self._sinks:
            sink.flush()

    def commit(self, position: object) -> None:
        """Commit both sinks."""
        for sink in self._sinks:
            sink.commit(position)

    def discard(self) -> None:
        """Discard from both sinks."""
        for sink in self._sinks:
            sink.discard()

    def close(self) -> None:
        """Close both sinks."""
        for sink in self._sinks:
            sink.close()
