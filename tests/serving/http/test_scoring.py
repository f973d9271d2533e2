"""Rows by HTTP get the verdicts that the same rows get from `residuum score`."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from detector.scorer import Scorer
from serving.files.scoring import ScoringJob, ScoringRequest, score_files
from tests.data.make_bundle import KEPT
from tests.serving.http.conftest import ASK, Service, Start
from tests.tables import normal_rows, planted_anomalies

BAD = [
    {"temperature": "hot"},
    {"door_open": "ajar"},
    {"at": "soon"},
    {"temperature": [1]},
    {"machine": {"a": 1}},
    {"slots": 10**400},
    7,
    None,
    {},
    {"Temperature": 60, "before": {"temperature": 60}},
]
ODD = [
    {"temperature": None},
    {"machine": "new"},
    {"machine": 7, "door_open": True, "firmware": 7.1},
    {"temperature": " 60.5 ", "at": 1760000000},
]


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    table = pl.concat([normal_rows(60, seed=5, holes=0.1), planted_anomalies(10)])
    return [*table.to_dicts(), *BAD, *ODD, *planted_anomalies(3).to_dicts()]


@pytest.fixture(scope="module")
def scored(rows: list[Any], tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What `residuum score` says of the rows, by their place."""
    folder = tmp_path_factory.mktemp("scored")
    (folder / "rows.ndjson").write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))
    question = ScoringRequest(paths=(str(folder / "rows.ndjson"),))
    job = ScoringJob(request=question, to=str(folder / "out.ndjson"), rejects=str(folder / "rejects.csv"))
    score_files(Scorer.open(KEPT, "cpu"), job)
    verdicts = [json.loads(line) for line in (folder / "out.ndjson").read_text().splitlines()]
    rejects = pl.read_csv(folder / "rejects.csv").fill_null("").to_dicts()
    return {each["row"] - 1: each for each in [*verdicts, *rejects]}


def same(answer: dict[str, Any], scored: dict[str, Any]) -> None:
    """Check one row's answer."""
    if "rejected" in answer:
        assert answer["rejected"] == {key: scored[key] for key in ("column", "found", "expected")}
        return
    assert math.isclose(answer["anomaly_score"], scored["anomaly_score"], rel_tol=1e-6)
    assert answer["is_anomaly"] == scored["is_anomaly"]
    assert math.isclose(answer["p_value"], scored["p_value"])
    named = [(each["column"], each["found"], each["expected"]) for each in answer.get("reasons", [])]
    assert named == [(each["column"], each["found"], each["expected"]) for each in scored["reasons"] or []]


@pytest.mark.parametrize("wrapped", [True, False])
def test_every_row_gets_the_verdict_of_a_file(
    service: Service, rows: list[Any], scored: dict[int, Any], *, wrapped: bool
) -> None:
    done = service.post({"rows": rows} if wrapped else rows)
    assert done.status_code == 200, done.text
    answer = done.json()
    assert (answer["model"], answer["version"]) == ("pumps", 2)
    assert [each["row"] for each in answer["verdicts"]] == list(range(len(rows)))
    for each in answer["verdicts"]:
        same(each, scored[each["row"]])
    assert answer["rejected"] == len(BAD)
    assert answer["rows"] == len(rows) - len(BAD)
    assert answer["anomalies"] == sum(each.get("is_anomaly", False) for each in answer["verdicts"]) > 0


def test_a_row_alone_gets_the_verdict_that_it_gets_among_others(
    service: Service, rows: list[Any], scored: dict[int, Any]
) -> None:
    for place, row in enumerate(rows):
        (verdict,) = service.post([row]).json()["verdicts"]
        same(verdict, scored[place])


def test_many_rows_get_the_verdicts_of_few(service: Service, rows: list[Any]) -> None:
    few = [{key: value for key, value in each.items() if key != "row"} for each in service.post(rows).json()["verdicts"]]
    many = [{key: value for key, value in each.items() if key != "row"} for each in service.post(rows * 20).json()["verdicts"]]
    for one, other in zip(few * 20, many, strict=True):
        assert one.get("is_anomaly") == other.get("is_anomaly")
        assert one.get("rejected") == other.get("rejected")


def test_reasons_and_only(service: Service, rows: list[Any]) -> None:
    every = service.post(rows).json()["verdicts"]
    anomalies = [each["row"] for each in every if each.get("is_anomaly")]
    rejected = [each["row"] for each in every if "rejected" in each]
    only = service.post(rows, params={"only": "anomalies", "reasons": 1}).json()
    assert [each["row"] for each in only["verdicts"]] == sorted(anomalies + rejected)
    assert {len(each["reasons"]) for each in only["verdicts"] if "reasons" in each} == {1}
    assert not any("reasons" in each for each in service.post(rows, params={"reasons": 0}).json()["verdicts"])


def test_rows_are_numbered_from_zero_and_lines_from_one(service: Service, rows: list[Any]) -> None:
    three = [rows[0], {"temperature": "hot"}, rows[1]]
    assert [each["row"] for each in service.post(three).json()["verdicts"]] == [0, 1, 2]
    lines = "\n\n".join(map(json.dumps, three)) + "\n"
    done = ASK.post(
        f"{service.url}/v1/models/pumps/score", content=lines, headers={"content-type": "application/x-ndjson"}
    ).text.splitlines()
    assert [json.loads(line)["row"] for line in done[:-1]] == [1, 3, 5]


@pytest.mark.parametrize("count", [1, 20, 1000])
def test_a_category_never_seen_in_training_is_flagged_and_named(service: Service, count: int) -> None:
    rows = normal_rows(20, seed=5, holes=0.0).with_columns(machine=pl.lit("saw")).to_dicts()
    for verdict in service.post((rows * 50)[:count]).json()["verdicts"]:
        assert verdict["is_anomaly"]
        assert (verdict["reasons"][0]["column"], verdict["reasons"][0]["found"]) == ("machine", "saw, never seen in training")


