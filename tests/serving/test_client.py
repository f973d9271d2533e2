"""The HTTP client, against a service that misbehaves or answers slowly; `tests/serving/http/test_client.py` has the real one."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h11
import httpx
import msgspec
import numpy as np
import polars as pl
import pytest

from detector.batch import TableBatch
from detector.errors import SettingError, TableError
from detector.scorer import Scorer
from serving import client
from serving.client import DuplexStream, RemoteScorer
from tests.data.make_bundle import KEPT

VERDICT = json.dumps({"anomaly_score": 0.5, "p_value": 0.5, "is_anomaly": False, "state": "x" * 1000}).encode()
ROW = b'{"load": 1.5, "text": "' + b"x" * 1000 + b'"}\n'
ROWS = 15_000  # 15 MB each way: more than the buffers of both sockets hold


class StubService(BaseHTTPRequestHandler):
    """Answers each line of a body with a verdict, as soon as it has come, and reads on only when the answer is taken."""

    protocol_version = "HTTP/1.1"
    busy = 0  # requests to refuse first
    limit = -1  # lines to answer before the connection breaks
    error = b""  # a line to send before it breaks

    def do_GET(self) -> None:
        scorer = Scorer.open(KEPT, "cpu")
        self._respond(200, msgspec.json.encode({"manifest": scorer.manifest, "calibration": scorer.calibration_counts._asdict()}))

    def do_POST(self) -> None:
        if type(self).busy:
            type(self).busy -= 1
            self._respond(503, b'{"detail": "too busy"}', ("connection", "close"))
            return
        if "content-length" in self.headers:
            self._respond(200, b"no Arrow", ("connection", "close"))
            return
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        answered, partial = 0, b""
        while size := int(self.rfile.readline(), 16):
            *lines, partial = (partial + self.rfile.read(size)).split(b"\n")
            self.rfile.readline()
            for _ in lines:
                if answered == type(self).limit:
                    self._write(self.error)
                    self.close_connection = True
                    return
                self._write(VERDICT + b"\n")
                answered += 1
        self._write(b'{"done": {}}\n')
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""

    def _respond(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("content-length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _write(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(certificate: Path | None = None, **behaviour: object) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Service", (StubService,), behaviour))
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def stream_to() -> Iterator[Callable[..., DuplexStream]]:
    streams = []

    def open_stream(url: str, tls: ssl.SSLContext | None = None) -> DuplexStream:
        with httpx.Client() as builder:
            request = builder.build_request("POST", f"{url}/score", content=iter(()))
        streams.append(DuplexStream(request, tls or ssl.create_default_context()))
        return streams[-1]

    yield open_stream
    for stream in streams:
        stream.abort()


Open = Callable[..., DuplexStream]


@pytest.mark.timeout(60)
def test_the_response_is_read_while_the_body_is_sent(serve: Serve, stream_to: Open) -> None:
    stream = stream_to(serve())
    for _ in range(2):
        results = stream.exchange(ROW * ROWS, ROWS)
        assert len(results) == ROWS
        assert {result.anomaly_score for result in results} == {0.5}
    assert stream.finish().done == {}


@pytest.mark.timeout(60)
def test_over_tls_too(serve: Serve, stream_to: Open, tmp_path: Path) -> None:
    certificate = tmp_path / "service.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*make, "-keyout", certificate.with_suffix(".key"), "-out", certificate], check=True, capture_output=True)
    stream = stream_to(serve(certificate), ssl.create_default_context(cafile=str(certificate)))
    assert len(stream.exchange(ROW * ROWS, ROWS)) == ROWS
    assert stream.finish().done == {}


def test_a_stream_that_ends_early_is_an_error(serve: Serve, stream_to: Open) -> None:
    with pytest.raises((h11.ProtocolError, OSError)):
        stream_to(serve(limit=2)).exchange(ROW * 5, 5)


def test_results_end_with_an_error_line(serve: Serve, stream_to: Open) -> None:
    error = b'{"error": {"detail": "out of memory"}}\n'
    results = stream_to(serve(limit=2, error=error)).exchange(ROW * 5, 5)
    assert [result.error.detail if result.error else "" for result in results] == ["", "", "out of memory"]


def test_an_error_status_has_a_body_and_no_results(serve: Serve, stream_to: Open) -> None:
    stream = stream_to(serve(busy=1))
    assert stream.exchange(ROW * 5, 5) == []
    assert stream.status == 503
    assert json.loads(stream.error_body()) == {"detail": "too busy"}


def test_nobody_listening_is_an_error(stream_to: Open) -> None:
    with pytest.raises(OSError, match="Connect"):
        stream_to("http://127.0.0.1:9").exchange(ROW, 1)


def test_a_busy_service_is_retried_for_a_while(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(client.time, "sleep", waits.append)
    scorer = RemoteScorer(serve(busy=3), "pumps")
    frame = pl.DataFrame({column.name: [0.0] for column in scorer.columns})
    batch = TableBatch(frame, np.array([2]), [])
    monkeypatch.setattr(client, "BUSY_TIMEOUT", 0.0)
    with pytest.raises(SettingError, match="answers 503: too busy"):
        scorer.score(batch, explain="none", top=0)
    assert waits == []
    monkeypatch.setattr(client, "BUSY_TIMEOUT", 60.0)
    with pytest.raises(pl.exceptions.PolarsError):  # the stub's third answer is no Arrow
        scorer.score(batch, explain="none", top=0)
    assert waits == [1.0, 1.0]
    scorer.close()


@pytest.mark.parametrize(("status", "kind"), [(413, TableError), (422, TableError), (401, SettingError), (500, SettingError)])
def test_a_refusal_is_about_the_rows_or_the_request(serve: Serve, status: int, kind: type[Exception]) -> None:
    scorer = RemoteScorer(serve(), "pumps")
    assert type(scorer.error_of(status, b"")) is kind
    assert ("RESIDUUM_TOKEN" in str(scorer.error_of(status, b""))) == (status == 401)
    scorer.close()


@pytest.mark.parametrize("url", ["nonsense", "ftp://host", "http://", "http://host:x"])
def test_an_address_is_checked(url: str) -> None:
    with pytest.raises(SettingError, match="is not the address of a service"):
        RemoteScorer(url, "pumps")


SCORE = """
import sys
from residuum.cli import app
try:
    app(sys.argv[1:], standalone_mode=False)
finally:
    assert not {"httpx", "httpcore", "h11"} & sys.modules.keys()
"""


def test_score_without_url_needs_no_client(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(pl.read_csv(KEPT.with_name("verdicts-1.csv")).head(3).write_csv())
    command = [sys.executable, "-c", SCORE, "score", KEPT, tmp_path / "rows.csv", "--to", tmp_path / "out.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.csv").exists()


def test_score_with_url_says_how_to_install_the_client(tmp_path: Path) -> None:
    code = "import sys; sys.modules['httpx'] = None; from residuum.cli import app; app(sys.argv[1:])"
    arguments = ["score", "pumps", "rows.csv", "--to", "out.csv", "--url", "http://localhost:8080"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'residuum[client]'" in done.stderr
