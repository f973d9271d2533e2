"""The Open Inference Protocol: the same verdicts, in JSON and in binary tensors."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import tritonclient.http as triton
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core import ApiError
from open_inference.openapi.types import InferenceRequest

from tests.serving.http.conftest import ASK, Service, Start, copy
from tests.serving.http.test_metrics import Read
from tests.tables import normal_rows, planted_anomalies

DATATYPES = {"machine": "BYTES", "door_open": "BYTES", "at": "BYTES"}


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return pl.concat([normal_rows(20, seed=5, holes=0.1), planted_anomalies(5)]).with_columns(
        pl.col("firmware", "slots").cast(pl.Float64)
    )


@pytest.fixture(scope="module")
def by_json(service: Service, table: pl.DataFrame) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = service.post(table.to_dicts()).json()["verdicts"]
    return verdicts


def infer(service: Service, content: bytes, headers: dict[str, str] | None = None) -> httpx.Response:
    return ASK.post(f"{service.url}/v2/models/pumps/infer", content=content, headers=headers or {})


def inputs(table: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {"name": name, "datatype": DATATYPES.get(name, "FP64"), "shape": [table.height], "data": table[name].to_list()}
        for name in table.columns
    ]


def packed(table: pl.DataFrame, **request: Any) -> tuple[bytes, dict[str, str]]:  # noqa: ANN401
    described, tensors = [], b""
    for each in inputs(table):
        cells = each.pop("data")
        if each["datatype"] == "BYTES":
            texts = [(cell or "").encode() for cell in cells]
            tensor = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        else:
            tensor = np.array([np.nan if cell is None else cell for cell in cells]).tobytes()
        described.append(each | {"parameters": {"binary_data_size": len(tensor)}})
        tensors += tensor
    head = json.dumps({"inputs": described, **request}).encode()
    return head + tensors, {"Inference-Header-Content-Length": str(len(head))}


def test_json(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    said = infer(service, json.dumps({"id": "7", "inputs": inputs(table)}).encode()).json()
    assert (said["id"], said["model_name"], said["model_version"]) == ("7", "pumps", "2")
    outputs = {each["name"]: each for each in said["outputs"]}
    assert set(outputs) == {"anomaly_score", "is_anomaly", "p_value"}
    np.testing.assert_allclose(outputs["anomaly_score"]["data"], [each["anomaly_score"] for each in by_json], rtol=1e-6)
    assert outputs["is_anomaly"]["data"] == [each["is_anomaly"] for each in by_json]
    assert outputs["is_anomaly"]["datatype"] == "BOOL"


def test_null_is_absence(service: Service, table: pl.DataFrame) -> None:
    plain = infer(service, json.dumps({"inputs": inputs(table)}).encode()).json()
    nothing = {"binary_data_size": None, "binary_data": None, "binary_data_output": None}
    for parameters in (None, nothing, {"content_type": None}):
        columns = [each | {"parameters": parameters} for each in inputs(table)]
        asked = {"id": None, "inputs": columns, "parameters": parameters, "outputs": None, "model_version": None}
        assert infer(service, json.dumps(asked).encode()).json() == plain
        asked["outputs"] = [{"name": each["name"], "parameters": parameters} for each in plain["outputs"]]
        assert infer(service, json.dumps(asked).encode()).json() == plain
    packed_columns, headers = packed(table, id=None, outputs=None)
    size = int(headers["Inference-Header-Content-Length"])
    head = json.loads(packed_columns[:size])
    head["inputs"] = [each | {"data": None} for each in head["inputs"]]
    text = json.dumps(head).encode()
    done = infer(service, text + packed_columns[size:], {"Inference-Header-Content-Length": str(len(text))})
    assert done.json()["outputs"][0]["data"] == plain["outputs"][0]["data"]


def test_binary(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    names = ["anomaly_score", "contribution", "expected", "is_anomaly"]
    done = infer(service, *packed(table, outputs=[{"name": name, "parameters": {"binary_data": True}} for name in names]))
    assert done.status_code == 200, done.text
    size = int(done.headers["inference-header-content-length"])
    head, tensors = json.loads(done.content[:size]), done.content[size:]
    arrays = {}
    for each in head["outputs"]:
        length = each["parameters"]["binary_data_size"]
        arrays[each["name"]] = np.frombuffer(tensors[:length], "?" if each["datatype"] == "BOOL" else "<f8").reshape(
            each["shape"]
        )
        tensors = tensors[length:]
    assert tensors == b""
    np.testing.assert_allclose(arrays["anomaly_score"], [each["anomaly_score"] for each in by_json], rtol=1e-6)
    np.testing.assert_allclose(arrays["contribution"].sum(axis=1), arrays["anomaly_score"], rtol=1e-5)
    assert arrays["expected"].shape == (25, 10)
    assert arrays["is_anomaly"].tolist() == [each["is_anomaly"] for each in by_json]


@pytest.mark.parametrize("binary", [False, True])
def test_classes(service: Service, table: pl.DataFrame, *, binary: bool) -> None:
    columns = inputs(table)
    columns[6]["data"][2] = "ajar"
    asked = {"inputs": columns, "parameters": {"binary_data_output": binary}}
    path = f"{service.url}/v2/models/fans/infer"
    done = ASK.post(path, json=asked)
    head = json.loads(done.content[: int(done.headers.get("inference-header-content-length", len(done.content)))])
    found = {each["name"]: each for each in head["outputs"]}
    described = {each["name"]: each["datatype"] for each in ASK.get(path.removesuffix("/infer")).json()["outputs"]}
    assert {name: each["datatype"] for name, each in found.items()}.items() <= described.items()
    assert (found["class"]["datatype"], found["class"]["shape"]) == ("BYTES", [25])
    told = ASK.post(f"{service.url}/v1/models/fans/score", json=table.to_dicts()).json()["verdicts"]
    wanted = [each["class"] for each in told]
    wanted[2] = ""
    if binary:
        assert b"".join(struct.pack("<I", len(text)) + text.encode() for text in wanted) in done.content
    else:
        assert found["class"]["data"] == wanted
        assert found["class_probability"]["data"][3] == pytest.approx(told[3]["class_probability"])
        assert found["class_probability"]["data"][2] is None
    assert infer(service, json.dumps({"inputs": inputs(table), "outputs": [{"name": "class"}]}).encode()).status_code == 422


def test_rejected_rows_stay_in_their_places(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    columns = inputs(table)
    columns[6]["data"][2] = "ajar"
    columns[5]["data"][4] = "x" * 20_000
    said = infer(service, json.dumps({"inputs": columns}).encode()).json()
    scores = said["outputs"][0]["data"]
    assert [row for row, score in enumerate(scores) if score is None] == [2, 4]
    assert scores[3] == pytest.approx(by_json[3]["anomaly_score"], rel=1e-6)
    rejected = json.loads(said["parameters"]["rejected"])
    assert [(each["row"], each["column"]) for each in rejected] == [(2, "door_open"), (4, "machine")]


def test_metadata(service: Service) -> None:
    assert ASK.get(f"{service.url}/v2").json()["extensions"] == ["binary_tensor_data", "model_repository"]
    said = ASK.get(f"{service.url}/v2/models/pumps").json()
    assert said["versions"] == ["1", "2"]
    described = {each["name"]: each for each in said["inputs"]}
    assert described["machine"]["datatype"] == "BYTES"
    assert described["flow"]["parameters"] == {"missing": "NaN; null in JSON"}
    for path in ("health/live", "health/ready", "models/pumps/ready", "models/pumps/versions/1/ready"):
        assert ASK.get(f"{service.url}/v2/{path}").status_code == 200
    assert ASK.get(f"{service.url}/v2/models/none/ready").json()["error"]
    index = ASK.post(f"{service.url}/v2/repository/index", json={}).json()
    assert {each["name"] for each in index} == {"pumps", "fans"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda asked: asked["inputs"].pop(), "$.inputs"),
        (lambda asked: asked["inputs"][3].update(shape=[24]), "$.inputs[3].shape"),
        (lambda asked: asked["inputs"][3].update(shape=[5, 5]), "$.inputs[3].shape"),
        (lambda asked: asked["inputs"][3]["data"].pop(), "$.inputs[3].data"),
        (lambda asked: asked["inputs"][3]["data"].__setitem__(1, {}), "$.inputs[3].data[1]"),
        (lambda asked: asked.update(outputs=[{"name": "colour"}]), "$.outputs[0].name"),
        (lambda asked: asked.pop("inputs"), "$"),
        (lambda asked: asked["inputs"][0].update(name=7), "$.inputs[0].name"),
        (lambda asked: asked["inputs"][3].update(datatype="FP46"), "$.inputs[3].datatype"),
        (lambda asked: asked["inputs"][3].update(datatype="string"), "$.inputs[3].datatype"),
        (lambda asked: asked["inputs"].append(asked["inputs"][3]), "$.inputs[10].name"),
        (
            lambda asked: asked["inputs"].extend([{"name": "x", "shape": [25], "datatype": "FP64", "data": [1] * 25}] * 2),
            "$.inputs[11].name",
        ),
    ],
    ids=["column", "rows", "matrix", "cells", "cell", "output", "nothing", "name", "datatype", "text", "twice", "unknown"],
)
def test_faults(service: Service, table: pl.DataFrame, change: Any, path: str) -> None:  # noqa: ANN401
    asked = {"inputs": inputs(table)}
    change(asked)
    done = infer(service, json.dumps(asked).encode())
    assert (done.status_code, done.json()["path"]) == (422, path)
    assert done.json()["error"] == done.json()["detail"]


def test_broken_tensors(service: Service, table: pl.DataFrame) -> None:
    body, headers = packed(table)
    assert infer(service, body[:-1], headers).status_code == 422
    assert infer(service, body, {"Inference-Header-Content-Length": "x"}).status_code == 400
    assert infer(service, body, {"Inference-Header-Content-Length": "99999999"}).status_code == 400
    size = int(headers["Inference-Header-Content-Length"])
    head, tensors = body[:size].replace(b'"FP64"', b'"FP32"'), body[size:]
    assert infer(service, head + tensors, headers).status_code == 422
    assert infer(service, body[:size].replace(b'"FP64"', b'"FOUR"') + tensors, headers).status_code == 422
    assert "bytes follow" in infer(service, body + b"more", headers).json()["detail"]
    both = body[:size].replace(b'"shape"', b'"data":[],"shape"', 1)
    done = infer(service, both + tensors, {"Inference-Header-Content-Length": str(len(both))})
    assert (done.status_code, "both" in done.json()["detail"]) == (422, True)


def test_a_new_version_is_loaded_when_told(start: Start, tmp_path: Path) -> None:
    copy(tmp_path / "models", "pumps", 1)
    service = start(at=tmp_path / "models")
    load = f"{service.url}/v2/repository/models/pumps/load"
    assert ASK.post(load).json() == {"name": "pumps", "version": "1"}
    copy(tmp_path / "models", "pumps", 2)
    assert service.post([{}]).json()["version"] == 1
    assert ASK.post(load).json()["version"] == "2"
    assert service.post([{}]).json()["version"] == 2
    assert Read(service).value("residuum_model_loads_total", outcome="opened") == 2
    assert ASK.post(f"{service.url}/v2/repository/models/none/load").status_code == 404


def test_a_damaged_version_is_not_loaded(start: Start, tmp_path: Path) -> None:
    copy(tmp_path / "models", "pumps", 1)
    service = start(at=tmp_path / "models")
    load = f"{service.url}/v2/repository/models/pumps/load"
    copy(tmp_path / "models", "pumps", 2)
    (tmp_path / "models" / "pumps" / "2" / "model.onnx").write_bytes(b"damaged")
    (tmp_path / "models" / "pumps" / "1" / "calibration.npy").write_bytes(b"damaged")
    for route in ("v1/models/pumps/versions/2/score", "v2/models/pumps/versions/2/infer"):
        done = ASK.post(f"{service.url}/{route}", json=[])
        assert (done.status_code, "pumps/2/model.onnx" in done.json()["detail"]) == (409, True)
    for version in (2, 1):  # 1 is active
        done = ASK.post(load)
        assert done.status_code == 409
        assert f"pumps/{version}" in done.json()["detail"]
        assert str(tmp_path) not in done.text
        assert service.post([{}]).json()["version"] == 1
        shutil.rmtree(tmp_path / "models" / "pumps" / "2", ignore_errors=True)
    promoted = ASK.post(f"{service.url}/v1/models/pumps/promote", json={"version": 1})
    assert promoted.status_code == 409


def test_tritonclient_works_unchanged(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{service.port}")
    assert client.is_server_ready()
    assert client.is_model_ready("pumps")
    asked = []
    for each in inputs(table):
        cells = each["data"]
        text = each["datatype"] == "BYTES"
        array = np.array(
            [cell or "" for cell in cells] if text else [np.nan if cell is None else cell for cell in cells],
            object if text else float,
        )
        asked.append(triton.InferInput(each["name"], each["shape"], each["datatype"]))
        asked[-1].set_data_from_numpy(array, binary_data=True)
    scores = client.infer("pumps", asked).as_numpy("anomaly_score")
    np.testing.assert_allclose(scores, [each["anomaly_score"] for each in by_json], rtol=1e-6)


def test_the_protocols_own_client_works_unchanged(service: Service, table: pl.DataFrame, by_json: list[Any]) -> None:
    client = OpenInferenceClient(base_url=service.url, httpx_client=ASK)
    client.check_server_liveness()
    client.check_server_readiness()
    client.check_model_readiness("pumps")
    client.check_model_version_readiness("pumps", "1")
    assert client.read_server_metadata().name == "residuum"
    described = client.read_model_metadata("pumps")
    assert [each.name for each in described.inputs] == table.columns
    assert client.read_model_version_metadata("pumps", "1").versions == ["1", "2"]

    asked = inputs(table.fill_null(""))  # it knows no null
    for each in asked:
        each["data"] = ["" if cell is None else cell for cell in each["data"]]
    said = client.model_infer("pumps", request=InferenceRequest(id="7", inputs=asked))
    outputs = {each.name: each.data.__root__ for each in said.outputs}
    assert (said.id, said.model_version) == ("7", "2")
    np.testing.assert_allclose(outputs["anomaly_score"], [each["anomaly_score"] for each in by_json], rtol=1e-6)
    assert outputs["is_anomaly"] == [each["is_anomaly"] for each in by_json]
    older = client.model_version_infer("pumps", "1", request=InferenceRequest(inputs=asked))
    assert older.model_version == "1"
    with pytest.raises(ApiError, match="no model 'none'"):
        client.model_infer("none", request=InferenceRequest(inputs=asked))
    with pytest.raises(ApiError, match="the inputs lack"):
        client.model_infer("pumps", request=InferenceRequest(inputs=asked[1:]))


@pytest.mark.parametrize(
    ("datatype", "cell"),
    [
        ("INT8", 300),
        ("INT8", -129),
        ("INT16", 40_000),
        ("INT32", 2**31),
        ("INT64", 2**63),
        ("INT64", 1.5),
        ("UINT8", -1),
        ("UINT64", 2**64),
        ("BOOL", 7),
        ("BOOL", 0.5),
        ("FP16", 70_000),
        ("FP32", -1e39),
    ],
)
def test_a_cell_outside_its_datatype_is_refused(service: Service, table: pl.DataFrame, datatype: str, cell: float) -> None:
    columns = inputs(table)
    columns[3].update(datatype=datatype, data=[1] * 24 + [cell])
    done = infer(service, json.dumps({"inputs": columns}).encode())
    assert (done.status_code, done.json()["path"], done.json()["found"]) == (400, "$.inputs[3].data[24]", str(cell))
    columns[3]["data"][24] = None
    assert infer(service, json.dumps({"inputs": columns}).encode()).status_code == 200


def test_a_binary_cell_that_is_no_boolean_is_refused(service: Service, table: pl.DataFrame) -> None:
    columns = inputs(table)
    columns[-1].pop("data")
    columns[-1].update(datatype="BOOL", parameters={"binary_data_size": 25})
    head = json.dumps({"inputs": columns}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert infer(service, head + bytes(24) + b"\x01", headers).status_code == 200
    assert infer(service, head + bytes(24) + b"\x07", headers).status_code == 400


def test_an_output_is_asked_for_once(service: Service, table: pl.DataFrame) -> None:
    outputs = [{"name": "anomaly_score"}, {"name": "p_value"}, {"name": "anomaly_score"}]
    done = infer(service, json.dumps({"inputs": inputs(table), "outputs": outputs}).encode())
    assert (done.status_code, done.json()["path"]) == (400, "$.outputs[2].name")
