"""Sends messages: in transactions, which commit the consumer's offsets too, or without.

Each method retries its calls as the client's errors ask, and raises what the worker reacts to.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from serving.stream.base import ConnectionLost, Headers, RetryBatch
from serving.stream.kafka import config
from serving.stream.kafka.errors import MessageTooLarge, describe, error_of, exception_for, reaction
from serving.stream.kafka.offsets import OffsetCommit

RETRY_TIMEOUT = 20.0  # seconds for a call with all its retries: less than the transaction timeout
CALL_TIMEOUT = 5.0  # seconds for one attempt
RETRY_INTERVAL = 0.1
FLUSH_INTERVAL = 0.5
UNKNOWN_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001 - the client's own errors begin so

BY_KEY = -1  # partition: the client chooses it by the key
Message = tuple[bytes | None, bytes | None, Headers, int, int]  # value, key, headers, timestamp in ms (0: now), partition


def content_size(value: bytes | None, key: bytes | None) -> int:
    """Return the size of value and key."""
    return len(value or b"") + len(key or b"")


class KafkaProducer:
    """A producer that retries, and maps errors to the worker's reactions."""

    def __init__(self, settings: config.Config, user: Mapping[str, str], *, transactional: bool) -> None:
        """Create the client; a transactional one aborts what a predecessor with the same ID left open.

        Raises:
            SettingError: the client rejects a setting.
            ConnectionLost, StreamError: the brokers do not answer, or reject the client.
        """
        self._transactional = transactional
        self._in_transaction = False
        self._failed: KafkaError | None = None  # of a message
        self._refused: dict[str, list[int]] = {}  # sizes of messages that are too large, by topic
        self._topics: set[str] = set()
        with config.mask_errors(user):
            self._producer = Producer({**settings, "on_delivery": self._on_delivery})
        if transactional:
            try:
                self._call("initialize transactions", lambda: self._producer.init_transactions(CALL_TIMEOUT))
            except BaseException:
                self.close()
                raise

    def send(self, topic: str, messages: Iterable[Message]) -> None:
        """Send messages, in a transaction if the producer is transactional; `flush` makes them durable, `commit` visible.

        Raises:
            RetryBatch, ConnectionLost, StreamError: they cannot be sent; `MessageTooLarge` if one exceeds a limit.
        """
        if self._transactional and not self._in_transaction:
            self._begin()
        self._topics.add(topic)
        produce = self._producer.produce
        for value, key, headers, timestamp, partition in messages:
            while True:
                try:
                    produce(topic, value, key, partition, timestamp=timestamp, headers=list(headers) if headers else None)
                except BufferError:
                    self._producer.poll(RETRY_INTERVAL)
                except KafkaException as exception:
                    error = error_of(exception)
                    self._note_refused(error, topic, content_size(value, key))
                    if self._transactional and not self._refused:
                        self._flush()  # the reason is that of an earlier message, whose delivery report is next
                    raise self._exception_for(f"send to {topic}", error) from exception
                else:
                    break

    def _begin(self) -> None:
        self._call("begin a transaction", self._producer.begin_transaction)
        self._in_transaction = True
        self._failed = None
        self._refused = {}

    def flush(self) -> None:
        """Block until the brokers have acknowledged every message.

        Raises:
            RetryBatch, ConnectionLost, StreamError: they have not; `MessageTooLarge` if one exceeds a limit.
        """
        try:
            remaining = self._flush()
        except KafkaException as error:
            raise self._exception_for("deliver", error_of(error)) from error
        except SystemError as error:  # confluent-kafka 2.16 raises this after a fatal error; `commit` raises the reason
            if not self._transactional:
                raise ConnectionLost("the producer has had a fatal error") from error
            remaining = 0
        if self._failed:
            failed, self._failed = self._failed, None
            raise self._exception_for("deliver", failed)
        if remaining:
            raise RetryBatch(f"{remaining:,} messages are not delivered after {RETRY_TIMEOUT:.0f} s")

    def _flush(self) -> int:
        """Return how many messages are not delivered: none, or all those left in a transaction in which one has failed."""
        deadline = time.monotonic() + RETRY_TIMEOUT
        while True:
            remaining = self._producer.flush(min(FLUSH_INTERVAL, max(0.0, deadline - time.monotonic())))
            if not remaining or (self._transactional and self._failed) or time.monotonic() >= deadline:
                return remaining

    def commit(self, offset_commit: OffsetCommit | None) -> None:
        """Commit the transaction, and the offsets with it; without transactions this does nothing.

        Raises:
            RetryBatch, ConnectionLost, StreamError: neither is committed.
        """
        if not self._in_transaction:
            if not (self._transactional and offset_commit):
                return
            self._begin()
        if offset_commit:
            # Without member ID and generation a broker accepts offsets from anyone, even from a former member. So the assignment
            # is checked here, after which no rebalance callback runs.
            offset_commit.check()
            offsets, metadata = offset_commit.offsets, offset_commit.metadata
            self._call("commit offsets", lambda: self._producer.send_offsets_to_transaction(offsets, metadata, CALL_TIMEOUT))
        self._call("commit", lambda: self._producer.commit_transaction(CALL_TIMEOUT))
        self._in_transaction = False

    def discard(self) -> None:
        """Abort the transaction; without transactions, sent messages may still be delivered.

        Raises:
            ConnectionLost: it is unknown whether the transaction is aborted.
        """
        if not self._transactional:
            # Do not purge: it continues after it has returned, and drops messages that are sent next (librdkafka 2.16).
            self._failed, self._refused = None, {}
            return
        if not self._in_transaction:
            return
        try:
            self._call("abort", lambda: self._producer.abort_transaction(CALL_TIMEOUT))
        except Exception as error:  # any error leaves the producer unusable
            raise ConnectionLost(f"a transaction could not be aborted: {error}") from error
        self._in_transaction = False
        self._failed = None

    def close(self) -> None:
        """Abort an open transaction if the brokers answer soon, and release the client.

        The client's own `close` is not used: it waits for ever for brokers that do not answer (confluent-kafka 2.16).
        """
        with contextlib.suppress(KafkaException, SystemError):  # after a fatal error
            if self._in_transaction:
                self._producer.abort_transaction(CALL_TIMEOUT)
        with contextlib.suppress(KafkaException, SystemError):
            self._producer.purge()
        del self._producer

    def _call(self, action: str, call: Callable[[], object]) -> None:
        """Make a call, and retry it while its errors ask for that."""
        deadline = time.monotonic() + RETRY_TIMEOUT
        while True:
            try:
                call()
            except KafkaException as exception:
                with contextlib.suppress(KafkaException):  # after a fatal error
                    self._producer.poll(0)  # passes on the client's log, which explains the error
                error = error_of(exception)
                if reaction(error) != "retry call":
                    raise self._exception_for(action, error) from exception
                if time.monotonic() > deadline:
                    raise ConnectionLost(describe(action, error)) from exception
                time.sleep(RETRY_INTERVAL)
            else:
                return

    def _exception_for(self, action: str, error: KafkaError) -> Exception:
        """Return the exception for an error; a message's own error is more specific than that of its transaction."""
        failed, self._failed = self._failed, None
        if failed and reaction(failed) == "stop":
            action, error = "deliver", failed
        if refused := self._refused:
            self._refused = {}
            return MessageTooLarge(refused)
        if error.code() in UNKNOWN_TOPIC:  # a transaction's error does not name the topic
            action = f"{action} to {' or '.join(sorted(self._topics))}"
        return exception_for(action, error)

    def _note_refused(self, error: KafkaError, topic: str, size: int) -> None:
        """Keep the size of a message that is too large."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._refused.setdefault(topic, []).append(size)

    def _on_delivery(self, error: KafkaError | None, message: KafkaMessage[bytes, bytes]) -> None:
        """Keep the error of an undelivered message, unless it was purged with its aborted transaction."""
        purged = (KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT)  # noqa: SLF001 - the client's own errors begin so
        if error is not None and not (self._transactional and error.code() in purged):
            self._failed = error
            self._note_refused(error, message.topic() or "", content_size(message.value(), message.key()))
