"""Verdicts and dead letters as messages, with the key, headers and timestamp of their record."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import msgspec

from serving.stream import dead_letters
from serving.stream.base import Headers, PolledBatch, ScoredRecords, StreamSink
from serving.stream.kafka.changelog import key_of
from serving.stream.kafka.offsets import OffsetCommit
from serving.stream.kafka.producer import BY_KEY, KafkaProducer, Message

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

    def add(self, scored: ScoredRecords) -> None:
        """Send verdicts, dead letters and changes to windows."""
        batch, send = scored.batch, self._producer.send
        if (topic := self._topics.verdicts) and scored.verdicts:
            values = map(ENCODER.encode, scored.verdicts)
            send(topic, _messages(values, batch.headers(scored.indices), batch, scored.indices))
        if (topic := self._topics.dead_letters) and scored.dead_letters:
            indices = [dead_letter.batch_index for dead_letter in scored.dead_letters]
            headers = [dead_letters.headers(dead_letter, batch) for dead_letter in scored.dead_letters]
            send(topic, _messages([batch.values[index] for index in indices], headers, batch, indices))
        if (topic := self._topics.changelog) and scored.changes:
            send(topic, ((record.value, key_of(record), (), 0, record.partition) for record in scored.changes))

    def flush(self) -> None:
        """Block until the brokers have acknowledged every message."""
        self._producer.flush()

    def commit(self, position: object) -> None:
        """Commit the transaction and the source's offsets."""
        self._producer.commit(cast("OffsetCommit | None", position))

    def discard(self) -> None:
        """Abort the transaction."""
        self._producer.discard()

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()


def _messages(
    values: Iterable[bytes | None], headers: Sequence[Headers], batch: PolledBatch, indices: Sequence[int]
) -> Iterator[Message]:
    """Return messages with the keys and timestamps of their records."""
    return zip(
        values, batch.keys(indices), headers, batch.timestamps(indices), itertools.repeat(BY_KEY, len(indices)), strict=True
    )


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
