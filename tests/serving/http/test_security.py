"""Tokens, TLS, security headers, the log, and settings that prevent a start."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
import subprocess
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from residuum.cli import app
from serving.codecs.json import JsonCodec
from tests.data.make_bundle import KEPT
from tests.programs import program
from tests.serving.http.conftest import ASK, Service, Start, StartProcess, free_port, until
from tests.tables import normal_rows

SCORE, OPERATE, METRICS = "first-secret", "second-secret", "third-secret"


def line(token: str, roles: str) -> str:
    return f"{hashlib.sha256(token.encode()).hexdigest()}  {roles}  somebody\n"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text("# tokens\n\n" + line(SCORE, "score") + line(OPERATE, "operate,score") + line(METRICS, "metrics"))
    return file


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_tokens(start_process: StartProcess, tokens: Path) -> None:
    service = start_process("--token-file", tokens, "--log", "json")
    assert service.post([{}]).status_code == 401
    assert service.post([{}], headers={"authorization": "Basic abc"}).headers["www-authenticate"] == "Bearer"
    assert service.post([{}], headers=bearer("wrong")).status_code == 401
    assert service.post([{}], headers=bearer(METRICS)).status_code == 403
    assert service.post([{}], headers=bearer(SCORE)).status_code == 200
    assert ASK.get(f"{service.url}/metrics", headers=bearer(SCORE)).status_code == 403
    assert ASK.get(f"{service.url}/metrics", headers=bearer(METRICS)).status_code == 200
    assert ASK.get(f"{service.url}/v1/models").status_code == 401
    assert ASK.get(f"{service.url}/readyz").status_code == 200
    for path in (
        "/metrics",
        "/v1/events",
        "/v1/models/pumps/history",
        "/v1/models/pumps/promote",
        "/v1/models/pumps/rollback",
        "/v1/models/pumps/feedback",
    ):
        method = "POST" if "models" in path else "GET"
        assert ASK.request(method, f"{service.url}{path}", headers=bearer(SCORE)).status_code == 403
        assert ASK.request(method, f"{service.url}{path}%0A", headers=bearer(SCORE)).status_code == 404
    session = ASK.post(f"{service.url}/v1/models/pumps/sessions/promote", json=[{}], headers=bearer(SCORE))
    assert "scores single rows" in session.json()["detail"]  # a key may be any word

    tokens.write_text(line("fourth", "score"))
    until(lambda: service.post([{}], headers=bearer("fourth")).status_code == 200)
    assert service.post([{}], headers=bearer(SCORE)).status_code == 401
    tokens.write_text("not a token\n")
    time.sleep(1.2)
    assert service.post([{}], headers=bearer("fourth")).status_code == 200
    assert "line 1" in service.log
    assert "secret" not in service.log


@pytest.mark.parametrize("text", ["secret score\n", f"{'0' * 64} admin\n"])
def test_a_bad_token_file_is_a_failed_start(models: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "tokens").write_text(text)
    assert "line 1: expected a SHA-256" in failed_start(models, "--token-file", tmp_path / "tokens")


def test_tls(start_process: StartProcess, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = [
        program("openssl", "openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        *subject,
    ]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    service = start_process("--tls-certificate", certificate, "--tls-key", key, "--log", "json")
    trusting = ssl.create_default_context(cafile=str(certificate))
    done = httpx.post(f"https://127.0.0.1:{service.port}/v1/models/pumps/score", json=[{}], verify=trusting)
    assert done.status_code == 200
    assert "max-age" in done.headers["strict-transport-security"]
    with pytest.raises(httpx.HTTPError):
        service.post([{}])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "cuda"], "cuda was requested"),
        (["--tls-certificate", KEPT / "manifest.json"], "cannot load the certificate"),
        (["--port", "PORT"], "cannot listen on"),
        (["--workers", 2, "--port", "PORT"], "cannot listen on"),
        (["--max-rows", "0"], "max-rows must be more than 0"),
    ],
)
def test_an_unavailable_resource_is_a_failed_start(models: Path, flags: list[object], message: str, service: Service) -> None:
    assert message in failed_start(models, *(service.port if flag == "PORT" else flag for flag in flags))


def test_no_bundle_is_a_failed_start(tmp_path: Path) -> None:
    assert "is not a folder" in failed_start(tmp_path / "nowhere")


def failed_start(models: Path, *flags: object) -> str:
    """Start a service that must not start, in this process; return its message of one line."""
    done = CliRunner().invoke(app, [*map(str, ("serve", models, "--port", free_port(), *flags))])
    assert done.exit_code == 2, done.output
    assert done.output.count("\n") == 1
    return done.output


def test_security_headers(service: Service) -> None:
    for done in (service.post([{}]), ASK.get(f"{service.url}/nowhere"), ASK.get(f"{service.url}/livez")):
        assert done.headers["x-content-type-options"] == "nosniff"
        assert done.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in done.headers["content-security-policy"]
        assert "server" not in done.headers


def test_log_rows_writes_the_values_of_rows(start_process: StartProcess) -> None:
    service = start_process("--log", "json", "--log-rows")
    table = normal_rows(2, seed=5, holes=0.0)
    body = io.BytesIO()
    table.write_ipc_stream(body)
    address = f"{service.url}/v1/models/pumps/score"
    responses = [
        service.post(table.to_dicts()),
        ASK.post(address, content=table.write_ndjson().encode(), headers={"content-type": "application/x-ndjson"}),
        ASK.post(address, content=body.getvalue(), headers={"content-type": "application/vnd.apache.arrow.stream"}),
        ASK.post(address, content=np.zeros((2, 10)).tobytes(), headers={"content-type": "application/octet-stream"}),
    ]
    inputs = [{"name": each.name, "shape": [2], "datatype": "BYTES", "data": each.to_list()} for each in table]
    responses.append(ASK.post(f"{service.url}/v2/models/pumps/infer", json={"inputs": inputs}))
    assert {each.status_code for each in responses} == {200}
    service.stop()
    written = [event for text in service.log.splitlines() if (event := json.loads(text))["event"] == "row"]
    assert len(written) == 10
    assert [each["request_id"] for each in written[::2]] == [each.headers["x-request-id"] for each in responses]
    for place in (0, 2, 4, 8):
        assert written[place]["values"]["temperature"] == table["temperature"][0]
    assert written[1]["values"]["machine"] == table["machine"][1]


def test_the_log_has_request_ids_and_no_values(start_process: StartProcess) -> None:
    service = start_process("--log", "json", "--access-share", "1")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    rows = [normal_rows(1).to_dicts()[0] | {"machine": "hidden-word", "temperature": "hidden-word"}]
    done = service.post(rows, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert done.headers["x-request-id"] == trace
    assert service.post(rows, headers={"x-request-id": "mine-7"}).headers["x-request-id"] == "mine-7"
    assert service.post(rows, headers={"x-request-id": "not mine {}"}).headers["x-request-id"] != "mine-7"
    assert ASK.get(f"{service.url}/nowhere", headers={"x-request-id": "lost"}).json()["request_id"] == "lost"
    service.stop()
    events = [event for text in service.log.splitlines() if (event := json.loads(text)).get("path") != "/livez"]
    assert [event["event"] for event in events] == ["serving", *["request"] * 4, "draining", "stopped"]
    assert events[1]["trace_id"] == events[1]["request_id"] == trace
    assert {"path": "/v1/models/pumps/score", "route": "score", "status": 200, "level": "info"}.items() <= events[1].items()
    assert "hidden-word" not in service.log


def test_a_settings_file(start_process: StartProcess, tmp_path: Path, tokens: Path) -> None:
    (tmp_path / "serve.toml").write_text(f'max-rows = 3\ntoken-file = "{tokens}"\nlog = "console"\n')
    service = start_process("--config", tmp_path / "serve.toml", "--max-rows", 4)
    assert service.post([{}] * 4, headers=bearer(SCORE)).status_code == 200
    assert service.post([{}] * 5, headers=bearer(SCORE)).status_code == 413
    assert service.post([{}]).status_code == 401
    assert service.log.startswith("20")


def test_only_the_log_describes_an_internal_error(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_arguments: object) -> bytes:
        raise RuntimeError("hidden-word")

    service = start("--log", "json")
    with monkeypatch.context() as patch:
        patch.setattr(JsonCodec, "encode", fail)
        done = service.post([{"flow": 1.0}])
    assert done.status_code == 500
    assert "internal error" in done.text
    (logged,) = [line for line in capfd.readouterr().err.splitlines() if '"internal error"' in line]
    assert '"error":"RuntimeError"' in logged
    assert "hidden-word" not in done.text + logged  # a message may hold values of a row
    assert service.post([{"flow": 1.0}]).status_code == 200