def test_the_description_names_every_model_and_needs_nothing_else(service: Service) -> None:
    said = ASK.get(f"{service.url}/openapi.json").json()
    assert said["openapi"] == "3.1.0"
    columns = said["components"]["schemas"]["Row-pumps"]["properties"]
    assert list(columns)[:2] == ["temperature", "pressure"]
    for path, operations in said["paths"].items():
        if "get" in operations:
            assert ASK.get(f"{service.url}{path.format(version=1)}").status_code == 200
    page = ASK.get(f"{service.url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "/v1/models/pumps/score" in page.text
    assert not re.search("(src|href)=[\"']?(https?:)?//", page.text)


def test_versions(service: Service, rows: list[Any]) -> None:
    for version in (1, 2):
        done = ASK.post(f"{service.url}/v1/models/pumps/versions/{version}/score", json=rows[:2])
        assert done.json()["version"] == version
    assert ASK.post(f"{service.url}/v1/models/fans/score", json=rows[:2]).json()["model"] == "fans"


def test_rows_get_the_class_that_a_file_gives_them(service: Service, models: Path, tmp_path: Path) -> None:
    rows = normal_rows(40, seed=5, holes=0.1).to_dicts()
    (tmp_path / "rows.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = ScoringJob(request=ScoringRequest(paths=(str(tmp_path / "rows.ndjson"),)), to=str(tmp_path / "out.ndjson"), rejects="")
    score_files(Scorer.open(models / "fans", "cpu"), job)
    filed = [json.loads(line) for line in (tmp_path / "out.ndjson").read_text().splitlines()]
    assert {each["class"] for each in filed} == {"cold", "hot"}
    *told, bad = ASK.post(f"{service.url}/v1/models/fans/score", json=[*rows, {"temperature": "hot"}]).json()["verdicts"]
    assert list(told[0])[:6] == list(filed[0])[:6]
    assert [each["class"] for each in told] == [each["class"] for each in filed]
    assert [each["class_probability"] for each in told] == pytest.approx([each["class_probability"] for each in filed])
    assert "class" not in bad
    assert not any("class" in each for each in service.post(rows).json()["verdicts"])


def test_what_there_is(service: Service) -> None:
    listed = ASK.get(f"{service.url}/v1/models").json()["models"]
    assert {each["name"]: each["versions"] for each in listed} == {"pumps": [1, 2], "fans": [1]}
    one = ASK.get(f"{service.url}/v1/models/pumps").json()
    assert one["provider"] == "CPUExecutionProvider"
    assert one["decision"]["threshold"] == one["manifest"]["decision"]["threshold"]
    for path in ("healthz", "livez", "readyz"):
        assert ASK.get(f"{service.url}/{path}").status_code == 200


@pytest.mark.parametrize("place", ["pumps", "pumps/2"])
def test_one_name_or_one_version_is_served(start: Start, models: Path, place: str) -> None:
    service = start(at=models / place)
    name = ASK.get(f"{service.url}/v1/models").json()["models"][0]["name"]
    assert ASK.post(f"{service.url}/v1/models/{name}/score", json=[{}]).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "fault"),
    [
        ("POST", "v1/models/pumps/score", {"content": b"{"}, 400, {}),
        ("POST", "v1/models/pumps/score", {"content": b'[{"machine": "\xff"}]'}, 400, {}),
        ("POST", "v1/models/pumps/score", {"content": b'{"rows": 7}'}, 422, {"path": "$.rows"}),
        ("POST", "v1/models/pumps/score", {"content": b"7"}, 422, {"path": "$"}),
        ("POST", "v1/models/pumps/score", {"content": b"{}"}, 422, {"path": "$"}),
        ("POST", "v1/models/pumps/score?reasons=x", {"content": b"[]"}, 422, {"path": "?reasons", "found": "x"}),
        ("POST", "v1/models/pumps/score?colour=1", {"content": b"[]"}, 422, {"path": "?colour"}),
        ("POST", "v1/models/none/score", {"content": b"[]"}, 404, {}),
        ("POST", "v1/models/pumps/versions/9/score", {"content": b"[]"}, 404, {}),
        ("POST", "v1/models/pumps/versions/0x1/score", {"content": b"[]"}, 404, {}),
        ("POST", "v1/models/..%2fpumps/score", {"content": b"[]"}, 404, {}),
        ("POST", "v1/models/%2e%2e/score", {"content": b"[]"}, 404, {}),
        ("POST", "v1/models/pumps/score", {"content": b"a", "headers": {"content-type": "text/csv"}}, 415, {"found": "text/csv"}),
        ("GET", "v1/models/pumps/score", {}, 405, {}),
        ("GET", "nowhere", {}, 404, {}),
        ("DELETE", "v1/models", {}, 405, {}),
    ],
)
def test_faults_are_problem_details(
    service: Service, method: str, path: str, options: dict[str, Any], status: int, fault: dict[str, str]
) -> None:
    headers = {"content-type": "application/json"} | options.pop("headers", {})
    done = ASK.request(method, f"{service.url}/{path}", headers=headers, **options)
    assert done.status_code == status, done.text
    assert done.headers["content-type"] == "application/problem+json"
    said = done.json()
    assert said["status"] == status
    assert said["detail"]
    assert fault.items() <= said.items()
    assert "Traceback" not in done.text


def test_no_rows_are_no_fault(service: Service) -> None:
    assert service.post([]).json()["verdicts"] == []
