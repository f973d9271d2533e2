"""What each of Kafka's errors means to the worker: the table of what was measured on brokers and on librdkafka's mock."""

# ruff: noqa: SLF001 - the client's own errors begin with an underscore

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from detector.errors import StreamError
from serving.stream.base import ConnectionLost, RetryBatch
from serving.stream.kafka.errors import consumer_exception_for, exception_for, reaction

ABORT, RETRY, FATAL = {"txn_requires_abort": True}, {"retriable": True}, {"fatal": True}
TABLE = [
    (KafkaError.ILLEGAL_GENERATION, ABORT, "retry batch"),
    (KafkaError.UNKNOWN_MEMBER_ID, ABORT, "retry batch"),
    (KafkaError.REBALANCE_IN_PROGRESS, ABORT, "retry batch"),
    (KafkaError.INVALID_PRODUCER_ID_MAPPING, ABORT, "retry batch"),
    (KafkaError._FENCED, ABORT, "fenced"),  # not fatal, and asks for an abort: the name is another's all the same
    (KafkaError._FENCED, FATAL, "fenced"),
    (KafkaError.INVALID_PRODUCER_EPOCH, FATAL, "fenced"),
    (KafkaError.FENCED_INSTANCE_ID, FATAL, "fenced"),
    (KafkaError.CONCURRENT_TRANSACTIONS, RETRY, "retry call"),
    (KafkaError._TIMED_OUT, RETRY, "retry call"),
    (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, FATAL, "reconnect"),
    (KafkaError._STATE, {}, "reconnect"),
    (KafkaError.INVALID_TXN_STATE, {}, "reconnect"),
    (KafkaError.MSG_SIZE_TOO_LARGE, ABORT, "stop"),
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, ABORT, "stop"),
    (KafkaError.UNKNOWN_TOPIC_OR_PART, {}, "stop"),
]


def made(code: int, flags: dict[str, bool]) -> KafkaError:
    return KafkaError(code, "said", **flags)


@pytest.mark.parametrize(("code", "flags", "means"), TABLE, ids=str)
def test_an_error_means(code: int, flags: dict[str, bool], means: str) -> None:
    error = made(code, flags)
    assert reaction(error) == means
    exception = exception_for("commit", error)
    kinds = {
        "retry batch": RetryBatch,
        "retry call": RetryBatch,
        "fenced": ConnectionLost,
        "reconnect": ConnectionLost,
        "stop": StreamError,
    }
    assert type(exception) is kinds[means]
    assert getattr(exception, "fenced", False) == (means == "fenced")
    assert not isinstance(consumer_exception_for("read", error), RetryBatch)
    assert str(exception).startswith(f"commit: {error.name()}: said")
