"""Every limit is hit on purpose, on a real socket."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.serving.http.conftest import ASK, Service, ServiceThread, Start, StartProcess, answered, running, until
from tests.serving.http.test_metrics import Read
from tests.serving.http.test_workers import children_of

HEAD = b"POST /v1/models/pumps/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def narrow(models: Path) -> Iterator[Service]:
    """A service whose limits are all low."""
    flags = "--max-body 20000 --max-rows 10 --max-text 50 --max-depth 4 --max-header 2000 --header-timeout 0.5 --idle-timeout 0.5"
    yield from running(ServiceThread(models, *flags.split()))


def test_a_large_body(narrow: Service) -> None:
    for body in (b" " * 20_001, iter([b" " * 10_001] * 2)):
        done = ASK.post(f"{narrow.url}/v1/models/pumps/score", content=body, headers={"content-type": "application/json"})
        assert done.status_code == 413
        assert "20,000 bytes" in done.json()["detail"]


def test_many_rows(narrow: Service) -> None:
    assert narrow.post([{}] * 10).status_code == 200
    assert narrow.post([{}] * 11).status_code == 413


def test_a_long_text_rejects_its_row_alone(narrow: Service) -> None:
    verdicts = narrow.post([{"machine": None}, {"machine": "é" * 51}, {"machine": "é" * 50}]).json()["verdicts"]
    assert [each.get("rejected", {}).get("column") for each in verdicts] == [None, "machine", None]


@pytest.mark.parametrize("key", ["other", "machine"])
def test_deep_nesting(narrow: Service, key: str) -> None:
    assert narrow.post([{key: [["}]"]]}]).status_code == 200
    done = narrow.post([{key: [[[["]"]]]]}])
    assert done.status_code == 422
    assert done.json()["found"] == "6 levels"
    deepest = b'[{"other":' + b"[" * 9000 + b"]" * 9000 + b"}]"
    done = ASK.post(f"{narrow.url}/v1/models/pumps/score", content=deepest, headers={"content-type": "application/json"})
    assert done.status_code in {400, 422}


@pytest.mark.parametrize(
    "sent", [HEAD + b"x: " + b"y" * 3000 + b"\r\n\r\n", HEAD + b"x: " + b"y" * 3000, b"GET /" + b"y" * 3000 + b" HTTP/1.1\r\n"]
)
def test_a_large_head(narrow: Service, sent: bytes) -> None:
    with narrow.connect() as sock:
        sock.sendall(sent)
        assert answered(sock)[0] == 431


def test_data_that_is_not_http(narrow: Service) -> None:
    with narrow.connect() as sock:
        sock.sendall(b"\x16\x03\x01 this is no http\r\n\r\n")
        status, body = answered(sock)
    assert (status, body["title"]) == (400, "Bad Request")


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"content-length: 100\r\n\r\n[{"])
def test_a_slow_client_times_out(narrow: Service, sent: bytes) -> None:
    began = time.monotonic()
    with narrow.connect() as sock:
        sock.sendall(sent)
        assert answered(sock)[0] == 408
    assert 0.4 < time.monotonic() - began < 5


def test_single_bytes_do_not_extend_the_header_timeout(narrow: Service) -> None:
    began = time.monotonic()
    with narrow.connect() as sock, contextlib.suppress(ConnectionError):
        while time.monotonic() - began < 10:
            sock.sendall(HEAD[:1])
            time.sleep(0.1)
    assert time.monotonic() - began < 8


def test_a_slow_client_that_keeps_sending_is_served(narrow: Service) -> None:
    body = b"[{}]"
    with narrow.connect() as sock:
        sock.sendall(HEAD + b"connection: close\r\ncontent-length: 4\r\n\r\n")
        for place in range(len(body)):
            time.sleep(0.3)
            sock.sendall(body[place : place + 1])
        assert answered(sock)[0] == 200


def test_too_many_requests_at_once(start: Start) -> None:
    service = start("--max-requests", 1)
    statuses = statuses_of(service, 8)
    assert set(statuses) == {200, 429}
    assert Read(service).value("residuum_http_refused_total", reason="requests") == statuses.count(429)
    assert service.post([{"temperature": 60}]).status_code == 200


def statuses_of(service: Service, clients: int) -> list[int]:
    """Send large bodies at the same time; return the statuses of the answers."""
    body = json.dumps([{"temperature": "60"}] * 20_000).encode()
    ask = partial(ASK.post, f"{service.url}/v1/models/pumps/score", content=body, headers={"content-type": "application/json"})
    with ThreadPoolExecutor(clients) as pool:
        return [done.status_code for done in pool.map(lambda _: ask(), range(clients))]


SLOW = {
    "small": HEAD + b"content-length: 1000\r\n\r\n[",
    "large": HEAD + b"content-length: 1000000\r\n\r\n[" + b" " * 100_000,
    "chunked": HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n[\r\n",
    "lines": HEAD.replace(b"json", b"x-ndjson") + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n",
    "inference": HEAD.replace(b"v1", b"v2").replace(b"/score", b"/infer") + b"content-length: 1000\r\n\r\n{",
}


def test_slow_bodies_take_no_place_and_end_with_408(start: Start) -> None:
    """Single bytes extend the time for a body by what they take at the least rate, and no more."""
    service = start("--max-requests", 2, "--body-timeout", 1.5, "--min-body-rate", 1000)
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        waiting = [(sent, stack.enter_context(service.connect())) for sent in SLOW.values() for _ in range(3)]
        for sent, sock in waiting:
            sock.sendall(sent)
        while time.monotonic() - began < 1.2:
            time.sleep(0.2)
            assert service.post([{"temperature": 60}]).status_code == 200
            lines = {"content-type": "application/x-ndjson"}
            assert (
                ASK.post(f"{service.url}/v1/models/pumps/score", content=b'{"flow": 1}\n' * 9, headers=lines).status_code == 200
            )
            for sent, sock in waiting:
                sock.sendall(b"1\r\n \r\n" if b"chunked" in sent else b" ")
        assert {answered(sock)[0] for sent, sock in waiting if sent != SLOW["large"]} == {408}
        assert time.monotonic() - began < 10
        for sock in (sock for sent, sock in waiting if sent == SLOW["large"]):  # which is worth 100 seconds
            sock.sendall(b" " * (1_000_000 - 100_020) + b"]")
            sock.settimeout(0.2)
    until(lambda: Read(service).value("residuum_http_requests_in_flight") == 0)
    assert Read(service).value("residuum_http_refused_total", reason="body_timeout") == 12


@pytest.mark.long
def test_260_clients_that_send_a_byte_every_20_seconds(start: Start) -> None:
    service = start()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(service.connect()) for _ in range(260)]
        for sock in waiting:
            sock.sendall(SLOW["small"])
        while time.monotonic() - began < 18:
            assert service.post([{"temperature": 60}]).status_code == 200
            time.sleep(0.5)
        assert {answered(sock)[0] for sock in waiting} == {408}
    assert time.monotonic() - began < 30


def test_a_stream_of_lines_may_last_longer_than_a_body(start: Start) -> None:
    service = start("--body-timeout", 0.6, "--min-body-rate", 1_000_000)

    def rows() -> Iterator[bytes]:
        for _ in range(5):
            yield b'{"temperature": 60}\n'
            time.sleep(0.3)

    done = ASK.post(f"{service.url}/v1/models/pumps/score", content=rows(), headers={"content-type": "application/x-ndjson"})
    assert done.status_code == 200
    assert len(done.text.splitlines()) == 6


@pytest.mark.parametrize("first", [b"", b'{"temperature": 60}\n'], ids=["no row", "a row"])
def test_blank_lines_keep_no_stream_open(start: Start, first: bytes) -> None:
    service = start("--max-requests", 1, "--body-timeout", 0.6, "--min-body-rate", 1000)
    head = HEAD.replace(b"json", b"x-ndjson") + b"transfer-encoding: chunked\r\n\r\n"
    began = time.monotonic()
    with service.connect() as sock:
        sock.sendall(head + (b"%x\r\n%b\r\n" % (len(first), first) if first else b""))
        with contextlib.suppress(OSError):  # reset or broken: the service has closed the connection
            while time.monotonic() - began < 8:
                sock.sendall(b"3\r\n \r\n\r\n")
                time.sleep(0.1)
    assert time.monotonic() - began < 5
    until(lambda: Read(service).value("residuum_http_requests_in_flight") == 0)
    assert Read(service).value("residuum_http_refused_total", reason="body_timeout") == 1


def test_bodies_that_arrive_are_limited_together(start: Start) -> None:
    service = start("--max-requests", 2, "--max-body", 200_000)
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(service.connect()) for _ in range(4)]
        for sock in waiting:
            sock.sendall(HEAD + b"content-length: 190000\r\n\r\n[" + b" " * 180_000)
        until(lambda: (Read(service).value("residuum_http_refused_total", reason="bodies") or 0) > 0)
        assert service.post([{"temperature": 60}]).status_code == 200


def test_a_full_queue(start: Start) -> None:
    service = start("--max-queue", 1)
    assert set(statuses_of(service, 8)) == {200, 429}
    assert service.post([{}]).status_code == 200


def test_too_many_small_bodies_in_one_turn_are_refused(start: Start) -> None:
    service = start("--max-queue", 2)
    one = HEAD + b"content-length: 4\r\n\r\n[{}]"
    with service.connect() as sock:
        sock.sendall(one * 9 + HEAD + b"connection: close\r\ncontent-length: 4\r\n\r\n[{}]")
        text = b""
        while piece := sock.recv(65536):
            text += piece
    assert (text.count(b"HTTP/1.1 200 OK"), text.count(b"HTTP/1.1 429")) == (3, 7)
    assert text.count(b"retry-after: 1") == 7
    assert service.post([{}]).status_code == 200


def test_a_client_that_disconnects_frees_its_place(start: Start) -> None:
    service = start("--max-requests", 1)
    for sent in (HEAD + b"content-length: 100\r\n\r\n[", HEAD + b"content-length: 4\r\n\r\n[{}]"):
        for _ in range(20):
            with service.connect() as sock:
                sock.sendall(sent)
        time.sleep(0.2)
        assert service.post([{}]).status_code == 200
    assert Read(service).value("residuum_http_requests_total", route="score", status="499") > 0


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    one = HEAD + b"content-length: 4\r\n\r\n[{}]"
    with service.connect() as sock:
        sock.sendall(one * 20 + HEAD + b"connection: close\r\ncontent-length: 1\r\n\r\n{")
        text = b""
        while piece := sock.recv(65536):
            text += piece
    assert text.count(b"HTTP/1.1 200 OK") == 20
    assert text.index(b"HTTP/1.1 400") > text.rindex(b"HTTP/1.1 200")


def test_an_idle_connection_is_closed(narrow: Service) -> None:
    for path in (b"POST /v1/models/pumps/score", b"POST /v1/models/pumps/score?only=anomalies", b"GET /livez"):
        with narrow.connect() as sock:
            sock.sendall(path + b" HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]")
            began = time.monotonic()
            text = b""
            while piece := sock.recv(65536):
                text += piece
            assert text.startswith(b"HTTP/1.1 200 OK")
            assert 0.2 < time.monotonic() - began < 5


def test_one_connection_uses_the_fast_path_and_the_app(narrow: Service) -> None:
    with narrow.connect() as sock:
        file = sock.makefile("rb")
        for head in (b"", b"transfer-encoding: chunked\r\n", b"", b"expect: 100-continue\r\n", b""):
            chunked = b"chunked" in head
            body = b"4\r\n[{}]\r\n0\r\n\r\n" if chunked else b"[{}]"
            length = b"" if chunked else b"content-length: 4\r\n"
            sock.sendall(HEAD + head + length + b"\r\n" + body)
            lines = [line for line in iter(file.readline, b"\r\n") if line]
            if b" 100 " in lines[0]:
                lines = list(iter(file.readline, b"\r\n"))
            assert lines[0] == b"HTTP/1.1 200 OK\r\n"
            (size,) = [int(line.split()[1]) for line in lines if line.lower().startswith(b"content-length")]
            assert json.loads(file.read(size))["rejected"] == 1


def test_a_client_that_never_reads_is_dropped(start: Start) -> None:
    service = start("--idle-timeout", 0.5)
    one = HEAD + b"content-length: 4\r\n\r\n[{}]"
    with service.connect() as sock:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|Broken"):  # noqa: PT012 - it breaks when the buffers are full
            while time.monotonic() - began < 20:
                sock.sendall(one * 100)
    read = Read(service)
    assert read.value("residuum_http_refused_total", reason="unread") == 1
    assert read.value("residuum_http_requests_in_flight") == 0
    assert service.post([{}]).status_code == 200


def test_sigterm_finishes_running_requests(start_process: StartProcess) -> None:
    service = start_process("--drain-timeout", 10)
    with service.connect() as sock:
        sock.sendall(HEAD + b"content-length: 4\r\n\r\n[{")
        time.sleep(0.3)
        service.process.terminate()
        time.sleep(0.5)
        with pytest.raises(httpx.ConnectError):
            service.post([{}])
        sock.sendall(b"}]")
        assert answered(sock)[0] == 200
    assert service.process.wait(20) == 0


def test_sigterm_waits_no_longer_than_the_drain_timeout(start_process: StartProcess) -> None:
    service = start_process("--drain-timeout", 1)
    with service.connect() as sock:
        sock.sendall(HEAD + b"content-length: 4\r\n\r\n[{")
        time.sleep(0.3)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_drain_delay_serves_new_connections_but_is_not_ready(start_process: StartProcess, workers: int) -> None:
    service = start_process("--drain-delay", 2, "--workers", workers)
    assert ASK.get(f"{service.url}/readyz").status_code == 200
    service.process.terminate()
    began = time.monotonic()
    ready, scored = [], []
    while time.monotonic() - began < 1.5:
        time.sleep(0.1)
        ready.append(ASK.get(f"{service.url}/readyz").status_code)  # each on a new connection
        scored.append(service.post([{"temperature": 60}]).status_code)
    assert 503 in ready[:5]
    assert set(ready[ready.index(503) :]) == {503}
    assert set(scored) == {200}
    assert service.process.wait(20) == 0
    assert 1.9 < time.monotonic() - began < 10


@pytest.mark.long
def test_a_second_signal_ends_the_drain_delay(start_process: StartProcess) -> None:
    service = start_process("--drain-delay", 60)
    service.process.terminate()
    until(lambda: ASK.get(f"{service.url}/readyz").status_code == 503)
    service.process.terminate()
    assert service.process.wait(5) == 0


@pytest.mark.long
def test_a_worker_that_gets_two_signals_finishes_its_requests(start_process: StartProcess) -> None:
    """Whoever stops all processes of a group signals the workers, and so does their parent."""
    service = start_process("--workers", 2)
    with service.connect() as sock:
        sock.sendall(HEAD + b"content-length: 4\r\n\r\n[{")
        time.sleep(0.3)
        for pid in [*children_of(service.process.pid), service.process.pid]:
            os.kill(pid, signal.SIGTERM)
        time.sleep(1)
        sock.sendall(b"}]")
        assert answered(sock)[0] == 200
    assert service.process.wait(20) == 0


def test_it_listens_on_loopback_only(service: Service) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; selects the address of this machine
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, service.port), 2)
