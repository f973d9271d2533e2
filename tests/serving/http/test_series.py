"""Series over HTTP: the rows of one request are scored like those of a file, in every format."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from detector.columns import encode
from detector.scorer import Scorer
from residuum.cli import app
from tests.presses import LENGTH, today
from tests.serving.http.conftest import ASK, Service, ServiceThread, running
from tests.serving.http.test_forms import ARROW, NDJSON, RAW
from tests.serving.http.test_metrics import Read

PRESSES = {"model": "presses", "version": "1"}

Said = list[dict[str, Any]]


@pytest.fixture(scope="module")
def bundle(presses: tuple[Path, str]) -> Path:
    return presses[0]


@pytest.fixture(scope="module")
def served(bundle: Path) -> Iterator[Service]:
    yield from running(ServiceThread(bundle.parent))


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Rows of two machines, of which one cannot be read, one comes twice and one has no machine."""
    bad = pl.int_range(pl.len())
    spoilt = pl.when(bad == 70).then(pl.lit("fast")).otherwise(pl.col("load").cast(pl.String))
    again = pl.when(bad == 90).then(pl.lit("2026-03-03 06:00:00")).otherwise("ts")
    return today().with_columns(load=spoilt, ts=again, machine=pl.when(bad == 100).then(None).otherwise("machine"))


