"""The admin API: promotion, rollback, shadows, thresholds and feedback."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import polars as pl
import pytest
from httpx import Response
from typer.testing import CliRunner

from detector import bundle
from detector.decision import Decision
from residuum.cli import app
from serving.http.models.registry import ModelRegistry
from tests.data.make_bundle import write_minimal
from tests.serving.http.conftest import ASK, Service, Start, until
from tests.serving.http.loads import add_failing
from tests.serving.http.test_metrics import Read
from tests.serving.http.test_security import bearer, line
from tests.tables import normal_rows, planted_anomalies

EVERY = 1.0


def write(folder: Path, version: int, threshold: float) -> None:
    decision = Decision(threshold=threshold, promise="value", criterion="chosen")
    write_minimal(folder / "pumps" / str(version), name="pumps", version=version, decision=decision)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with three versions, the second of which is pinned."""
    for version, threshold in ((1, 5.0), (2, 10.0), (3, 1e6)):
        write(tmp_path / "models", version, threshold)
    (tmp_path / "models" / "pumps" / "pin").write_text("2\n")
    return tmp_path / "models"


def operate(service: Service, action: str, body: object = None, **options: object) -> Response:
    return ASK.post(f"{service.url}/v1/models/pumps/{action}", json=body, **options)  # type: ignore[arg-type]


def test_promote_and_roll_back(start: Start, folder: Path) -> None:
    service = start(at=folder)
    assert service.post([{}]).json()["version"] == 2
    assert operate(service, "promote", {"version": 3}).json() == {"model": "pumps", "version": 3, "was": 2}
    assert service.post([{}]).json()["version"] == 3
    assert (folder / "pumps" / "pin").read_text() == "3\n"
    assert operate(service, "promote", {"version": 1}).json()["was"] == 3
    assert [operate(service, "rollback").json()["version"] for _ in range(2)] == [3, 2]
    assert operate(service, "rollback").json()["version"] == 1  # no earlier pin is known: the next lower version
    assert operate(service, "rollback").status_code == 409
    assert operate(service, "promote", {"version": 9}).status_code == 404
    assert operate(service, "promote", {"version": "x"}).json()["path"] == "$.version"
    assert service.post([{}]).json()["version"] == 1


def test_an_invalid_version_is_not_promoted(start: Start, folder: Path) -> None:
    service = start(at=folder)
    (folder / "pumps" / "1" / "model.onnx").write_bytes(b"broken")
    done = operate(service, "promote", {"version": 1})
    assert done.status_code == 409
    assert "pumps/1/model.onnx" in done.json()["detail"]
    assert str(folder) not in done.text
    add_failing(folder, 4)
    done = operate(service, "promote", {"version": 4})
    assert done.status_code == 409
    assert "cannot score" in done.json()["detail"]
    assert (folder / "pumps" / "pin").read_text() == "2\n"
    assert service.post([{}]).json()["version"] == 2


def test_a_single_version_cannot_be_changed(start: Start, folder: Path) -> None:
    service = start(at=folder / "pumps" / "2")
    assert operate(service, "rollback").status_code == 409


@pytest.mark.parametrize("form", ["json", "ndjson", "arrow", "many"])
def test_a_shadow_scores_but_does_not_answer(start: Start, folder: Path, form: str) -> None:
    service = start("--shadow-share", EVERY, at=folder)
    rows = [*normal_rows(500 if form == "many" else 50, seed=5).to_dicts(), *planted_anomalies(20).to_dicts(), {"flow": "hot"}]
    anomalies = score(service, rows, form)
    until(lambda: shadow_of(service)["agreement"]["rows"] > 0)
    comparison = shadow_of(service)
    found = comparison["agreement"]
    assert (comparison["version"], comparison["shadow"], comparison["share"]) == (2, 3, 1.0)
    assert found["rows"] == len(rows) - 1
    assert found["current_alone"] == anomalies
    assert found["both"] == found["shadow_alone"] == found["rejected_by_one"] == 0
    assert found["rank_correlation"] == pytest.approx(1)
    assert found["current_alarm_ratio"] == pytest.approx(anomalies / (len(rows) - 1))
    assert found["shadow_alarm_ratio"] == 0
    read = Read(service)
    who = {"model": "pumps", "version": "2", "shadow": "3"}
    assert read.value("residuum_shadow_rows_total", flagged_by="current_alone", **who) == anomalies
    assert read.value("residuum_shadow_rank_correlation", **who) == pytest.approx(1)
    assert read.value("residuum_shadow_alarm_ratio", by="current", **who) == pytest.approx(anomalies / (len(rows) - 1))
    assert read.value("residuum_rows_total", model="pumps", version="3") == 0


