"""Defaults that depend on addresses, and settings of Kafka's client from files and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from detector.errors import SettingError
from residuum.cli import app
from serving.stream.addresses import Address, Topic, parse_address
from serving.stream.run import log_fields
from serving.stream.settings import StreamSettings, read_client_settings


def settings(source: str, sink: str, **changes: object) -> StreamSettings:
    return StreamSettings(source=parse_address(source), sink=parse_address(sink), group="group", **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "sink", "dead_letters"),
    [
        ("kafka://a/readings", "kafka://a/verdicts", Topic("a", "readings.dlq")),
        ("-", "kafka://a/verdicts", Topic("a", "verdicts.dlq")),
        ("-", "verdicts.ndjson", Path("verdicts.ndjson")),
        ("-", "-", None),
    ],
)
def test_dead_letters_have_a_default_address(source: str, sink: str, dead_letters: Address) -> None:
    assert settings(source, sink).dead_letters_to == dead_letters
    assert settings(source, sink, dead_letters=Path("other")).dead_letters_to == Path("other")


@pytest.mark.parametrize(
    ("source", "sink", "exactly_once"),
    [
        ("kafka://a/readings", "kafka://a/verdicts", True),
        ("kafka://a/readings", "kafka://b/verdicts", False),
        ("kafka://a/readings", "verdicts.ndjson", False),
        ("-", "-", False),
    ],
)
def test_exactly_once_needs_topics_of_the_same_brokers(source: str, sink: str, *, exactly_once: bool) -> None:
    assert settings(source, sink).exactly_once == exactly_once
    assert not settings(source, sink, guarantee="at-least-once").exactly_once
    if not exactly_once:
        with pytest.raises(SettingError, match="use at-least-once"):
            _ = settings(source, sink, guarantee="exactly-once").exactly_once


def test_a_worker_with_an_id_keeps_its_transactional_id() -> None:
    named, unnamed = settings("-", "-", worker_id="one"), settings("-", "-")
    assert named.transactional_id == "residuum-group-one"
    assert unnamed.transactional_id != unnamed.transactional_id


def test_options_override_the_file_and_secrets_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    monkeypatch.setenv("SASL_USER", "me")
    file = tmp_path / "client.properties"
    file.write_text(f"# a comment\n! another\n\nsasl.password=file:{tmp_path / 'password'}\nsasl.username = nobody\n")
    assert read_client_settings(file, ["sasl.username=env:SASL_USER", "ssl.key.password=a=b"]) == {
        "sasl.password": "hunter2",
        "sasl.username": "me",
        "ssl.key.password": "a=b",
    }


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("novalue", "must be key=value"),
        ("=hunter2", "must be key=value"),
        ("sasl.password=env:NOT_SET_AT_ALL", "sasl.password: .*NOT_SET_AT_ALL"),
        ("sasl.password=file:/no/such/file", "sasl.password: /no/such/file cannot be read"),
    ],
)
def test_a_malformed_setting_is_rejected_without_its_value(option: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        read_client_settings(None, [option])
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nowhere cannot be read"):
        read_client_settings(tmp_path / "nowhere", [])
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(SettingError, match="binary cannot be read: it is not text"):
        read_client_settings(tmp_path / "binary", [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--group", "a"), "--group needs a topic"),
        (("--id", "a"), "--id needs a topic"),
        (("--kafka", "a=b"), "--kafka needs a topic"),
        (("--changelog", "a"), "--changelog needs a topic as --from"),
        (("--start", "earliest", "--tombstones", "skip"), "--start and --tombstones need a topic as --from"),
        (("--on-lost-position", "stop"), "--on-lost-position needs a topic as --from"),
        (("--state", "a"), "--state needs a file as --from"),
        (("--rotation-idle", "1"), "--rotation-idle needs a file as --from"),
    ],
    ids=lambda value: value[0].removeprefix("--") if isinstance(value, tuple) else "",
)
def test_an_option_that_does_not_apply_is_an_error(pumps: Path, options: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(app, ["stream", str(pumps), "--from", "-", "--to", "-", *options])
    assert done.exit_code == 2
    assert message in done.output


def test_the_log_names_what_applies() -> None:
    assert {**log_fields(settings("-", "-"))} == {"source": "-", "sink": "-", "dead_letters": "-", "guarantee": "none"}
    assert log_fields(settings("readings.ndjson", "-"))["guarantee"] == "at-least-once"
    assert log_fields(settings("kafka://a/readings", "kafka://a/verdicts"))["group"] == "group"
