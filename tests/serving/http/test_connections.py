"""Connections as other clients use them: HTTP/1.0, closed by half, and with a body that waits to be asked for."""

from __future__ import annotations

import json
import socket

import pytest

from tests.serving.http.conftest import Service, answered
from tests.tables import normal_rows

SCORE = b"POST /v1/models/pumps/score HTTP/1.%d\r\nhost: localhost\r\ncontent-type: application/%b\r\n"


def read(sock: socket.socket) -> tuple[bytes, bytes]:
    """Return the head, in lower case, and the body of a response that ends with its connection."""
    text = b""
    while piece := sock.recv(65536):
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    return head.lower(), body


def lines(count: int) -> bytes:
    return normal_rows(count, seed=5).write_ndjson().encode()


@pytest.mark.parametrize("path", [b"", b"?only=anomalies"])
@pytest.mark.parametrize("count", [3, 3000])
def test_http_1_0_gets_no_chunks(service: Service, count: int, path: bytes) -> None:
    body = lines(count)
    with service.connect() as sock:
        head = SCORE.replace(b"score", b"score" + path) % (0, b"x-ndjson")
        sock.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        head, answer = read(sock)
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert json.loads(answer.splitlines()[-1])["done"]["rows"] == count


def test_http_1_0_gets_whole_answers_and_errors(service: Service) -> None:
    for head, status in ((b"GET /livez HTTP/1.0\r\n\r\n", 200), (b"GET /nowhere HTTP/1.0\r\n\r\n", 404)):
        with service.connect() as sock:
            sock.sendall(head)
            assert answered(sock)[0] == status
    with service.connect() as sock:
        sock.sendall(b"HEAD /livez HTTP/1.0\r\n\r\n")
        assert read(sock)[1] == b""


@pytest.mark.parametrize("count", [1, 3000])
@pytest.mark.parametrize("form", [b"json", b"x-ndjson"])
def test_a_connection_closed_by_half_is_answered(service: Service, count: int, form: bytes) -> None:
    rows = normal_rows(count, seed=5)
    body = json.dumps(rows.to_dicts()).encode() if form == b"json" else lines(count)
    with service.connect() as sock:
        sock.sendall(SCORE % (1, form) + b"content-length: %d\r\n\r\n" % len(body) + body)
        sock.shutdown(socket.SHUT_WR)
        head, answer = read(sock)
    assert head.startswith(b"http/1.1 200")
    assert b'"rows":%d' % count in answer


def test_an_incomplete_request_is_not_awaited_after_half_a_close(service: Service) -> None:
    with service.connect() as sock:
        sock.sendall(SCORE % (1, b"json") + b"content-length: 100\r\n\r\n[")
        sock.shutdown(socket.SHUT_WR)
        assert b" 200 " not in read(sock)[0]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (SCORE % (1, b"x-unknown"), 415),
        (SCORE.replace(b"pumps", b"nothing") % (1, b"json"), 404),
        (SCORE.replace(b"localhost", b"attacker.example") % (1, b"json"), 421),
        (SCORE % (1, b"json") + b"content-encoding: br\r\n", 415),
    ],
)
def test_a_refused_body_that_waits_to_be_asked_for_closes_the_connection(service: Service, head: bytes, status: int) -> None:
    with service.connect() as sock:
        sock.sendall(head + b"content-length: 100\r\nexpect: 100-continue\r\n\r\n")
        found, _ = read(sock)  # returns, because the connection is closed
    assert found.startswith(b"http/1.1 %d" % status)
    assert b"connection: close" in found


def test_http_1_0_is_not_asked_for_a_body(service: Service) -> None:
    with service.connect() as sock:
        sock.sendall(SCORE % (0, b"json") + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n[]")
        found, _ = read(sock)
    assert found.startswith(b"http/1.1 200")


def test_a_body_that_is_too_large_is_not_asked_for(service: Service) -> None:
    with service.connect() as sock:
        sock.sendall(SCORE % (1, b"json") + b"content-length: 999999999\r\nexpect: 100-continue\r\n\r\n")
        found, _ = read(sock)
    assert found.startswith(b"http/1.1 413")
    assert b"connection: close" in found


def test_an_accepted_body_is_asked_for_and_the_connection_stays(service: Service) -> None:
    with service.connect() as sock:
        file = sock.makefile("rb")
        for _ in range(2):
            sock.sendall(SCORE % (1, b"json") + b"content-length: 2\r\nexpect: 100-continue\r\n\r\n")
            assert file.readline().startswith(b"HTTP/1.1 100")
            file.readline()
            sock.sendall(b"[]")
            lines = list(iter(file.readline, b"\r\n"))
            assert lines[0].startswith(b"HTTP/1.1 200")
            (size,) = [int(line.split()[1]) for line in lines if line.lower().startswith(b"content-length")]
            file.read(size)
