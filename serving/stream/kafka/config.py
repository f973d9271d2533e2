"""The settings of Kafka's clients: ours, over which the user's go, and those that no user may change."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaException

from detector.errors import SettingError
from serving.log import log

Config = dict[str, Any]

SESSION = 10_000  # ms until a worker that is silent has lost its partitions
TRANSACTION = 30_000  # ms until an open transaction of a dead worker is aborted
PREFETCHED = 16_384  # kB that wait to be taken

# On these the guarantee rests, or the bookkeeping of what is ours.
FIXED = {
    "bootstrap.servers": "stands in the address",
    "group.id": "is --group",
    "group.instance.id": "is --id",
    "transactional.id": "comes of --group and --id",
    "partition.assignment.strategy": "is cooperative-sticky",
    "enable.auto.commit": "would commit what is not judged",
    "enable.auto.offset.store": "would commit what is not judged",
    "isolation.level": "is read_committed",
    "enable.idempotence": "is on",
    "enable.partition.eof": "is off",
}


def consumer(brokers: str, group: str, instance: str | None, given: Mapping[str, str]) -> Config:
    """Give the consumer's settings; `instance` is the name of a member that is expected back."""
    check(given)
    ours: Config = {
        "auto.offset.reset": "earliest",  # latest would skip what came before the first start
        "queued.max.messages.kbytes": PREFETCHED,
        "queued.min.messages": 10_000,
        "fetch.queue.backoff.ms": 10,  # 1,000 starves a queue this small
    }
    if given.get("group.protocol") != "consumer":  # in KIP-848's protocol the brokers decide on these
        ours |= {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": SESSION}
    fixed: Config = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
    }
    if instance:
        fixed["group.instance.id"] = instance
    return {**common(brokers), **ours, **given, **fixed}


def producer(brokers: str, transactional_id: str | None, given: Mapping[str, str]) -> Config:
    """Give the producer's settings; without an id it makes no transactions."""
    check(given)
    ours: Config = {
        "linger.ms": 5,
        "compression.type": "lz4",
        "queue.buffering.max.messages": 1_000_000,
        "message.max.bytes": 64 << 20,  # the topic's own limit is the one that counts
    }
    fixed: Config = {"enable.idempotence": True, "delivery.report.only.error": True}
    if transactional_id:
        ours["transaction.timeout.ms"] = TRANSACTION
        fixed["transactional.id"] = transactional_id
    return {**common(brokers), **ours, **given, **fixed}


def common(brokers: str) -> Config:
    """Give what every client has."""
    return {
        "bootstrap.servers": brokers,
        "client.id": "residuum",
        "logger": _logger(),
        "reconnect.backoff.max.ms": 2000,
        "log.connection.close": False,
    }


def check(given: Mapping[str, str]) -> None:
    """Refuse to change what may not be changed.

    Raises:
        SettingError: names it.
    """
    for name in given:
        if name in FIXED:
            raise SettingError(f"--kafka {name} cannot be set: it {FIXED[name]}")


@contextlib.contextmanager
def told(given: Mapping[str, str]) -> Iterator[None]:
    """Tell in one line, and without values, what the client has against a setting.

    Raises:
        SettingError: it has something.
    """
    try:
        yield
    except KafkaException as error:
        said = str(error.args[0].str())
        for value in sorted(filter(None, given.values()), key=len, reverse=True):
            said = said.replace(f'"{value}"', "***")
        raise SettingError(f"--kafka: {said}") from None


def _logger() -> logging.Logger:
    """Give what the client logs to: our log, errors alone; whatever matters is raised."""
    made = logging.getLogger("residuum.kafka")
    if not made.handlers:
        made.addHandler(_ToOurs(logging.ERROR))
        made.propagate = False
    return made


class _ToOurs(logging.Handler):
    """Hands lines to our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line of the client's."""
        log().warning("kafka", said=record.getMessage())
