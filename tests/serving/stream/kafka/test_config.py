"""Defaults, the user's settings and fixed ones; errors of the client without values."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from confluent_kafka import Consumer, Producer

from detector.errors import SettingError
from serving.stream.kafka import config

SECRET = "hunter2-hunter2"  # noqa: S105 - of no account


def test_the_users_settings_override_defaults_but_not_fixed_ones() -> None:
    consumer = config.consumer("a:9092", "group", "one", {"session.timeout.ms": "3000", "ssl.key.password": SECRET})
    assert consumer["session.timeout.ms"] == "3000"
    assert consumer["partition.assignment.strategy"] == "cooperative-sticky"
    assert (consumer["group.id"], consumer["group.instance.id"]) == ("group", "one")
    assert consumer["isolation.level"] == "read_committed"
    assert consumer["enable.auto.commit"] is False
    producer = config.producer("a:9092", "id", {"linger.ms": "50"})
    assert (producer["linger.ms"], producer["transactional.id"]) == ("50", "id")
    assert producer["enable.idempotence"] is True
    assert "transactional.id" not in config.producer("a:9092", None, {})
    assert "group.instance.id" not in config.consumer("a:9092", "group", None, {})


def test_the_brokers_decide_timeouts_under_the_new_protocol() -> None:
    settings = config.consumer("a:9092", "group", None, {"group.protocol": "consumer"})
    assert not {"session.timeout.ms", "partition.assignment.strategy"} & settings.keys()


@pytest.mark.parametrize("instance", [None, "one"])
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_the_client_accepts_the_settings(protocol: str, instance: str | None) -> None:
    user = {"group.protocol": protocol}
    with config.mask_errors(user):
        Consumer(config.consumer("127.0.0.1:1", "group", instance, user)).close()
        Producer(config.producer("127.0.0.1:1", instance, {}))


@pytest.mark.parametrize("name", config.FIXED)
def test_fixed_settings_cannot_be_changed(name: str) -> None:
    for check in (
        lambda user: config.consumer("a:9092", "group", None, user),
        lambda user: config.producer("a:9092", None, user),
    ):
        with pytest.raises(SettingError, match=f"^--kafka {name} cannot be set: it is|^--kafka {name} cannot be set: it would"):
            check({name: SECRET})


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"security.protocol": SECRET}, r"\*\*\*"),
        ({"no.such.setting": "1"}, "no.such.setting"),
        ({"batch.size": "-7"}, "batch.size"),
    ],
)
def test_the_clients_errors_are_one_line_without_values(user: Mapping[str, str], message: str) -> None:
    with pytest.raises(SettingError, match=f"^--kafka: .*{message}") as caught, config.mask_errors(user):
        Producer(config.producer("127.0.0.1:1", None, user))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