@pytest.fixture(scope="module")
def filed(bundle: Path, rows: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Said:
    """What `residuum score` says of them."""
    folder = tmp_path_factory.mktemp("filed")
    rows.write_csv(folder / "rows.csv")
    command = ["score", bundle, folder / "rows.csv", "--to", folder / "out.ndjson"]
    done = CliRunner().invoke(app, [*map(str, command)])
    assert done.exit_code == 0, done.output
    said = {each["row"]: each for each in map(json.loads, (folder / "out.ndjson").read_text().splitlines())}
    for each in pl.read_csv(folder / "out.rejects.csv").to_dicts():
        said[each["row"]] = {"rejected": {name: each[name] for name in ("column", "found", "expected")}}
    return [said[row] for row in sorted(said)]


def post(service: Service, content: bytes, headers: dict[str, str], path: str = "v1/models/presses/score") -> httpx.Response:
    done = ASK.post(f"{service.url}/{path}", content=content, headers=headers)
    assert done.status_code == 200, done.text
    return done


def as_stream(rows: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    rows.write_ipc_stream(body)
    return body.getvalue()


def inferred(service: Service, rows: pl.DataFrame) -> Said:
    columns = ["load", "flow", "heat", "mode", "firmware", "ts", "machine"]
    inputs = [{"name": name, "datatype": "BYTES", "shape": [rows.height], "data": rows[name].to_list()} for name in columns]
    answer = post(service, json.dumps({"inputs": inputs}).encode(), {}, "v2/models/presses/infer").json()
    outputs = [each["data"] for each in answer["outputs"]]
    said = [
        {"anomaly_score": score, "is_anomaly": flag if state == "scored" else None, "p_value": p_value, "state": state}
        for score, flag, p_value, state in zip(*outputs, strict=True)
    ]
    for each in json.loads(answer["parameters"]["rejected"]):
        said[each["row"]] = {"rejected": {name: each[name] for name in ("column", "found", "expected")}}
    return said


@pytest.mark.parametrize("form", ["json", "ndjson", "arrow", "inference"])
def test_rows_get_the_verdicts_of_a_file(served: Service, rows: pl.DataFrame, filed: Said, form: str) -> None:
    match form:
        case "json":
            answer = post(served, json.dumps(rows.to_dicts()).encode(), {"content-type": "application/json"}).json()
            said = answer["verdicts"]
            states = [each.get("state") for each in filed]
            assert answer["rows"] == states.count("scored")
            assert answer["not_scored"] == states.count("warming up") == 2 * (LENGTH - 1)
            assert answer["rejected"] == states.count(None) == 3
            assert answer["anomalies"] > 3 * answer["alarms"] > 0
        case "ndjson":
            *said, last = map(json.loads, post(served, rows.write_ndjson().encode(), NDJSON).text.splitlines())
            assert last["done"]["not_scored"] == 2 * (LENGTH - 1)
            assert last["done"]["alarms"] > 0
        case "arrow":
            said = pl.read_ipc_stream(io.BytesIO(post(served, as_stream(rows), ARROW).content)).to_dicts()
        case _:
            said = inferred(served, rows)
    assert len(said) == len(filed) == rows.height
    for found, expected in zip(said, filed, strict=True):
        if "rejected" in expected:
            assert found["rejected"] == expected["rejected"]
            continue
        assert (found["state"], found["is_anomaly"]) == (expected["state"], expected["is_anomaly"])
        for name in ("anomaly_score", "p_value"):
            assert found[name] == (expected[name] and pytest.approx(expected[name], rel=1e-4))
        if expected.get("reasons") and form != "inference":
            assert found["reasons"][0]["found"] == expected["reasons"][0]["found"]


def test_each_request_begins_anew_and_a_stream_is_one_run(served: Service) -> None:
    rows = today().filter(machine="press")
    for _ in range(2):
        said = post(served, json.dumps(rows[:LENGTH].to_dicts()).encode(), {"content-type": "application/json"}).json()
        assert [each["state"] for each in said["verdicts"]] == ["warming up"] * (LENGTH - 1) + ["scored"]
    with httpx.Client() as client:  # line by line, each a block of its own
        lines = (line + b"\n" for line in rows.write_ndjson().encode().splitlines())
        answer = client.post(f"{served.url}/v1/models/presses/score", content=lines, headers=NDJSON)
    *verdicts, last = map(json.loads, answer.text.splitlines())
    assert [each["state"] for each in verdicts].count("warming up") == LENGTH - 1
    assert last["done"]["rows"] == rows.height - LENGTH + 1


def test_whole_windows_are_scored_one_by_one(served: Service, bundle: Path) -> None:
    rows = today().filter(machine="press")
    scorer = Scorer.open(bundle, "cpu")
    matrix = encode(rows, scorer.columns, np.arange(rows.height)).matrix
    windows = np.stack([matrix[at : at + LENGTH] for at in range(rows.height - LENGTH + 1)])
    windows[3, 5, 3] = 9  # no code of `mode`
    said = np.frombuffer(post(served, windows.astype("<f8").tobytes(), RAW).content, "<f8").reshape(-1, 3)
    expected = scorer.score(rows, explain="none").score[LENGTH - 1 :]
    assert np.isnan(said[3]).all()
    kept = np.arange(len(windows)) != 3
    assert said[kept, 0] == pytest.approx(expected[kept], rel=1e-4)
    assert (said[kept, 2] == (expected[kept] > scorer.manifest.decision.threshold)).all()
    refused = ASK.post(f"{served.url}/v1/models/presses/score", content=matrix[:5].tobytes(), headers=RAW)
    assert refused.status_code == 422
    assert refused.json()["detail"] == f"the body is not whole windows, float64[windows, {LENGTH}, 5]"


def test_what_a_series_needs_is_named(served: Service) -> None:
    rows = today()
    said = post(served, json.dumps(rows.drop("ts").to_dicts()[:1]).encode(), {"content-type": "application/json"}).json()
    assert said["verdicts"][0]["rejected"]["column"] == "ts"
    refused = ASK.post(f"{served.url}/v1/models/presses/score", content=as_stream(rows.drop("machine")), headers=ARROW)
    assert refused.status_code == 422
    assert "lacks the key column 'machine'" in refused.json()["detail"]
    inputs = {each["name"]: each for each in ASK.get(f"{served.url}/v2/models/presses").json()["inputs"]}
    assert "rises" in inputs["ts"]["parameters"]["series"]
    asked = {"inputs": [], "outputs": [{"name": "contribution"}]}
    refused = ASK.post(f"{served.url}/v2/models/presses/infer", json=asked)
    assert refused.json()["expected"] == "anomaly_score, is_anomaly, p_value, state"


def test_metrics_promise_nothing_of_rows(served: Service, rows: pl.DataFrame) -> None:
    before = Read(served)
    said = served_json(served, rows)
    read = Read(served)
    for name, count in (("rows", said["rows"]), ("anomalies", said["anomalies"]), ("alarms", said["alarms"])):
        assert read.value(f"residuum_{name}_total", **PRESSES) - before.value(f"residuum_{name}_total", **PRESSES) == count
    for name in ("promised_alarm_ratio", "calibration_rows", "calibration_rows_above", "drift_martingale"):
        assert not read.families[f"residuum_{name}"].samples


def served_json(service: Service, rows: pl.DataFrame) -> dict[str, Any]:
    answer: dict[str, Any] = post(service, json.dumps(rows.to_dicts()).encode(), {"content-type": "application/json"}).json()
    return answer
