"""Rows in every form get the same verdicts; a stream that is cut short never looks whole."""

from __future__ import annotations

import io
import json
import math
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from detector.columns import encode
from detector.scorer import Scorer
from tests.data.make_bundle import KEPT
from tests.programs import program
from tests.serving.http.conftest import ASK, Service, ServiceThread, Start, running
from tests.serving.http.test_metrics import Read
from tests.tables import normal_rows, planted_anomalies

NDJSON = {"content-type": "application/x-ndjson"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
RAW = {"content-type": "application/octet-stream"}
HEAD = (
    b"POST /v1/models/pumps/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return pl.concat([normal_rows(60, seed=5, holes=0.1), planted_anomalies(10)])


@pytest.fixture(scope="module")
def rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    return table.to_dicts()


@pytest.fixture(scope="module")
def by_json(service: Service, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = service.post(rows).json()["verdicts"]
    return verdicts


def score(service: Service, content: Any, headers: dict[str, str], **options: Any) -> httpx.Response:  # noqa: ANN401
    return ASK.post(f"{service.url}/v1/models/pumps/score", content=content, headers=headers, **options)


def lines(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def close_to(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["anomaly_score"] == pytest.approx(expected["anomaly_score"], rel=1e-6)
    assert found["is_anomaly"] == expected["is_anomaly"]
    assert [each["column"] for each in found.get("reasons") or []] == [each["column"] for each in expected.get("reasons", [])]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_keys_that_no_column_is_read_from_are_named(service: Service, rows: list[Any]) -> None:
    few = rows[:30]
    assert "unknown_columns" not in service.post(few).json()
    misspelt = [few[0], few[1] | {"temprature": 7, "at ": None}, *({"x": 1} for _ in range(40))]
    for body in (misspelt, {"rows": misspelt}):
        assert service.post(body).json()["unknown_columns"] == ["temprature", "at ", "x"]
    many = service.post([few[0] | {f"{place}{'y' * 500}": [{"deep": 1}] for place in range(20)}]).json()["unknown_columns"]
    assert len(many) == 10
    assert max(map(len, many)) < 200
    assert service.post([few[0] | {"machine": 7, "flow": "fast"}]).json().get("unknown_columns") is None
    last = json.loads(score(service, lines(misspelt), NDJSON).text.splitlines()[-1])
    assert last["done"]["unknown_columns"] == ["temprature", "at ", "x"]


@pytest.mark.parametrize("form", ["json", "ndjson", "arrow", "inference"])
def test_other_columns_than_those_of_the_model_are_counted_and_logged(
    start: Start, rows: list[Any], form: str, capfd: pytest.CaptureFixture[str]
) -> None:
    service = start("--log", "json")
    others = [{("temprature" if key == "temperature" else key): value for key, value in row.items()} for row in rows[:7]]
    for _ in range(2):  # of which one is logged
        match form:
            case "json":
                service.post(others)
            case "ndjson":
                score(service, lines(others), NDJSON)
            case "arrow":
                score(service, _arrow(pl.DataFrame(rows[:7]).with_columns(temprature=1)), ARROW)
            case "inference":
                inputs = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [None]} for name in (*rows[0], "temprature")]
                found = ASK.post(f"{service.url}/v2/models/pumps/infer", json={"inputs": inputs}).json()
                assert found["parameters"]["unknown_columns"] == '["temprature"]'
    text = ASK.get(f"{service.url}/metrics").text
    count = 2 if form == "inference" else 14
    assert f'residuum_unknown_columns_total{{model="pumps",version="2"}} {count}.0' in text
    lacked = f'residuum_missing_columns_total{{column="temperature",model="pumps",version="2"}} {count}.0'
    assert (lacked in text) == (form in {"json", "ndjson"})
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    (logged,) = [event for event in events if event["event"] == "rows have other columns than the model"]
    assert logged["unknown_columns"] == {"temprature": count // 2}
    assert logged["missing_columns"] == ({"temperature": 7} if form in {"json", "ndjson"} else {})


def test_ndjson(service: Service, rows: list[Any], by_json: list[Any]) -> None:
    done = score(service, b"\xef\xbb\xbf" + lines(rows) + b"\n7\n" + lines([{"machine": 1}])[:-1], NDJSON)
    assert done.headers["content-type"] == "application/x-ndjson"
    *said, last = map(json.loads, done.text.splitlines())
    for found, expected in zip(said, by_json, strict=False):
        close_to(found, expected)
    assert [each["row"] for each in said] == [*range(1, 71), 72, 73]
    assert said[-2]["rejected"]["found"] == "7"
    assert last == {"done": {"rows": 71, "anomalies": sum(each.get("is_anomaly", False) for each in said), "rejected": 1}}


@pytest.mark.parametrize("content_type", ["application/ndjson", "application/jsonl", "application/x-ndjson; charset=utf-8"])
def test_every_name_of_ndjson(service: Service, rows: list[Any], content_type: str) -> None:
    named = score(service, lines(rows), {"content-type": content_type})
    assert named.text == score(service, lines(rows), NDJSON).text


def test_a_byte_order_mark_is_ignored(service: Service, rows: list[Any]) -> None:
    mark, body = b"\xef\xbb\xbf", json.dumps(rows).encode()
    json_type = {"content-type": "application/json"}
    for content in (body, json.dumps({"rows": [*rows, 7]}).encode()):
        assert score(service, mark + content, json_type).text == score(service, content, json_type).text
    assert score(service, mark + lines(rows), NDJSON).text == score(service, lines(rows), NDJSON).text
    joined = score(service, lines(rows[:2]) + mark + lines(rows[2:4]), NDJSON)
    assert json.loads(joined.text.splitlines()[-1])["done"]["rows"] == 4
    inputs = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [None]} for name in rows[0]]
    infer = ASK.post(f"{service.url}/v2/models/pumps/infer", content=mark + json.dumps({"inputs": inputs}).encode())
    assert infer.status_code == 200
    threshold = ASK.post(
        f"{service.url}/v1/models/pumps/thresholds?dry_run=1", content=mark + b'{"threshold": 1.5}', headers=json_type
    )
    assert threshold.json()["decision"]["threshold"] == 1.5


def test_ndjson_only_anomalies(service: Service, rows: list[Any]) -> None:
    *said, last = map(
        json.loads, score(service, lines(rows), NDJSON, params={"only": "anomalies", "reasons": "0"}).text.splitlines()
    )
    assert all(each["is_anomaly"] and "reasons" not in each for each in said)
    assert last["done"]["anomalies"] == len(said)


def test_an_empty_stream_is_done(service: Service) -> None:
    assert score(service, b"", NDJSON).json() == {"done": {"rows": 0, "anomalies": 0, "rejected": 0}}


def test_each_line_is_answered_before_the_next_is_sent(service: Service) -> None:
    with service.connect() as sock:
        sock.sendall(HEAD)
        file = sock.makefile("rb")
        for row in range(1, 4):
            sock.sendall(chunk(b'{"machine": "lathe"}\n'))
            while True:
                line = file.readline()
                assert line
                if line.startswith(b'{"row"'):
                    break
            assert json.loads(line)["row"] == row
        sock.sendall(b"0\r\n\r\n")
        assert any(line.startswith(b'{"done"') for line in iter(file.readline, b"0\r\n"))


def test_a_long_stream_takes_no_memory(service: Service) -> None:
    body = lines([{**row, "note": "x" * 1000} for row in normal_rows(1000, seed=1).to_dicts()])
    score(service, body * 5, NDJSON)
    before = Read(service).value("process_resident_memory_bytes")
    times = 40
    with service.connect() as sock:
        sending = threading.Thread(
            target=lambda: [sock.sendall(HEAD), *(sock.sendall(chunk(body)) for _ in range(times)), sock.sendall(b"0\r\n\r\n")]
        )
        sending.start()
        tail = _read_to_the_end(sock)
        sending.join()
    assert json.loads(tail.split(b"\r\n")[-4])["done"]["rows"] == 1000 * times
    assert Read(service).value("process_resident_memory_bytes") < before + len(body) * times / 2


@pytest.fixture(scope="module")
def impatient(models: Path) -> Iterator[Service]:
    """A service that waits half a second for a client, and reads short lines only."""
    yield from running(ServiceThread(models, "--idle-timeout", 0.5, "--max-line", 1000))


def test_a_fault_amid_a_stream_breaks_it(impatient: Service) -> None:

    def body() -> Iterator[bytes]:
        yield lines([{}] * 3)
        time.sleep(0.2)
        yield b'{"machine": "' + b"x" * 2000

    read = b""
    with ASK.stream("POST", f"{impatient.url}/v1/models/pumps/score", content=body(), headers=NDJSON) as done:
        assert done.status_code == 200
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):  # noqa: PT012 - some comes before it breaks
            for piece in done.iter_bytes():
                read += piece
    *said, last = map(json.loads, read.splitlines())
    assert [each["row"] for each in said] == [1, 2, 3]
    assert last["error"]["status"] == 413
    assert score(impatient, b"x" * 2000, NDJSON).status_code == 413
    assert Read(impatient).value("residuum_http_refused_total", reason="line") == 2


def test_a_client_that_does_not_read_is_dropped(impatient: Service) -> None:
    body = chunk(lines([{"machine": "lathe"}] * 5000))
    with impatient.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(HEAD)
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|Broken"):  # noqa: PT012 - it breaks when the buffers are full
            while time.monotonic() - began < 20:
                sock.sendall(body)
    assert Read(impatient).value("residuum_http_refused_total", reason="unread") == 1
    assert Read(impatient).value("residuum_http_requests_in_flight") == 0


def test_a_stream_that_stops_amid_is_dropped(impatient: Service) -> None:
    began = time.monotonic()
    with impatient.connect() as sock:
        sock.sendall(HEAD + chunk(lines([{}])))
        text = _read_to_the_end(sock)
    assert time.monotonic() - began < 5
    assert b'{"row":1' in text
    assert b'"done"' not in text
    assert not text.endswith(b"0\r\n\r\n")


def test_curl_reads_while_it_sends(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_bytes(lines(normal_rows(5000, seed=1).to_dicts()) * 2)
    command = [program("curl", "curl"), "-sS", "--fail", "-X", "POST", "-T", file, "-H", "content-type: application/x-ndjson"]
    done = subprocess.run([*command, f"{service.url}/v1/models/pumps/score"], capture_output=True, check=True, timeout=120)
    assert json.loads(done.stdout.splitlines()[-1])["done"]["rows"] == 10_000


def test_arrow(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    done = score(service, _arrow(table), ARROW)
    assert done.headers["content-type"] == ARROW["content-type"]
    said = pl.read_ipc_stream(io.BytesIO(done.content)).to_dicts()
    for found, expected in zip(said, by_json, strict=True):
        close_to(found, expected)
        assert found["rejected"] is None


def test_arrow_with_rejects(service: Service, table: pl.DataFrame) -> None:
    spoilt = table.with_columns(pl.when(pl.int_range(70) == 3).then(pl.lit("hot")).otherwise("temperature").alias("temperature"))
    said = pl.read_ipc_stream(io.BytesIO(score(service, _arrow(spoilt), ARROW).content))
    assert said["rejected"][3] == {"column": "temperature", "found": "'hot'", "expected": "a number"}
    assert said["is_anomaly"].null_count() == 1
    only = pl.read_ipc_stream(io.BytesIO(score(service, _arrow(spoilt), ARROW, params={"only": "anomalies"}).content))
    assert only["row"].to_list() == [row for row, flag in enumerate(said["is_anomaly"]) if flag is not False]


def test_classes_come_in_every_form_of_text(service: Service, rows: list[Any]) -> None:
    path = f"{service.url}/v1/models/fans/score"
    told = ASK.post(path, json=rows).json()["verdicts"]
    *streamed, _ = map(json.loads, ASK.post(path, content=lines(rows), headers=NDJSON).text.splitlines())
    arrow = pl.read_ipc_stream(io.BytesIO(ASK.post(path, content=_arrow(pl.DataFrame(rows)), headers=ARROW).content))
    for said in (streamed, arrow.to_dicts()):
        assert [each["class"] for each in said] == [each["class"] for each in told]
        assert [each["class_probability"] for each in said] == pytest.approx([each["class_probability"] for each in told])


def test_arrow_of_pyarrow(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    import pyarrow as pa

    arrow = table.to_arrow()
    arrow = arrow.set_column(5, "machine", arrow["machine"].cast(pa.string()).dictionary_encode())
    body = io.BytesIO()
    with pa.ipc.new_stream(body, arrow.schema) as writer:
        writer.write_table(arrow, max_chunksize=16)
    said = pa.ipc.open_stream(score(service, body.getvalue(), ARROW).content).read_all().to_pylist()
    for found, expected in zip(said, by_json, strict=True):
        close_to(found, expected)


@pytest.mark.parametrize("body", [b"", b"no arrow", b"\xff\xff\xff\xff\x10\x00\x00\x00" + b"\x00" * 50])
def test_no_arrow(service: Service, body: bytes) -> None:
    assert score(service, body, ARROW).status_code == 400


def test_a_damaged_arrow_stream_harms_nobody(service: Service, table: pl.DataFrame) -> None:
    whole = bytearray(_arrow(table))
    random = np.random.default_rng(0)
    for _ in range(60):
        broken = whole.copy()
        broken[random.integers(len(whole))] = random.integers(256)
        assert score(service, bytes(broken[: random.integers(1, len(whole))]), ARROW).status_code in {200, 400, 422}
    assert score(service, bytes(whole), ARROW).status_code == 200


def test_a_date_beyond_all_calendars_is_scored_and_leaves_nothing_behind(service: Service, table: pl.DataFrame) -> None:
    far = table.with_columns(at=pl.lit(2**30, pl.Int32).cast(pl.Date))
    assert score(service, _arrow(far), ARROW).status_code == 200
    assert "residuum_http_requests_in_flight 0.0" in ASK.get(f"{service.url}/metrics").text


def test_arrow_without_a_column(service: Service, table: pl.DataFrame) -> None:
    done = score(service, _arrow(table.drop("flow")), ARROW)
    assert done.status_code == 422
    assert "'flow'" in done.json()["detail"]


def test_raw(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    scorer = Scorer.open(KEPT, "cpu")
    matrix = encode(table, scorer.columns, np.arange(table.height)).matrix
    done = score(service, matrix.astype("<f8").tobytes(), RAW)
    said = np.frombuffer(done.content, "<f8").reshape(-1, 3)
    np.testing.assert_allclose(said[:, 0], [each["anomaly_score"] for each in by_json], rtol=1e-6)
    np.testing.assert_array_equal(said[:, 2], [each["is_anomaly"] for each in by_json])

    matrix[1, 5], matrix[2, 5], matrix[3, 6], matrix[4, 0] = 4, 0.5, 2, np.inf
    said = np.frombuffer(score(service, matrix.astype("<f8").tobytes(), RAW).content, "<f8").reshape(-1, 3)
    assert np.flatnonzero(np.isnan(said[:, 0])).tolist() == [1, 2, 3]
    assert score(service, b"12345678", RAW).status_code == 422
    assert score(service, b"", RAW, params={"reasons": "1"}).status_code == 422
    assert score(service, b"", RAW).content == b""


def _arrow(table: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    table.write_ipc_stream(body)
    return body.getvalue()


def _read_to_the_end(sock: socket.socket, keep: int = 2000) -> bytes:
    """Read until the answer ends or the connection does; gives the last bytes."""
    tail = b""
    while not tail.endswith(b"0\r\n\r\n") and (piece := sock.recv(1 << 20)):
        tail = (tail + piece)[-keep:]
    return tail


@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_an_infinity_is_scored_alike_in_every_form(service: Service, infinity: float) -> None:
    """JSON has no infinity, so that it is a text there, as in CSV."""
    table = normal_rows(3, seed=5)
    column = table.columns.index("temperature")
    cells = table["temperature"].cast(pl.Float64).to_list()
    cells[1] = infinity
    columns = table.to_dict(as_series=False)
    verdicts = service.post([row | {"temperature": str(cell)} for row, cell in zip(table.to_dicts(), cells, strict=True)])
    expected = [verdict["is_anomaly"] for verdict in verdicts.json()["verdicts"]]
    scores = [verdict["anomaly_score"] for verdict in verdicts.json()["verdicts"]]
    assert expected[1] is True
    body = _arrow(table.with_columns(pl.Series("temperature", cells)))
    arrow = pl.read_ipc_stream(score(service, body, ARROW).content)
    assert arrow["is_anomaly"].to_list() == expected
    np.testing.assert_allclose(arrow["anomaly_score"], scores, rtol=1e-5)
    scorer = Scorer.open(KEPT, "cpu")
    matrix = encode(table, scorer.columns, np.arange(3)).matrix
    matrix[1, column] = infinity
    raw = np.frombuffer(score(service, matrix.tobytes(), RAW).content).reshape(-1, 3)
    assert raw[:, 2].tolist() == expected
    np.testing.assert_allclose(raw[:, 0], scores, rtol=1e-5)
    inputs: list[dict[str, Any]] = [
        {"name": name, "datatype": "BYTES" if table[name].dtype == pl.String else "FP64", "shape": [3], "data": data}
        for name, data in columns.items()
    ]
    inputs[column] = {"name": "temperature", "datatype": "FP64", "shape": [3], "parameters": {"binary_data_size": 24}}
    head = json.dumps({"inputs": inputs}, default=str).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    done = ASK.post(f"{service.url}/v2/models/pumps/infer", content=head + np.array(cells).tobytes(), headers=headers)
    assert done.status_code == 200, done.text
    found = {output["name"]: output["data"] for output in done.json()["outputs"]}
    assert found["is_anomaly"] == expected
    np.testing.assert_allclose(found["anomaly_score"], scores, rtol=1e-5)