def score(service: Service, rows: list[dict[str, object]], form: str) -> int:
    """Score rows in one of the formats, and return the number of anomalies."""
    url = f"{service.url}/v1/models/pumps/score"
    if form == "ndjson":
        body = "".join(json.dumps(row) + "\n" for row in rows)
        done = ASK.post(url, content=body, headers={"content-type": "application/x-ndjson"})
        return int(json.loads(done.text.splitlines()[-1])["done"]["anomalies"])
    if form == "arrow":
        file = io.BytesIO()
        pl.DataFrame(rows, schema_overrides={"flow": pl.String}, strict=False).write_ipc_stream(file)
        done = ASK.post(url, content=file.getvalue(), headers={"content-type": "application/vnd.apache.arrow.stream"})
        return int(pl.read_ipc_stream(done.content)["is_anomaly"].sum())
    return int(service.post(rows).json()["anomalies"])


def shadow_of(service: Service) -> dict[str, dict[str, float]]:
    comparison: dict[str, dict[str, float]] = ASK.get(f"{service.url}/v1/models/pumps/shadow").json()
    return comparison


def test_the_shadow_follows_the_pin(start: Start, folder: Path) -> None:
    service = start("--shadow-share", EVERY, at=folder)
    assert shadow_of(service)["shadow"] == 3
    operate(service, "promote", {"version": 3})
    assert shadow_of(service)["shadow"] is None
    operate(service, "rollback")
    assert shadow_of(service)["shadow"] == 3
    write(folder, 4, 10.0)
    until(lambda: shadow_of(service)["shadow"] == 4)
    (folder / "pumps" / "pin").unlink()
    until(lambda: service.post([{}]).json()["version"] == 4)
    assert shadow_of(service)["shadow"] is None


def test_a_version_with_other_columns_is_no_shadow(tmp_path: Path) -> None:
    write(tmp_path, 1, 10.0)
    columns = bundle.read_manifest(tmp_path / "pumps" / "1").columns
    other = tuple(msgspec.structs.replace(each, name=f"new {each.name}") for each in columns)
    write_minimal(tmp_path / "pumps" / "2", name="pumps", version=2, columns=other)
    (tmp_path / "pumps" / "pin").write_text("1")
    opened: list[str] = []
    models = ModelRegistry(tmp_path, "cpu", opened.append, 1.0)
    for _ in range(3):
        models.poll()
    assert models.current("pumps").shadow is None
    assert opened == ["opened"] * 2


def test_the_command_promote_shows_the_agreement_first(start: Start, folder: Path) -> None:
    service = start("--shadow-share", EVERY, at=folder)
    service.post(normal_rows(50, seed=5).to_dicts())
    until(lambda: shadow_of(service)["agreement"]["rows"] > 0)
    done = CliRunner().invoke(app, ["promote", "models/pumps", "3", "--url", service.url])
    assert done.exit_code == 0, done.output
    assert done.output.index("the same") < done.output.index("uses version 3, not 2")
    assert "50 scored by both" in done.output
    assert service.post([{}]).json()["version"] == 3
    done = CliRunner().invoke(app, ["rollback", "pumps", "--url", service.url])
    assert "uses version 2, not 3" in done.output
    done = CliRunner().invoke(app, ["promote", "pumps", "8", "--url", service.url])
    assert (done.exit_code, "has no version 8" in done.output) == (2, True)


