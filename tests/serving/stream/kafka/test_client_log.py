"""Why a connection fails is logged once, with a remedy."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from detector.errors import StreamError
from serving.log import configure_logging
from serving.stream.addresses import Topic
from serving.stream.kafka import connect
from serving.stream.kafka.client_log import HANDLER, ClientLogHandler
from serving.stream.settings import StreamSettings
from tests.kafka.brokers import Cluster, make_topics
from tests.kafka.shared import requires_programs
from tests.ports import free_port
from tests.serving.stream.conftest import StartThread, until

SASL = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": "alice", "sasl.password": "secret"}
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "ADMIN_TIMEOUT", 1.0)
    configure_logging("json")
    HANDLER.reset()


def explanations(
    start_thread: StartThread, capsys: pytest.CaptureFixture[str], brokers: str, user: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return what a worker that cannot connect explains, with the remedies, until it has tried twice."""
    lines: list[dict[str, str]] = []

    def has_tried_twice() -> bool:
        lines.extend(json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{"))
        return sum(line["event"] == "connection lost" for line in lines) > 1

    worker = start_thread(StreamSettings(source=Topic(brokers, "a"), sink=Topic(brokers, "b"), group="group", kafka=user))
    until(has_tried_twice)
    worker.stop()
    return [(line["message"], line["remedy"]) for line in lines if line["event"] == "kafka"]


@pytest.mark.parametrize(
    ("address", "user", "explanation", "remedy"),
    [
        ("broker", {"security.protocol": "ssl"}, "connecting to a PLAINTEXT broker|connection closed", "security.protocol"),
        ("broker", SASL, "SASL PLAIN mechanism handshake failed", "security.protocol"),
        ("no-such-host.invalid:9092", {}, "Failed to resolve", "host's name"),
        ("nobody", {}, "Connection refused", "is a broker running"),
    ],
    ids=["TLS to plaintext", "SASL to plaintext", "unknown host", "refused"],
)
def test_a_failed_connection_is_explained_once(
    address: str,
    user: Mapping[str, str],
    explanation: str,
    remedy: str,
    broker: str,
    start_thread: StartThread,
    capsys: pytest.CaptureFixture[str],
) -> None:
    brokers = {"broker": broker, "nobody": f"127.0.0.1:{free_port()}"}.get(address, address)
    ((message, advice),) = explanations(start_thread, capsys, brokers, user)
    assert any(part in message for part in explanation.split("|"))
    assert remedy in advice
    assert "secret" not in message + advice


@pytest.mark.long
def test_listeners_with_tls_sasl_and_another_address(
    tmp_path: Path, start_thread: StartThread, capsys: pytest.CaptureFixture[str]
) -> None:
    requires_programs()
    with_listeners = Listeners(tmp_path)
    try:
        with_listeners.start()
        sasl, tls, advertised = with_listeners.addresses
        for brokers, user, explanation, remedy in (
            (sasl, {}, "Disconnected", "security.protocol to ssl, sasl_plaintext or sasl_ssl"),
            (tls, {}, "Disconnected", "security.protocol to ssl, sasl_plaintext or sasl_ssl"),
            (sasl, {**SASL, "sasl.password": "wrong"}, "Authentication failed", "sasl.username and sasl.password"),
            (sasl, {**SASL, "sasl.mechanism": "SCRAM-SHA-256"}, "supported mechanisms: PLAIN", "set --kafka sasl.mechanism"),
            (tls, {"security.protocol": "ssl"}, "certificate verify failed", "ssl.ca.location"),
        ):
            HANDLER.reset()
            ((message, advice),) = explanations(start_thread, capsys, brokers, user)
            assert explanation in message
            assert remedy in advice
        make_topics(with_listeners.plain, a=1, b=1, a__dlq=1)
        settings = StreamSettings(source=Topic(advertised, "a"), sink=Topic(advertised, "b"), group="group")
        worker = start_thread(settings)
        until(lambda: "advertised.listeners" in capsys.readouterr().err)
        worker.stop()
        denied = StreamSettings(
            source=Topic(sasl, "a"), sink=Topic(sasl, "b"), group="group", kafka={**SASL, "sasl.username": "bob"}
        )
        worker = start_thread(denied)
        with pytest.raises(StreamError, match="Topic authorization failed; grant this user Read"):
            worker.join()
        worker.error = None
    finally:
        with_listeners.stop()


class Listeners:
    """A broker with a plaintext, a SASL and a TLS listener, and one that advertises an address that does not exist."""

    def __init__(self, folder: Path) -> None:
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        names = ["-subj", "/CN=127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names], check=True, capture_output=True)
        both = folder / "both.pem"
        both.write_text(key.read_text() + certificate.read_text())
        names = ("SASL_PLAINTEXT", "SSL", "OTHER")
        ports = [free_port() for _ in names]
        listeners = [f"{name}://127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)]
        self.addresses = [f"127.0.0.1:{port}" for port in ports]
        self._cluster = Cluster(folder / "cluster")
        self.plain = self._cluster.bootstrap
        self._cluster.add_listeners(listeners, [*listeners[:2], "OTHER://no-such-host.invalid:9092"])
        self._cluster.set_properties(
            {
                "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,OTHER:PLAINTEXT,SSL:SSL,"
                "SASL_PLAINTEXT:SASL_PLAINTEXT",
                "inter.broker.listener.name": "PLAINTEXT",
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{LOGIN} user_alice="secret" user_bob="secret";',
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": both,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS;User:alice",
            }
        )

    def start(self) -> None:
        self._cluster.start()

    def stop(self) -> None:
        self._cluster.stop()


def test_only_explanations_are_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Not what the client does by itself, nor the settings of other kinds of clients."""
    handler, prefix = ClientLogHandler(), "[residuum#consumer-1] [thrd:a:9092/1]: a:9092/1:"

    def emit(level: int, message: str) -> None:
        handler.emit(logging.LogRecord("residuum.kafka", level, "", 0, message, (), None))

    emit(logging.INFO, f"FAIL {prefix} Disconnected (after 600000ms in state UP)")
    emit(
        logging.WARNING,
        "CONFWARN [residuum#producer-1] [thrd:app]: session.timeout.ms is a consumer property and will be ignored",
    )
    emit(logging.WARNING, "GETPID [residuum#producer-1] [thrd:main]: Failed to acquire transactional PID: retrying")
    assert not capsys.readouterr().err
    for _ in range(2):
        emit(logging.INFO, f"FAIL {prefix} Disconnected (after 3ms in state APIVERSION_QUERY, 7 identical error(s) suppressed)")
    assert capsys.readouterr().err.count('"kafka"') == 1
    handler.reset()
    emit(logging.INFO, f"FAIL {prefix} Disconnected (after 9ms in state APIVERSION_QUERY)")
    emit(logging.ERROR, "an error without any form")
    assert capsys.readouterr().err.count('"kafka"') == 2
