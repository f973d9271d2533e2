"""Settings of Kafka's clients: our defaults, which the user's settings override, and fixed settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaException

from detector.errors import SettingError
from serving.stream.kafka.client_log import client_logger

Config = dict[str, Any]

SESSION_TIMEOUT = 10_000  # ms until a silent worker loses its partitions
TRANSACTION_TIMEOUT = 30_000  # ms until the transaction of a dead worker is aborted
PREFETCH_KB = 16_384

# The guarantee, or the tracking of assigned partitions, depends on these.
FIXED = {
    "bootstrap.servers": "is part of the address",
    "group.id": "is set by --group",
    "group.instance.id": "is set by --id",
    "transactional.id": "is derived from --group and --id",
    "auto.offset.reset": "is set by --start and --on-lost-position",
    "partition.assignment.strategy": "is always cooperative-sticky",
    "enable.auto.commit": "would commit records that are not scored yet",
    "enable.auto.offset.store": "would commit records that are not scored yet",
    "isolation.level": "is always read_committed",
    "enable.idempotence": "is always on",
    "enable.partition.eof": "is always off",
}


def consumer(brokers: str, group: str, instance: str | None, user: Mapping[str, str], *, reset: str = "earliest") -> Config:
    """Return a consumer's settings; `instance` is the ID of a static group member.

    `reset` is what the client does without a usable position; with `error` it returns one.
    """
    check(user)
    defaults: Config = {
        "queued.max.messages.kbytes": PREFETCH_KB,
        "queued.min.messages": 10_000,
        "fetch.queue.backoff.ms": 10,  # the default of 1,000 starves a queue this small
    }
    if user.get("group.protocol") != "consumer":  # under KIP-848 the brokers decide these
        defaults |= {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": SESSION_TIMEOUT}
    fixed: Config = {
        "group.id": group,
        "auto.offset.reset": reset,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
    }
    if instance:
        fixed["group.instance.id"] = instance
    return {**common(brokers), **defaults, **user, **fixed}


def producer(brokers: str, transactional_id: str | None, user: Mapping[str, str]) -> Config:
    """Return a producer's settings; it is transactional if it has a transactional ID."""
    check(user)
    defaults: Config = {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "message.max.bytes": 64 << 20,  # leaves the decision to the topic's own limit
    }
    fixed: Config = {"enable.idempotence": True, "delivery.report.only.error": True}
    if transactional_id:
        defaults["transaction.timeout.ms"] = TRANSACTION_TIMEOUT
        fixed["transactional.id"] = transactional_id
    return {**common(brokers), **defaults, **user, **fixed}


def common(brokers: str) -> Config:
    """Return the settings that all clients share."""
    return {
        "bootstrap.servers": brokers,
        "client.id": "residuum",
        "logger": client_logger(),
        "reconnect.backoff.max.ms": 2000,
    }


def check(user: Mapping[str, str]) -> None:
    """Check that the user changes no fixed setting.

    Raises:
        SettingError: a fixed setting is changed.
    """
    for name in user:
        if name in FIXED:
            raise SettingError(f"--kafka {name} cannot be set: it {FIXED[name]}")


@contextlib.contextmanager
def mask_errors(user: Mapping[str, str]) -> Iterator[None]:
    """Translate the client's errors about settings into one line, with the values masked.

    Raises:
        SettingError: the client rejects a setting.
    """
    try:
        yield
    except KafkaException as error:
        message = str(error.args[0].str()).strip()
        for value in sorted(filter(None, user.values()), key=len, reverse=True):
            message = message.replace(f'"{value}"', "***")
        raise SettingError(f"--kafka: {message}") from None
