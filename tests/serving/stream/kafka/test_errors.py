"""Reactions to Kafka's errors: the table of what was measured on brokers and on librdkafka's mock."""

# ruff: noqa: SLF001 - the client's own errors begin with an underscore

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from detector.errors import StreamError
from serving.log import configure_logging
from serving.stream.base import ConnectionLost, RetryBatch
from serving.stream.kafka import config
from serving.stream.kafka.errors import (
    check_consumer_error,
    consumer_exception_for,
    exception_for,
    reaction,
    translate_errors,
)

ABORT, RETRY, FATAL = {"txn_requires_abort": True}, {"retriable": True}, {"fatal": True}
TABLE = [
    (KafkaError.ILLEGAL_GENERATION, ABORT, "retry batch"),
    (KafkaError.UNKNOWN_MEMBER_ID, ABORT, "retry batch"),
    (KafkaError.REBALANCE_IN_PROGRESS, ABORT, "retry batch"),
    (KafkaError.INVALID_PRODUCER_ID_MAPPING, ABORT, "retry batch"),
    (KafkaError._FENCED, ABORT, "fenced"),  # not fatal, and requires an abort; the ID is another client's all the same
    (KafkaError._FENCED, FATAL, "fenced"),
    (KafkaError.INVALID_PRODUCER_EPOCH, FATAL, "fenced"),
    (KafkaError.FENCED_INSTANCE_ID, FATAL, "fenced"),
    (KafkaError._FATAL, {}, "reconnect"),
    (KafkaError.CONCURRENT_TRANSACTIONS, RETRY, "retry call"),
    (KafkaError._TIMED_OUT, RETRY, "retry call"),
    (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, FATAL, "reconnect"),
    (KafkaError._STATE, {}, "reconnect"),
    (KafkaError.INVALID_TXN_STATE, {}, "reconnect"),
    (KafkaError.MSG_SIZE_TOO_LARGE, ABORT, "stop"),
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, ABORT, "stop"),
    (KafkaError.UNKNOWN_TOPIC_OR_PART, {}, "stop"),
]
EXCEPTIONS = {
    "retry batch": RetryBatch,
    "retry call": RetryBatch,
    "fenced": ConnectionLost,
    "reconnect": ConnectionLost,
    "stop": StreamError,
}


@pytest.mark.parametrize(("code", "flags", "expected"), TABLE, ids=str)
def test_an_error_has_a_reaction_and_an_exception(code: int, flags: dict[str, bool], expected: str) -> None:
    error = KafkaError(code, "the reason", **flags)
    assert reaction(error) == expected
    exception = exception_for("commit", error)
    assert type(exception) is EXCEPTIONS[expected]
    assert getattr(exception, "fenced", False) == (expected == "fenced")
    assert not isinstance(consumer_exception_for("read", error), RetryBatch)
    assert str(exception).startswith(f"commit: {error.name()}: the reason")


def test_a_consumers_error_raises_only_if_the_client_cannot_recover(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    check_consumer_error("read", KafkaError(KafkaError._TRANSPORT, "the broker is gone"))
    assert '"consumer error"' in capsys.readouterr().err
    for code, flags, expected in (
        (KafkaError.FENCED_INSTANCE_ID, {}, ConnectionLost),
        (KafkaError._TRANSPORT, FATAL, ConnectionLost),
        (KafkaError._FATAL, {}, ConnectionLost),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, {}, StreamError),
    ):
        with pytest.raises(expected, match="read: "):
            check_consumer_error("read", KafkaError(code, "the reason", **flags))
    with pytest.raises(ConnectionLost, match="read: _FATAL") as caught:
        check_consumer_error("read", KafkaError(KafkaError._FATAL, "Fatal error: Broker: Static consumer fenced by other"))
    assert caught.value.fenced
    with pytest.raises(StreamError, match="rewind: "), translate_errors("rewind"):
        raise KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION, "the reason"))


def test_errors_of_a_real_broker(broker: str) -> None:
    """A topic that does not exist stops the worker; a call in the wrong state reconnects."""
    consumer = Consumer(config.consumer(broker, "group", None, {}) | {"allow.auto.create.topics": False})
    try:
        consumer.subscribe(["no-such-topic"])
        messages: list[object] = []
        for _ in range(100):
            messages += consumer.consume(1, 0.1)
            if messages:
                break
        error = messages[0].error()  # type: ignore[attr-defined]
        assert reaction(error) == "stop"
        with pytest.raises(StreamError, match="UNKNOWN_TOPIC_OR_PART"):
            check_consumer_error("read", error)
    finally:
        consumer.close()
    with pytest.raises(KafkaException) as caught:
        Producer(config.producer(broker, "residuum-errors", {})).begin_transaction()
    assert reaction(caught.value.args[0]) == "reconnect"