def test_a_threshold_is_tried_and_written(start: Start, tmp_path: Path) -> None:
    write(tmp_path, 1, 10.0)
    service = start(at=tmp_path)
    scores = [each["anomaly_score"] for each in service.post(normal_rows(400, seed=5).to_dicts()).json()["verdicts"]]
    tried = operate(service, "thresholds", {"false_alarm_rate": 0.1}, params={"dry_run": "1"}).json()
    threshold = tried["decision"]["threshold"]
    assert tried["latest"]["rows"] == 400
    assert tried["latest"]["alarms"] == sum(score > threshold for score in scores)
    assert tried["latest"]["alarms_now"] == sum(score > 10 for score in scores)
    assert tried["calibration"]["above"] <= 0.1 * tried["calibration"]["rows"]
    assert [each.name for each in (tmp_path / "pumps").iterdir()] == ["1"]

    done = operate(service, "thresholds", {"false_alarm_rate": 0.1}).json()
    assert (done["version"], done["written"]) == (2, 2)
    scored = service.post(normal_rows(400, seed=5).to_dicts()).json()
    assert (scored["version"], scored["threshold"], scored["anomalies"]) == (2, threshold, tried["latest"]["alarms"])

    assert operate(service, "thresholds", {"threshold": 3.5}).json()["decision"]["promise"] == "value"
    assert service.post([{}]).json()["threshold"] == 3.5


def test_invalid_thresholds_are_refused(start: Start, folder: Path) -> None:
    service = start(at=folder)
    both = {"threshold": 1, "false_alarm_rate": 0.1}
    for body in ({}, both, {"false_alarm_rate": 2}, {"false_alarm_rate": 1e-9}, {"threshold": "x"}, {"rate": 1}, [], None):
        assert operate(service, "thresholds", body).status_code in {400, 422}, body
    assert operate(service, "thresholds", {"threshold": 1.0}, params={"dry_run": "yes"}).status_code == 422
    assert sorted(each.name for each in (folder / "pumps").iterdir()) == ["1", "2", "3", "pin"]


def test_a_threshold_written_beside_a_pin_becomes_the_shadow(start: Start, folder: Path) -> None:
    service = start(at=folder)
    done = operate(service, "thresholds", {"threshold": 20.0}).json()
    assert (done["version"], done["written"]) == (2, 4)
    assert shadow_of(service)["shadow"] == 4


def test_feedback_is_written_and_counted(start: Start, folder: Path) -> None:
    service = start(at=folder)
    answer = service.post([{}])
    first = {"request_id": answer.headers["x-request-id"], "row": 0, "verdict": "false_alarm", "note": "cleaning"}
    assert operate(service, "feedback", first).json() == {"model": "pumps", "written": 1}
    operate(service, "feedback", [first | {"verdict": "missed"}, first | {"verdict": "confirmed"}])
    lines = [json.loads(line) for line in (folder / "pumps" / "feedback.ndjson").read_text().splitlines()]
    assert [line["feedback"]["verdict"] for line in lines] == ["false_alarm", "missed", "confirmed"]
    assert lines[0]["feedback"] == first
    assert lines[0]["version"] == 2
    assert Read(service).value("residuum_feedback_total", model="pumps", verdict="missed") == 1
    assert operate(service, "feedback", first | {"verdict": "nice"}).json()["path"] == "$.verdict"
    assert operate(service, "feedback", [first] * 1000).status_code == 413
    assert service.post([{}]).json()["version"] == 2


def test_admin_routes_require_the_role_operate(start: Start, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(line("score-secret", "score") + line("operate-secret", "operate,score"))
    service = start("--token-file", tmp_path / "tokens", at=folder)
    for action, body in (("promote", {"version": 3}), ("rollback", None), ("thresholds", {"threshold": 1.0}), ("feedback", [])):
        assert operate(service, action, body).status_code == 401
        assert operate(service, action, body, headers=bearer("score-secret")).status_code == 403
        assert operate(service, action, body, headers=bearer("operate-secret")).status_code == 200
