"""Compressed bodies are scored as plain ones, within the same limits; responses are compressed for clients that accept that."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import zstandard

from detector.columns import encode
from detector.scorer import Scorer
from serving.http.core.content_coding import accepted_coding
from tests.data.make_bundle import KEPT
from tests.serving.http.conftest import ASK, Service, Start, answered
from tests.serving.http.test_forms import _arrow, lines
from tests.serving.http.test_inference import inputs
from tests.tables import normal_rows

Compress = Callable[[bytes], bytes]

JSON, NDJSON = "application/json", "application/x-ndjson"
IDENTITY = {"accept-encoding": "identity"}
HEAD = b"POST /v1/models/pumps/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\n"


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


COMPRESS: dict[str, Compress] = {
    "gzip": gzip.compress,
    "x-gzip": lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:]) + bytes(7),
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "zstd": zstandard.compress,
    "ZSTD": lambda data: zstandard.compress(data[:9]) + zstandard.compress(data[9:]),
    "identity": lambda data: data,
    "deflate, gzip": lambda data: gzip.compress(zlib.compress(data)),
    "gzip,identity , zstd": lambda data: zstandard.compress(gzip.compress(data)),
}


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    table = normal_rows(82, seed=5, holes=0.1)
    rows = table.to_dicts()
    matrix = encode(table, Scorer.open(KEPT, "cpu").columns, np.arange(table.height)).matrix
    return {
        JSON: json.dumps(rows).encode(),
        NDJSON: lines(rows),
        "application/vnd.apache.arrow.stream": _arrow(table),
        "application/octet-stream": matrix.astype("<f8").tobytes(),
    }


def post(service: Service, body: Any, headers: dict[str, str], path: str = "v1/models/pumps/score") -> httpx.Response:  # noqa: ANN401
    return ASK.post(f"{service.url}/{path}", content=body, headers=IDENTITY | headers)


@pytest.mark.parametrize("coding", COMPRESS)
def test_a_compressed_body_gets_the_verdicts_of_the_plain_one(service: Service, bodies: dict[str, bytes], coding: str) -> None:
    for content_type, body in bodies.items():
        compressed = COMPRESS[coding](body)
        headers = {"content-type": content_type, "content-encoding": coding}
        plain = post(service, body, {"content-type": content_type}).content
        assert post(service, compressed, headers).content == plain
        chunks = (compressed[start : start + 99] for start in range(0, len(compressed), 99))
        if content_type == NDJSON:  # scored piece by piece, so the last digits may differ
            assert post(service, chunks, headers).content.count(b"\n") == plain.count(b"\n")
        else:
            assert post(service, chunks, headers).content == plain


def test_every_route_with_a_body_decompresses_it(service: Service) -> None:
    body = gzip.compress(b'{"false_alarm_rate": 0.2}')
    done = post(service, body, {"content-type": JSON, "content-encoding": "gzip"}, "v1/models/pumps/thresholds?dry_run=1")
    assert done.json()["decision"]["false_alarm_rate"] == 0.2
    asked = gzip.compress(json.dumps({"inputs": inputs(normal_rows(3))}).encode())
    assert post(service, asked, {"content-encoding": "gzip"}, "v2/models/pumps/infer").json()["outputs"][0]["shape"] == [3]


@pytest.mark.parametrize("coding", ["br", "compress", "gzip, br", "gzip, gzip, gzip, gzip"])
@pytest.mark.parametrize("path", ["v1/models/pumps/score", "v2/models/pumps/infer", "v1/models/pumps/thresholds"])
def test_other_codings_are_refused_by_name(service: Service, coding: str, path: str) -> None:
    done = post(service, b"[]", {"content-type": JSON, "content-encoding": coding}, path)
    assert (done.status_code, done.json()["path"], done.json()["found"]) == (415, "Content-Encoding", coding)
    assert "Content-Encoding" in done.json()["detail"]
    assert set(done.headers["accept-encoding"].split(", ")) == {"gzip", "deflate", "zstd"}


def test_codings_in_several_headers_are_one_list(service: Service, bodies: dict[str, bytes]) -> None:
    twice = [("content-type", JSON), ("content-encoding", "deflate"), ("content-encoding", "gzip")]
    done = ASK.post(f"{service.url}/v1/models/pumps/score", content=gzip.compress(zlib.compress(bodies[JSON])), headers=twice)
    assert done.json()["rows"] == 82


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("content_type", [JSON, NDJSON, "application/octet-stream"])
def test_a_damaged_body_is_refused(service: Service, bodies: dict[str, bytes], coding: str, content_type: str) -> None:
    compressed = COMPRESS[coding](bodies[content_type])
    headers = {"content-type": content_type, "content-encoding": coding}
    for damaged in (b"no compressed data", compressed[:20], compressed[:-5]):
        try:
            done = post(service, damaged, headers)
        except httpx.RemoteProtocolError:  # what came before the damage is answered already
            assert content_type == NDJSON
        else:
            assert (done.status_code, done.json()["path"]) == (400, "Content-Encoding")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "gzip, gzip"])
def test_limits_apply_to_what_comes_out(start: Start, coding: str) -> None:
    service = start("--max-body", 100_000, "--max-line", 50_000)
    headers = {"content-type": JSON, "content-encoding": coding}
    assert (
        post(
            service, COMPRESS.get(coding, lambda data: gzip.compress(gzip.compress(data)))(b" " * 90_000 + b"[]"), headers
        ).status_code
        == 200
    )
    bomb = COMPRESS.get(coding, lambda data: gzip.compress(gzip.compress(data)))(bytes(50_000_000))
    done = post(service, bomb, headers)
    assert (done.status_code, done.json()["expected"]) == (413, "at most 100,000 bytes")
    assert post(service, bomb, headers | {"content-type": NDJSON}).status_code == 413
    assert post(service, bomb, headers, "v1/models/pumps/thresholds").status_code == 413


@pytest.mark.long
def test_an_endless_body_of_blank_lines_is_refused(service: Service) -> None:
    stream = zstandard.ZstdCompressor().compressobj()
    bomb = b"".join([stream.compress(b"\n" * 10**6) for _ in range(60)]) + stream.flush()
    done = post(service, bomb, {"content-type": NDJSON, "content-encoding": "zstd"})
    assert (done.status_code, "times its size" in done.text) == (413, True)


@pytest.mark.parametrize("outer", ["gzip", "zstd"])
@pytest.mark.parametrize(
    ("inner", "frame"),
    [
        ("gzip", gzip.compress(b"", mtime=0)),
        ("zstd", zstandard.compress(b"")),
        ("zstd", b"\x50\x2a\x4d\x18" + bytes(4)),
    ],  # which is skipped
)
def test_codings_that_hide_an_endless_body_without_content_are_refused(
    service: Service, inner: str, frame: bytes, outer: str
) -> None:
    """Frames without content make no piece whose bytes count, but each of them takes time."""
    body = COMPRESS[outer](frame * (40_000_000 // len(frame)))
    done = post(service, body, {"content-type": JSON, "content-encoding": f"{inner}, {outer}"})
    assert (done.status_code, "between the codings" in done.text) == (413, True)
    assert done.elapsed.total_seconds() < 2


@pytest.mark.parametrize(
    "coding", ["gzip", "gzip, chunked", "deflate,chunked", "identity", "x", "gzip\r\ntransfer-encoding: chunked"]
)
def test_other_transfer_codings_are_not_implemented(service: Service, coding: str) -> None:
    with service.connect() as sock:
        sock.sendall(HEAD + b"transfer-encoding: " + coding.encode() + b"\r\n\r\n0\r\n\r\n")
        status, problem = answered(sock)
    assert status == 501
    assert "Transfer-Encoding" in str(problem["detail"])


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
def test_tritonclient_compresses(service: Service, algorithm: str | None) -> None:
    table = normal_rows(40, seed=5)
    asked = []
    for each in inputs(table):
        array = np.array(each["data"], object if each["datatype"] == "BYTES" else float)
        asked.append(triton.InferInput(each["name"], each["shape"], each["datatype"]))
        asked[-1].set_data_from_numpy(array, binary_data=True)
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    plain = client.infer("pumps", asked).as_numpy("anomaly_score")
    packed = client.infer("pumps", asked, request_compression_algorithm=algorithm, response_compression_algorithm=algorithm)
    np.testing.assert_array_equal(packed.as_numpy("anomaly_score"), plain)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("content_type", [JSON, NDJSON, "application/vnd.apache.arrow.stream"])
def test_responses_are_compressed_where_asked_for(
    service: Service, bodies: dict[str, bytes], coding: str, content_type: str
) -> None:
    plain = post(service, bodies[content_type], {"content-type": content_type})
    assert "content-encoding" not in plain.headers
    packed = post(service, bodies[content_type], {"content-type": content_type, "accept-encoding": coding})
    assert packed.headers["content-encoding"] == coding
    assert packed.content == plain.content  # httpx decompresses
    assert {done.headers["vary"].lower() for done in (plain, packed)} == {"accept-encoding"}
    assert packed.num_bytes_downloaded < plain.num_bytes_downloaded


def test_large_responses_and_documents_are_compressed(service: Service, bodies: dict[str, bytes]) -> None:
    gzipped = {"content-type": JSON, "accept-encoding": "gzip"}
    many = json.dumps(json.loads(bodies[JSON]) * 20).encode()
    done = post(service, many, gzipped)
    assert (done.headers["content-encoding"], done.json()["rows"]) == ("gzip", 1640)
    assert ASK.get(f"{service.url}/openapi.json", headers=gzipped).headers["content-encoding"] == "gzip"


def test_what_is_not_worth_it_is_not_compressed(service: Service) -> None:
    few = post(service, b'[{"machine": "a"}]', {"content-type": JSON, "accept-encoding": "gzip"})
    assert "content-encoding" not in few.headers


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        (b"gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip;q=1.0, zstd;q=0.5", "gzip"),
        (b"GZIP ; Q=0.2, deflate ;q=0.3", "deflate"),
        (b"gzip;q=0", ""),
        (b"br", ""),
        (b"*", "zstd"),
        (b"*;q=0.1, zstd;q=0", "gzip"),
        (b"identity", ""),
        (b"identity;q=0.5, gzip;q=0.1", ""),
        (b"identity;q=0, gzip;q=0.1", "gzip"),
        (b"gzip;q=x", ""),
        (b"", ""),
    ],
)
def test_weights(accept_encoding: bytes, coding: str) -> None:
    assert accepted_coding(accept_encoding) == coding
