"""Every row that is counted as an anomaly is an alarm in the events of the live page, whatever the format of its request."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from detector.columns import encode
from detector.scorer import Scorer
from tests.data.make_bundle import KEPT
from tests.presses import today
from tests.serving.http.conftest import ASK, Service, Start, copy, until
from tests.serving.http.test_inference import inputs
from tests.tables import normal_rows, planted_anomalies

TABLE = pl.concat([normal_rows(20, seed=5), planted_anomalies(5)])
SCORE, INFER = "/v1/models/pumps/score", "/v2/models/pumps/infer"


def _arrow(table: pl.DataFrame = TABLE) -> bytes:
    body = io.BytesIO()
    table.write_ipc_stream(body)
    return body.getvalue()


def _raw() -> bytes:
    return encode(TABLE, Scorer.open(KEPT, "cpu").columns, np.arange(TABLE.height)).matrix.astype("<f8").tobytes()


def _json(table: pl.DataFrame = TABLE) -> bytes:
    return json.dumps({"rows": table.to_dicts()}, default=str).encode()


def _oip(table: pl.DataFrame = TABLE) -> bytes:
    return json.dumps({"id": "42", "inputs": inputs(table)}, default=str).encode()


REQUESTS: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "json": (SCORE, "application/json", _json),
    "no reasons": (f"{SCORE}?reasons=0", "application/json", _json),
    "no normal rows": (f"{SCORE}?only=anomalies&reasons=0", "application/json", _json),
    "lines": (f"{SCORE}?reasons=0", "application/x-ndjson", lambda: TABLE.write_ndjson().encode()),
    "arrow": (f"{SCORE}?reasons=0", "application/vnd.apache.arrow.stream", _arrow),
    "raw": (SCORE, "application/octet-stream", _raw),
    "inference": (INFER, "application/json", _oip),
    "inference by version": ("/v2/models/pumps/versions/1/infer", "application/json", _oip),
}


@pytest.fixture
def service(start: Start, tmp_path: Path) -> Service:
    copy(tmp_path / "models", "pumps", 1)
    return start(at=tmp_path / "models")


def state(service: Service) -> dict[str, Any]:
    """Return the state of the only model in the first event of a new connection."""
    with ASK.stream("GET", f"{service.url}/v1/events") as answer:
        (model,) = json.loads(next(answer.iter_lines()).removeprefix("data: "))["models"]
    return dict(model)


def test_alarms_of_every_format_are_shown_and_take_feedback(service: Service, tmp_path: Path) -> None:
    flagged = service.post(TABLE.to_dicts(), headers={"x-request-id": "first"}).json()["anomalies"]
    assert flagged >= 5
    for name, (path, content_type, body) in REQUESTS.items():
        headers = {"content-type": content_type, "x-request-id": name.replace(" ", "-")}
        response: httpx.Response = ASK.post(f"{service.url}{path}", content=body(), headers=headers)
        assert response.status_code == 200, response.text
    until(lambda: state(service)["anomalies"] == flagged * (1 + len(REQUESTS)))
    alarms = state(service)["alarms"]
    assert len(alarms) == flagged * (1 + len(REQUESTS))
    rows = {alarm["row"] for alarm in alarms if alarm["request_id"] == "first"}
    for name in REQUESTS:
        shown = [alarm for alarm in alarms if alarm["request_id"] == name.replace(" ", "-")]
        first = 1 if name == "lines" else 0  # lines are numbered from 1, as in the answer
        assert {alarm["row"] - first for alarm in shown} == rows, name
        assert all(alarm["score"] > alarm["threshold"] for alarm in shown)
        assert all(bool(alarm["reasons"]) == (name in {"json", "raw"}) for alarm in shown), name
        feedback = {"request_id": shown[0]["request_id"], "row": shown[0]["row"], "verdict": "confirmed"}
        assert ASK.post(f"{service.url}/v1/models/pumps/feedback", json=feedback).json() == {"model": "pumps", "written": 1}
    lines = (tmp_path / "models" / "pumps" / "feedback.ndjson").read_text().splitlines()
    assert [json.loads(line)["feedback"]["request_id"] for line in lines] == [name.replace(" ", "-") for name in REQUESTS]


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [
        (SCORE, "application/json", _json),
        (SCORE, "application/x-ndjson", lambda table: b"\n" + table.write_ndjson().encode()),
        (SCORE, "application/vnd.apache.arrow.stream", _arrow),
        (INFER, "application/json", _oip),
    ],
    ids=["json", "lines", "arrow", "inference"],
)
def test_alarms_are_named_by_the_label_columns(
    start: Start, tmp_path: Path, path: str, content_type: str, body: Callable[[pl.DataFrame], bytes]
) -> None:
    copy(tmp_path / "models", "pumps", 1)
    service = start("--label-columns", "station, nowhere", "--label-columns", "temperature", at=tmp_path / "models")
    table = TABLE.with_columns(station=pl.format("S{}", pl.int_range(TABLE.height)))
    response = ASK.post(f"{service.url}{path}", content=body(table), headers={"content-type": content_type})
    assert response.status_code == 200, response.text
    assert "unknown_columns" not in response.text
    until(lambda: state(service)["anomalies"] > 0)
    for alarm in state(service)["alarms"]:
        row = alarm["row"] - 2 * (content_type == "application/x-ndjson")  # its first line is blank
        found = table.row(row, named=True)
        assert alarm["labels"]["station"] == f"S{row}"
        assert float(alarm["labels"]["temperature"]) == pytest.approx(found["temperature"])
        assert set(alarm["labels"]) == {"station", "temperature"}


def test_alarms_of_a_series_are_named_by_its_key_and_its_time(start: Start, presses: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(presses[0], tmp_path / "models" / "presses")
    service = start(at=tmp_path / "models")
    rows = today().with_columns(pl.col("ts").cast(pl.String)).to_dicts()
    response = ASK.post(f"{service.url}/v1/models/presses/score", json=rows)
    assert response.json()["anomalies"] > 0, response.text
    until(lambda: bool(state(service)["alarms"]))
    for alarm in state(service)["alarms"]:
        row = rows[alarm["row"]]
        assert list(alarm["labels"].items()) == [("machine", row["machine"]), ("ts", row["ts"])]
