"""What each of Kafka's errors means to the worker: the table of what was measured on brokers and on librdkafka's mock."""

# ruff: noqa: SLF001 - the client's own errors begin with an underscore

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from detector.errors import StreamError
from serving.stream.base import Again, Lost
from serving.stream.kafka.errors import lost_or_worse, meaning, raised

ABORT, RETRY, FATAL = {"txn_requires_abort": True}, {"retriable": True}, {"fatal": True}
TABLE = [
    (KafkaError.ILLEGAL_GENERATION, ABORT, "batch again"),
    (KafkaError.UNKNOWN_MEMBER_ID, ABORT, "batch again"),
    (KafkaError.REBALANCE_IN_PROGRESS, ABORT, "batch again"),
    (KafkaError.INVALID_PRODUCER_ID_MAPPING, ABORT, "batch again"),
    (KafkaError._FENCED, ABORT, "fenced"),  # not fatal, and asks for an abort: the name is another's all the same
    (KafkaError._FENCED, FATAL, "fenced"),
    (KafkaError.INVALID_PRODUCER_EPOCH, FATAL, "fenced"),
    (KafkaError.FENCED_INSTANCE_ID, FATAL, "fenced"),
    (KafkaError.CONCURRENT_TRANSACTIONS, RETRY, "call again"),
    (KafkaError._TIMED_OUT, RETRY, "call again"),
    (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, FATAL, "lost"),
    (KafkaError._STATE, {}, "lost"),
    (KafkaError.INVALID_TXN_STATE, {}, "lost"),
    (KafkaError.MSG_SIZE_TOO_LARGE, ABORT, "end"),
    (KafkaError.TOPIC_AUTHORIZATION_FAILED, ABORT, "end"),
    (KafkaError.UNKNOWN_TOPIC_OR_PART, {}, "end"),
]


def made(code: int, flags: dict[str, bool]) -> KafkaError:
    return KafkaError(code, "said", **flags)


@pytest.mark.parametrize(("code", "flags", "means"), TABLE, ids=str)
def test_an_error_means(code: int, flags: dict[str, bool], means: str) -> None:
    error = made(code, flags)
    assert meaning(error) == means
    exception = raised("commit", error)
    kinds = {"batch again": Again, "call again": Again, "fenced": Lost, "lost": Lost, "end": StreamError}
    assert type(exception) is kinds[means]
    assert getattr(exception, "fenced", False) == (means == "fenced")
    assert not isinstance(lost_or_worse("read", error), Again)
    assert str(exception).startswith(f"commit: {error.name()}: said")
