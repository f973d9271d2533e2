"""Transactions of the producer, and what its errors become."""

from __future__ import annotations

import contextlib
import random

import pytest

from detector.errors import SettingError, StreamError
from serving.stream.base import ConnectionLost
from serving.stream.kafka import config
from serving.stream.kafka.producer import BY_KEY, KafkaProducer, Message
from tests.serving.stream.conftest import FAST_TRANSACTIONS, Topics


def producer(topics: Topics, transactional_id: str | None = None, **user: str) -> KafkaProducer:
    settings = config.producer(topics.bootstrap, transactional_id, {**FAST_TRANSACTIONS, **user} if transactional_id else user)
    return KafkaProducer(settings, user, transactional=transactional_id is not None)


def message(value: bytes) -> Message:
    return value, None, (), 0, BY_KEY


def test_only_committed_messages_are_visible(topics: Topics) -> None:
    with contextlib.closing(producer(topics, topics.group)) as sender:
        for value, end in ((b"aborted", sender.discard), (b"committed", lambda: sender.commit(None))):
            sender.send(topics.verdicts, [message(value)])
            sender.flush()
            end()
        sender.send(topics.verdicts, [message(b"open")])
        sender.flush()
    assert [record.value for record in topics.read(topics.verdicts, 1)] == [b"committed"]


def test_a_second_producer_with_the_same_id_fences_the_first(topics: Topics) -> None:
    with contextlib.closing(producer(topics, topics.group)) as first:
        first.send(topics.verdicts, [message(b"of the first")])
        first.flush()
        with contextlib.closing(producer(topics, topics.group)) as second:
            second.send(topics.verdicts, [message(b"of the second")])
            second.flush()
            second.commit(None)
        with pytest.raises(ConnectionLost) as caught:
            first.commit(None)
        assert caught.value.fenced
    assert [record.value for record in topics.read(topics.verdicts, 1)] == [b"of the second"]


@pytest.mark.parametrize("is_transactional", [False, True])
def test_a_message_that_is_too_large_stops_the_worker(topics: Topics, *, is_transactional: bool) -> None:
    """The topic's limit is one megabyte; the message's own error is raised, and not that of the transaction."""

    def deliver(sender: KafkaProducer) -> None:
        sender.send(topics.verdicts, [message(incompressible)])
        sender.flush()
        sender.commit(None)

    incompressible = random.Random(1).randbytes(2_000_000)  # noqa: S311 - no secret
    sender = producer(topics, topics.group if is_transactional else None)
    with contextlib.closing(sender), pytest.raises(StreamError, match=r"deliver.*MSG_SIZE_TOO_LARGE"):
        deliver(sender)


def test_a_setting_that_the_client_rejects_is_named(topics: Topics) -> None:
    with pytest.raises(SettingError, match=r"no\.such\.setting"):
        producer(topics, **{"no.such.setting": "1"})
