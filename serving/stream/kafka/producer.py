"""Messages out: in transactions, which carry the consumer's offsets with them, or without.

Each method either does what it says or raises what the worker understands; a call that may be tried again is.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from serving.stream.base import Again, Headers, Lost
from serving.stream.kafka import config
from serving.stream.kafka.errors import error_of, meaning, raised, told

PATIENCE = 20.0  # seconds for a call, all attempts together: less than a transaction may take
CALL = 5.0  # seconds of one attempt
BREATH = 0.1
GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001 - the client's own errors begin so


class Claim(Protocol):
    """What a consumer wants committed with the messages."""

    @property
    def offsets(self) -> list[TopicPartition]:
        """The next offset of each partition."""

    @property
    def metadata(self) -> Any:  # noqa: ANN401 - the client tells nothing of it
        """Who the consumer was when it read them."""

    def check(self) -> None:
        """Make sure that the consumer still is who it was.

        Raises:
            Again: it is not.
        """


BY_KEY = -1  # the partition
Message = tuple[bytes | None, bytes | None, Headers, int, int]  # value, key, headers, time in ms (0: now), partition


class Delivery:
    """One producer."""

    def __init__(self, settings: config.Config, given: Mapping[str, str], *, transactional: bool) -> None:
        """Make the producer; with transactions, end those that a predecessor of the same name left open.

        Raises:
            SettingError: a setting is none of Kafka's.
            Lost, StreamError: the brokers do not answer, or refuse.
        """
        self._transactional = transactional
        self._open = False  # a transaction
        self._failed: KafkaError | None = None  # a message
        self._topics: set[str] = set()  # that were written to
        with config.told(given):
            self._producer = Producer({**settings, "on_delivery": self._delivered})
        if transactional:
            try:
                self._call("begin to make transactions", lambda: self._producer.init_transactions(CALL))
            except BaseException:
                self.close()
                raise

    def send(self, topic: str, messages: Iterable[Message]) -> None:
        """Hand messages over, in a transaction if there are any; they are safe after `flush`, seen after `commit`.

        Raises:
            Again, Lost, StreamError: they are not taken.
        """
        if self._transactional and not self._open:
            self._begin()
        self._topics.add(topic)
        produce = self._producer.produce
        for value, key, headers, made, partition in messages:
            while True:
                try:
                    produce(topic, value, key, partition, timestamp=made, headers=list(headers) if headers else None)
                except BufferError:
                    self._producer.poll(BREATH)
                except KafkaException as error:
                    raise self._raised(f"send to {topic}", error_of(error)) from error
                else:
                    break

    def _begin(self) -> None:
        """Begin a transaction."""
        self._call("begin a transaction", self._producer.begin_transaction)
        self._open = True
        self._failed = None

    def flush(self) -> None:
        """Wait until the brokers have every message.

        Raises:
            Again, Lost, StreamError: they do not.
        """
        try:
            waiting = self._producer.flush(PATIENCE)
        except KafkaException as error:
            raise self._raised("deliver", error_of(error)) from error
        except SystemError as error:  # so says confluent-kafka 2.16 where the producer has failed for good; `commit` says why
            if not self._transactional:
                raise Lost("the producer has failed for good") from error
            waiting = 0
        if self._failed:
            failed, self._failed = self._failed, None
            raise self._raised("deliver", failed)
        if waiting:
            raise Again(f"{waiting:,} messages are not delivered after {PATIENCE:.0f} s")

    def commit(self, claim: Claim | None) -> None:
        """Let the messages be seen, and the claim made with them; without transactions there is nothing to do.

        Raises:
            Again, Lost, StreamError: neither.
        """
        if not self._open:
            if not (self._transactional and claim):
                return
            self._begin()
        if claim:
            # Without member id and generation a broker takes offsets from whoever sends them, even from one that is no
            # longer a member: so the claim is checked here, behind which no callback runs.
            claim.check()
            self._call(
                "commit offsets",
                lambda: self._producer.send_offsets_to_transaction(claim.offsets, claim.metadata, CALL),
            )
        self._call("commit", lambda: self._producer.commit_transaction(CALL))
        self._open = False

    def discard(self) -> None:
        """Abort the transaction; without one, what was sent may still arrive.

        Raises:
            Lost: it is not known what became of it.
        """
        if not self._transactional:
            # No purge: it goes on after it has returned, and takes with it what is sent next (librdkafka 2.16).
            self._failed = None
            return
        if not self._open:
            return
        try:
            self._call("abort", lambda: self._producer.abort_transaction(CALL))
        except Exception as error:  # whatever it was, this producer has told all it knows
            raise Lost(f"a transaction could not be aborted: {error}") from error
        self._open = False
        self._failed = None

    def close(self) -> None:
        """Abort what is open, if that can be done soon, and let go.

        Not by the client's own `close`: that one waits for ever for brokers that do not answer (confluent-kafka 2.16).
        """
        with contextlib.suppress(KafkaException, SystemError):  # it may have failed for good
            if self._open:
                self._producer.abort_transaction(CALL)
        with contextlib.suppress(KafkaException, SystemError):
            self._producer.purge()
        del self._producer

    def _call(self, doing: str, call: Callable[[], object]) -> None:
        """Make a call, again and again while that is what its errors ask for."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                call()
            except KafkaException as error:
                found = error_of(error)
                if meaning(found) != "call again":
                    raise self._raised(doing, found) from error
                if time.monotonic() > until:
                    raise Lost(told(doing, found)) from error
                time.sleep(BREATH)
            else:
                return

    def _raised(self, doing: str, error: KafkaError) -> Exception:
        """Give what to raise: a message that could not be delivered says more than the transaction that failed for it."""
        failed, self._failed = self._failed, None
        if failed and meaning(failed) == "end":
            doing, error = "deliver", failed
        if error.code() in GONE:  # of a transaction it is not told which one
            doing = f"{doing} to {' or '.join(sorted(self._topics))}"
        return raised(doing, error)

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        """Take the report of a message that was not delivered; those that went with an aborted transaction are no news."""
        purged = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 - the client's own errors begin so
        if error is not None and not (self._transactional and error.code() in purged):
            self._failed = error
