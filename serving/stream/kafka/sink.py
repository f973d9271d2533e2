"""Verdicts and dead letters as messages: with the record's key, headers and time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, cast

import msgspec

from serving.stream import dead_letters
from serving.stream.base import Batch, Headers, Outcome, Sink
from serving.stream.kafka.changelog import key_of
from serving.stream.kafka.producer import BY_KEY, Claim, Delivery, Message

ENCODER = msgspec.json.Encoder()


class Names(NamedTuple):
    """Topics; what has none is left to another sink."""

    verdicts: str | None = None
    letters: str | None = None
    changelog: str | None = None  # of the windows of series


class KafkaSink:
    """Topics for verdicts, for dead letters and for windows, or for some of these."""

    def __init__(self, delivery: Delivery, names: Names) -> None:
        """Take the topics."""
        self._delivery = delivery
        self._names = names

    def add(self, outcome: Outcome) -> None:
        """Hand verdicts and letters over."""
        batch, send = outcome.batch, self._delivery.send
        if (topic := self._names.verdicts) and outcome.verdicts:
            send(topic, _carried(map(ENCODER.encode, outcome.verdicts), batch.headers(outcome.at), batch, outcome.at))
        if (topic := self._names.letters) and outcome.letters:
            at = [letter.at for letter in outcome.letters]
            headers = [dead_letters.headers(letter, batch) for letter in outcome.letters]
            send(topic, _carried([batch.values[place] for place in at], headers, batch, at))
        if (topic := self._names.changelog) and outcome.slots:
            send(topic, ((slot.value, key_of(slot), (), 0, slot.partition) for slot in outcome.slots))

    def flush(self) -> None:
        """Wait until the brokers have every message."""
        self._delivery.flush()

    def commit(self, claim: object) -> None:
        """Commit the transaction, and the claim with it."""
        self._delivery.commit(cast("Claim | None", claim))

    def discard(self) -> None:
        """Abort the transaction."""
        self._delivery.discard()

    def close(self) -> None:
        """Let go."""
        self._delivery.close()


def _carried(values: Iterable[bytes | None], headers: Sequence[Headers], batch: Batch, at: Sequence[int]) -> Iterator[Message]:
    """Give messages with the keys and times of the records that they are about."""
    return zip(values, batch.keys(at), headers, batch.times(at), itertools.repeat(BY_KEY, len(at)), strict=True)


class Both:
    """Verdicts here, letters or windows there."""

    def __init__(self, first: Sink, second: Sink) -> None:
        """Take two sinks; what the first one has is safe before the second one commits."""
        self._sinks = (first, second)

    def add(self, outcome: Outcome) -> None:
        """Hand all to both."""
        for sink in self._sinks:
            sink.add(outcome)

    def flush(self) -> None:
        """Wait for both."""
        for sink in self._sinks:
            sink.flush()

    def commit(self, claim: object) -> None:
        """Commit both."""
        for sink in self._sinks:
            sink.commit(claim)

    def discard(self) -> None:
        """Drop what both can."""
        for sink in self._sinks:
            sink.discard()

    def close(self) -> None:
        """Close both."""
        for sink in self._sinks:
            sink.close()
