"""What those may do who operate the service."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from httpx import Response
from typer.testing import CliRunner

from detector.decision import Decision
from residuum.cli import app
from serving.agreement import rank_correlation
from tests.data.make_bundle import write_least
from tests.serving.http.conftest import ASK, Service, Start, until
from tests.serving.http.test_metrics import Read
from tests.tables import normal_rows, planted_anomalies

EVERY = 1.0


def write(folder: Path, version: int, threshold: float) -> None:
    decision = Decision(threshold=threshold, promise="value", criterion="chosen")
    write_least(folder / "pumps" / str(version), name="pumps", version=version, decision=decision)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with three versions, the second of which is pinned."""
    for version, threshold in ((1, 5.0), (2, 10.0), (3, 1e6)):
        write(tmp_path / "models", version, threshold)
    (tmp_path / "models" / "pumps" / "pin").write_text("2\n")
    return tmp_path / "models"


def operate(service: Service, what: str, said: object = None, **options: object) -> Response:
    return ASK.post(f"{service.url}/v1/models/pumps/{what}", json=said, **options)  # type: ignore[arg-type]


def test_promote_and_roll_back(start: Start, folder: Path) -> None:
    service = start(at=folder)
    assert service.post([{}]).json()["version"] == 2
    assert operate(service, "promote", {"version": 3}).json() == {"model": "pumps", "version": 3, "was": 2}
    assert service.post([{}]).json()["version"] == 3
    assert (folder / "pumps" / "pin").read_text() == "3\n"
    assert operate(service, "promote", {"version": 1}).json()["was"] == 3
    assert [operate(service, "rollback").json()["version"] for _ in range(2)] == [3, 2]
    assert operate(service, "rollback").json()["version"] == 1  # of what was before nothing is known: the next lower
    assert operate(service, "rollback").status_code == 409
    assert operate(service, "promote", {"version": 9}).status_code == 404
    assert operate(service, "promote", {"version": "x"}).json()["path"] == "$.version"
    assert service.post([{}]).json()["version"] == 1


def test_a_version_that_cannot_be_trusted_is_not_promoted(start: Start, folder: Path) -> None:
    service = start(at=folder)
    (folder / "pumps" / "1" / "model.onnx").write_bytes(b"broken")
    done = operate(service, "promote", {"version": 1})
    assert done.status_code == 409
    assert "pumps/1/model.onnx" in done.json()["detail"]
    assert str(folder) not in done.text
    assert service.post([{}]).json()["version"] == 2


def test_a_single_version_cannot_be_moved(start: Start, folder: Path) -> None:
    service = start(at=folder / "pumps" / "2")
    assert operate(service, "rollback").status_code == 409


@pytest.mark.parametrize("form", ["json", "ndjson", "arrow", "many"])
def test_a_shadow_judges_and_does_not_answer(start: Start, folder: Path, form: str) -> None:
    service = start("--shadow-share", EVERY, at=folder)
    rows = [*normal_rows(500 if form == "many" else 50, seed=5).to_dicts(), *planted_anomalies(20).to_dicts(), {"flow": "?"}]
    said = ask(service, rows, form)
    until(lambda: shadow_of(service)["agreement"]["rows"] > 0)
    told = shadow_of(service)
    found = told["agreement"]
    assert (told["version"], told["shadow"], told["share"]) == (2, 3, 1.0)
    assert found["rows"] == len(rows) - 1
    assert found["current_alone"] == said
    assert found["both"] == found["shadow_alone"] == found["rejected_by_one"] == 0
    assert found["rank_correlation"] == pytest.approx(1)
    assert found["current_alarm_ratio"] == pytest.approx(said / (len(rows) - 1))
    assert found["shadow_alarm_ratio"] == 0
    read = Read(service)
    who = {"model": "pumps", "version": "2", "shadow": "3"}
    assert read.value("residuum_shadow_rows_total", flagged_by="current_alone", **who) == said
    assert read.value("residuum_shadow_rank_correlation", **who) == pytest.approx(1)
    assert read.value("residuum_shadow_alarm_ratio", by="current", **who) == pytest.approx(said / (len(rows) - 1))
    assert read.value("residuum_rows_total", model="pumps", version="3") == 0


def ask(service: Service, rows: list[dict[str, object]], form: str) -> int:
    """Ask for verdicts in some form; gives the anomalies."""
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
    said: dict[str, dict[str, float]] = ASK.get(f"{service.url}/v1/models/pumps/shadow").json()
    return said


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


def test_rank_correlation_by_hand() -> None:
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 30, 400])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([4.0, 3, 2, 1])) == pytest.approx(-1)
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.9487, abs=1e-4)
    assert rank_correlation(np.ones(3), np.array([1.0, 2, 3])) is None


def test_promote_asks_the_service_and_shows_the_agreement_first(start: Start, folder: Path) -> None:
    service = start("--shadow-share", EVERY, at=folder)
    service.post(normal_rows(50, seed=5).to_dicts())
    until(lambda: shadow_of(service)["agreement"]["rows"] > 0)
    done = CliRunner().invoke(app, ["promote", "models/pumps", "3", "--url", service.url])
    assert done.exit_code == 0, done.output
    assert done.output.index("the same") < done.output.index("answers by version 3, not 2")
    assert "50 that both judged" in done.output
    assert service.post([{}]).json()["version"] == 3
    done = CliRunner().invoke(app, ["rollback", "pumps", "--url", service.url])
    assert "answers by version 2, not 3" in done.output
    done = CliRunner().invoke(app, ["promote", "pumps", "8", "--url", service.url])
    assert (done.exit_code, "has no version 8" in done.output) == (2, True)
