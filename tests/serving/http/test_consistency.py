"""The service gives every row the verdict that `residuum score` gives it in a file, in every wire format."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator
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
from tests.serving.http.conftest import ASK, Service, ServiceThread, copy, running
from tests.serving.http.test_forms import ARROW, NDJSON, RAW
from tests.tables import normal_rows, planted_anomalies

MAX_ROWS = 5000  # of one body
STEPS = 200  # of training, whose quality does not matter here
TOLERANCE = 1e-5  # relative difference of the scores of a row, alone and in a batch

Results = list[dict[str, Any]]  # of each row in order: its verdict, or {"rejected": column}
Send = Callable[["Case", pl.DataFrame], Results]


class Case:
    """A model, rows, and their results from `residuum score`."""

    def __init__(self, service: Service, bundle: Path, table: pl.DataFrame, file_results: Results) -> None:
        self.service = service
        self.bundle = bundle
        self.table = table
        self.file_results = file_results

    def post(self, content: bytes, headers: dict[str, str], route: str = "v1/models/{}/score") -> httpx.Response:
        path = route.format(self.bundle.parent.name)
        done = ASK.post(f"{self.service.url}/{path}", content=content, headers=headers)
        assert done.status_code == 200, done.text
        return done


def generated() -> pl.DataFrame:
    """Return rows with every kind of column, some with cells that cannot be read."""
    rows = pl.concat([normal_rows(300, seed=5, holes=0.1), planted_anomalies(60)])
    spoilt = pl.when(pl.int_range(360) % 50 == 3).then(pl.lit("hot")).otherwise(pl.col("temperature").cast(pl.String))
    ajar = pl.when(pl.int_range(360) % 70 == 4).then(pl.lit("ajar")).otherwise("door_open")
    return rows.with_columns(temperature=spoilt, door_open=ajar.alias("door_open"))


def score_file(bundle: Path, file: Path) -> Results:
    """Return the results of `residuum score` for a file."""
    out, rejects = file.with_name("out.ndjson"), file.with_name("rejects.csv")
    command = ["score", bundle, file, "--to", out, "--rejects", rejects]
    done = CliRunner().invoke(app, [*map(str, command)])
    assert done.exit_code == 0, done.output
    results = {each["row"]: each for each in map(json.loads, out.read_text().splitlines())}
    if rejects.exists():
        results |= {each["row"]: {"rejected": each["column"]} for each in pl.read_csv(rejects).to_dicts()}
    return [results[row] for row in sorted(results)]


@pytest.fixture(scope="module")
def on_generated_rows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("generated")
    copy(folder / "models", "pumps", 1)
    yield from _case(folder, folder / "models" / "pumps" / "1", generated())


@pytest.fixture(scope="module")
def on_nsl_kdd(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("nsl_kdd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.fit.STEPS", STEPS)
        command = ["train", shared_data / "nsl_kdd" / "train_normal.csv", "--to", folder / "models" / "packets"]
        done = CliRunner().invoke(app, [*map(str, command)])
    assert done.exit_code == 0, done.output
    test = pl.read_csv(shared_data / "nsl_kdd" / "test_labelled.csv", infer_schema_length=None)
    yield from _case(folder, folder / "models" / "packets" / "1", test)


def _case(folder: Path, bundle: Path, table: pl.DataFrame) -> Iterator[Case]:
    table.write_csv(folder / "rows.csv")
    results = score_file(bundle, folder / "rows.csv")
    for service in running(ServiceThread(folder / "models")):
        yield Case(service, bundle, table, results)


def by_json(case: Case, table: pl.DataFrame) -> Results:
    body = json.dumps({"rows": table.to_dicts()}).encode()
    return case.post(body, {"content-type": "application/json"}).json()["verdicts"]


def by_ndjson(case: Case, table: pl.DataFrame) -> Results:
    *results, last = map(json.loads, case.post(table.write_ndjson().encode(), NDJSON).text.splitlines())
    assert last["done"]["rows"] + last["done"]["rejected"] == table.height
    return results


def by_arrow(case: Case, table: pl.DataFrame) -> Results:
    body = io.BytesIO()
    table.write_ipc_stream(body)
    results = pl.read_ipc_stream(io.BytesIO(case.post(body.getvalue(), ARROW).content)).to_dicts()
    return [{key: cell for key, cell in each.items() if cell is not None} for each in results]


def by_matrix(case: Case, table: pl.DataFrame) -> Results:
    """Send a matrix, which cannot hold rejected rows: these are left out."""
    scorer = Scorer.open(case.bundle, "cpu")
    encoded = encode(table, scorer.columns, np.arange(table.height))
    matrix = encoded.matrix.astype("<f8").tobytes()
    answers = iter(np.frombuffer(case.post(matrix, RAW).content, "<f8").reshape(-1, 3).tolist())
    rejected = iter(encoded.rejects)
    return [
        dict(zip(("anomaly_score", "p_value", "is_anomaly"), next(answers), strict=True))
        if accepted
        else {"rejected": {"column": next(rejected).column}}
        for accepted in encoded.accepted
    ]


def by_inference(case: Case, table: pl.DataFrame) -> Results:
    request = {"inputs": [_input(column) | {"data": column.to_list()} for column in table]}
    done = case.post(json.dumps(request).encode(), {}, "v2/models/{}/infer").json()
    return _inferred(done, {each["name"]: each["data"] for each in done["outputs"]})


def by_binary_inference(case: Case, table: pl.DataFrame) -> Results:
    tensors = [_tensor(column) for column in table]
    inputs = [
        _input(column) | {"parameters": {"binary_data_size": len(tensor)}} for column, tensor in zip(table, tensors, strict=True)
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    done = case.post(head + b"".join(tensors), {"inference-header-content-length": str(len(head))}, "v2/models/{}/infer")
    size = int(done.headers["inference-header-content-length"])
    answer, at, outputs = json.loads(done.content[:size]), size, {}
    for each in answer["outputs"]:
        length = each["parameters"]["binary_data_size"]
        outputs[each["name"]] = np.frombuffer(
            done.content[at : at + length], {"FP64": "<f8", "BOOL": "?"}[each["datatype"]]
        ).tolist()
        at += length
    return _inferred(answer, outputs)


def _input(column: pl.Series) -> dict[str, Any]:
    datatype = "FP64" if column.dtype.is_numeric() else "BYTES"
    return {"name": column.name, "datatype": datatype, "shape": [len(column)]}


def _tensor(column: pl.Series) -> bytes:
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_null(np.nan).to_numpy().astype("<f8").tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in ((cell or "").encode() for cell in column.to_list()))


def _inferred(answer: dict[str, Any], outputs: dict[str, list[Any]]) -> Results:
    rejected = {
        each["row"]: each["column"] for each in json.loads(answer.get("parameters", {"rejected": "[]"}).get("rejected", "[]"))
    }
    names = ("anomaly_score", "p_value", "is_anomaly")
    rows = zip(*(outputs[name] for name in names), strict=True)
    return [
        {"rejected": {"column": rejected[place]}} if place in rejected else dict(zip(names, row, strict=True))
        for place, row in enumerate(rows)
    ]


FORMATS = [by_json, by_ndjson, by_arrow, by_matrix, by_inference, by_binary_inference]


@pytest.mark.parametrize("send", FORMATS)
@pytest.mark.parametrize("case", ["on_generated_rows", pytest.param("on_nsl_kdd", marks=pytest.mark.long)])
def test_every_row_gets_the_verdict_that_it_gets_in_a_file(case: str, send: Send, request: pytest.FixtureRequest) -> None:
    given: Case = request.getfixturevalue(case)
    wanted = [column.name for column in Scorer.open(given.bundle, "cpu").columns]
    results = [each for part in given.table.select(wanted).iter_slices(MAX_ROWS) for each in send(given, part)]
    assert len(results) == len(given.file_results) == given.table.height
    assert any(each.get("is_anomaly") for each in results)
    for found, expected in zip(results, given.file_results, strict=True):
        _same(found, expected, explained=send in {by_json, by_ndjson, by_arrow})


def _same(found: dict[str, Any], expected: dict[str, Any], *, explained: bool) -> None:
    """Compare two verdicts on a row."""
    if "rejected" in expected:
        assert found["rejected"]["column"] == expected["rejected"]
        return
    score = expected["anomaly_score"]
    assert abs(found["anomaly_score"] - score) <= TOLERANCE * max(1, abs(score))
    assert found["is_anomaly"] == expected["is_anomaly"]
    assert found["p_value"] == pytest.approx(expected["p_value"])
    if explained and expected["is_anomaly"]:
        for one, other in zip(found["reasons"], expected["reasons"], strict=True):
            assert (one["column"], one["found"], one["expected"]) == (other["column"], other["found"], other["expected"])
            assert one["share"] == pytest.approx(other["share"], rel=1e-3)
