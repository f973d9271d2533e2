"""Sessions: a series that comes request by request is scored as one that comes whole, and nothing is remembered without bound."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import polars as pl
import pytest

from detector import bundle as bundles
from detector import pin
from detector.batch import TableBatch
from detector.scorer import Scorer
from detector.windows import ROW_STATUS
from serving.http.models.sessions import SessionAddress, SessionStore
from serving.model import ServedModel
from tests.presses import LENGTH, today
from tests.serving.http.conftest import ASK, Service, ServiceThread, Start, StartProcess, running, until
from tests.serving.http.test_forms import ARROW, NDJSON
from tests.serving.http.test_metrics import Read
from tests.serving.http.test_series import as_stream

PARTS = ((1, "json"), (7, "ndjson"), (9, "arrow"), (1, "json"), (22, "ndjson"), (40, "json"))  # rows, and how they come


@pytest.fixture(scope="module")
def bundle(presses: tuple[Path, str]) -> Path:
    return presses[0]


@pytest.fixture(scope="module")
def served(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("sessions")
    shutil.copytree(bundle, folder / "models" / "presses")
    yield from running(ServiceThread(folder / "models"))


@pytest.fixture(scope="module")
def press() -> pl.DataFrame:
    """Rows of one machine, which they do not name."""
    return today().filter(machine="press").drop("machine")


def url(service: Service, key: str, name: str = "presses") -> str:
    return f"{service.url}/v1/models/{name}/sessions/{key}"


def post(service: Service, key: str, rows: pl.DataFrame, form: str = "json") -> list[dict[str, Any]]:
    """Score rows that follow those before, and give the verdicts."""
    match form:
        case "json":
            done = ASK.post(url(service, key), json=rows.to_dicts())
        case "ndjson":
            done = ASK.post(url(service, key), content=rows.write_ndjson().encode(), headers=NDJSON)
        case _:
            done = ASK.post(url(service, key), content=as_stream(rows), headers=ARROW)
    assert done.status_code == 200, done.text
    match form:
        case "json":
            return done.json()["verdicts"]
        case "ndjson":
            *said, last = map(json.loads, done.text.splitlines())
            assert "done" in last
            return said
        case _:
            return pl.read_ipc_stream(done.content).to_dicts()


def states(said: list[dict[str, Any]]) -> list[str]:
    return [each["state"] for each in said]


def test_rows_in_parts_are_scored_like_one_request(served: Service, bundle: Path, press: pl.DataFrame) -> None:
    said, start = [], 0
    for rows, form in PARTS:
        said += post(served, "in parts", press[start : start + rows], form)
        start += rows
    whole = Scorer.open(bundle, "cpu").score(today().filter(machine="press"))
    assert whole.row_status is not None
    assert states(said) == [ROW_STATUS[status] for status in whole.row_status]
    scored = whole.is_scored
    assert [each["is_anomaly"] for each in said] == [
        flag if is_scored else None for flag, is_scored in zip(whole.is_anomaly, scored, strict=True)
    ]
    assert any(each["is_anomaly"] for each in said)
    for each, score in zip(said, whole.score, strict=True):
        assert each["anomaly_score"] is None or each["anomaly_score"] == pytest.approx(score, rel=1e-4)


def test_a_session_says_how_it_stands_and_ends(served: Service, press: pl.DataFrame) -> None:
    assert ASK.get(url(served, "press 7")).status_code == 404
    post(served, "press 7", press[:5])
    told = ASK.get(url(served, "press 7")).json()
    assert told.pop("idle_seconds") < 30
    assert told == {
        "model": "presses",
        "version": 1,
        "session": "press 7",
        "rows": 5,
        "window": LENGTH,
        "newest": "2026-03-03 06:00:04",
        "alarm": False,
    }
    post(served, "press 7", press[5:50])
    assert ASK.get(url(served, "press 7")).json()["alarm"] is True
    assert Read(served).value("residuum_sessions", model="presses") >= 1
    ended = ASK.delete(url(served, "press 7"))
    assert ended.json()["rows"] == LENGTH
    assert ASK.delete(url(served, "press 7")).status_code == ASK.get(url(served, "press 7")).status_code == 404
    assert states(post(served, "press 7", press[50:51])) == ["warming up"]


def test_rows_of_another_series_and_rows_that_come_twice_are_rejected(served: Service, press: pl.DataFrame) -> None:
    rows = [
        press.row(0, named=True),
        press.row(1, named=True) | {"machine": "lathe"},
        press.row(2, named=True) | {"machine": "a"},
    ]
    first, other, own = ASK.post(url(served, "a"), json=rows).json()["verdicts"]
    assert states([first, own]) == ["warming up"] * 2
    assert other["rejected"] == {"column": "machine", "found": "'lathe'", "expected": "a"}
    (again,) = post(served, "a", press[2:3])
    assert again["rejected"]["column"] == "ts"
    assert ASK.get(url(served, "a")).json()["rows"] == 2


def test_a_threshold_promises_of_stretches_as_the_command_does(served: Service, bundle: Path) -> None:
    asked = {"json": {"false_alarm_rate": 0.3}, "params": {"dry_run": "1"}}
    decision = ASK.post(f"{served.url}/v1/models/presses/thresholds", **asked).json()["decision"]
    assert decision == msgspec.to_builtins(Scorer.open(bundle).decide(0.3))
    assert "stretches of 12 rows" in decision["criterion"]
    few = ASK.post(f"{served.url}/v1/models/presses/thresholds", json={"false_alarm_rate": 1e-6})
    assert few.status_code == 422
    assert "calibration stretches cannot promise" in few.json()["detail"]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"[", {"content-type": "application/json"}, 400),
        (b"7", {"content-type": "application/json"}, 422),
        (b"[]", {"content-type": "text/plain"}, 415),
        (b"[" * 100, NDJSON, 422),
        (as_stream(today().drop("ts")), ARROW, 422),
        (b" " * (2**24 + 1), NDJSON, 413),
    ],
)
def test_a_request_that_fails_leaves_a_session_as_it_was(
    served: Service, press: pl.DataFrame, content: bytes, headers: dict[str, str], status: int
) -> None:
    key = f"fails {status} {content[:1].hex()}"
    assert ASK.post(url(served, key), content=content, headers=headers).status_code == status
    assert ASK.get(url(served, key)).status_code == 404
    post(served, key, press[: LENGTH - 1])
    assert ASK.post(url(served, key), content=content, headers=headers).status_code == status
    assert states(post(served, key, press[LENGTH - 1 : LENGTH])) == ["scored"]


def test_requests_of_one_session_go_one_after_the_other(served: Service, press: pl.DataFrame) -> None:
    rows = [row | {"note": "x" * 3000} for row in press.to_dicts()]  # so large that a thread scores them

    def ask(_: int) -> int:
        with httpx.Client(timeout=60) as client:
            return client.post(url(served, "crowded"), json=rows).json()["rejected"]

    with ThreadPoolExecutor(6) as pool:
        rejected = sorted(pool.map(ask, range(6)))
    assert rejected == [0, *[press.height] * 5]


def test_what_is_no_series_says_what_works(served: Service, service: Service) -> None:
    refused = ASK.post(url(service, "a", "pumps"), json=[{}])
    assert refused.status_code == 404
    assert "POST /v1/models/pumps/score" in refused.json()["detail"]
    assert ASK.post(url(served, "x" * 201), json=[]).status_code == 422
    assert ASK.put(url(served, "a")).status_code == 405


def test_a_new_version_goes_on_if_it_reads_the_same_windows(
    bundle: Path, tmp_path: Path, start: Start, press: pl.DataFrame
) -> None:
    place = tmp_path / "models" / "presses"
    shutil.copytree(bundle, place)
    service = start(at=tmp_path / "models")
    post(service, "a", press[:20])
    manifest = bundles.read_manifest(place / "1")
    files = {name: (place / "1" / name).read_bytes() for name in manifest.files}

    def write(version: int, **changed: object) -> None:
        (place / str(version)).mkdir()
        bundles.write(place / str(version), msgspec.structs.replace(manifest, version=version, **changed), files)
        until(lambda: ASK.get(f"{service.url}/v1/models/presses").json()["version"] == version)

    moved = ASK.post(f"{service.url}/v1/models/presses/thresholds", json={"false_alarm_rate": 0.3})
    assert moved.json()["version"] == 2, moved.text
    assert ASK.get(url(service, "a")).json()["rows"] == LENGTH
    assert states(post(service, "a", press[20:21])) == ["scored"]
    other = tuple(msgspec.structs.replace(each, vocabulary=each.vocabulary[::-1]) for each in manifest.columns)
    write(3, columns=other)
    assert ASK.get(url(service, "a")).json()["rows"] == 0
    assert states(post(service, "a", press[21:22])) == ["warming up"]
    pinned = ASK.post(f"{service.url}/v1/models/presses/versions/1/sessions/a", json=press[21:22].to_dicts()).json()
    assert (pinned["version"], states(pinned["verdicts"])) == (1, ["warming up"])
    assert ASK.get(url(service, "a")).json()["rows"] == 1


def test_several_workers_remember_in_one_place(bundle: Path, start_process: StartProcess, press: pl.DataFrame) -> None:
    service = start_process("--workers", 2, at=bundle.parent)
    until(lambda: all(ASK.get(url(service, "a")).status_code == 404 for _ in range(8)))  # worker 0 may be the second to be there
    said = [each for row in range(16) for each in post(service, "a", press[row : row + 1])]
    assert states(said) == ["warming up"] * (LENGTH - 1) + ["scored"] * (16 - LENGTH + 1)


def test_the_least_recently_used_session_makes_room_and_an_idle_one_is_dropped(bundle: Path) -> None:
    now = 0.0
    sessions = SessionStore(2, 10.0, lambda: now)
    model = ServedModel("presses", Scorer.open(bundle, "cpu"))
    at = {key: SessionAddress("presses", None, key) for key in "abc"}

    async def ask(key: str) -> None:
        async with sessions.turn(at[key]) as stored:
            session = stored.resume(model, key)
            session.score(TableBatch(today().drop("machine")[:1], np.arange(1), []))
            stored.save(session, model)

    for key in "abac":
        asyncio.run(ask(key))
        now += 1.0
    assert [key for key in "abc" if sessions.find(at[key])] == ["a", "c"]

    async def fail() -> None:
        async with sessions.turn(at["b"]):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        asyncio.run(fail())
    assert [key for key in "abc" if sessions.find(at[key])] == ["a", "c"]  # what is not kept takes nobody's room
    now = 12.5
    assert [key for key in "abc" if sessions.find(at[key])] == ["c"]
    assert sessions.counts() == {"presses": 1}
    assert sessions.dropped() == {("presses", "room"): 1, ("presses", "idle"): 1}


def test_what_is_remembered_is_limited(bundle: Path, start: Start, press: pl.DataFrame) -> None:
    service = start("--max-keys", 1, "--session-timeout", 2, at=bundle.parent)
    for key in ("a", "b"):
        post(service, key, press[:2])
    assert [ASK.get(url(service, key)).status_code for key in ("a", "b")] == [404, 200]
    until(lambda: ASK.get(url(service, "b")).status_code == 404)
    read = Read(service)
    for reason in ("room", "idle"):
        assert read.value("residuum_sessions_forgotten_total", model="presses", reason=reason) == 1
    said = ASK.post(f"{service.url}/v1/models/presses/score", json=today().to_dicts()).json()
    assert said["rows"] == 0  # of two series by turns the one forgets the other
    said = ASK.post(f"{service.url}/v1/models/presses/score", json=today().sort("machine", "ts").to_dicts()).json()
    assert said["not_scored"] == 2 * (LENGTH - 1)


def test_a_shadow_scores_whole_requests_and_no_sessions(bundle: Path, tmp_path: Path, start: Start, press: pl.DataFrame) -> None:
    place = tmp_path / "models" / "presses"
    shutil.copytree(bundle, place)
    manifest = bundles.read_manifest(place / "1")
    files = {name: (place / "1" / name).read_bytes() for name in manifest.files}
    decision = msgspec.structs.replace(manifest.decision, threshold=manifest.decision.threshold * 1e6)
    (place / "2").mkdir()
    bundles.write(place / "2", msgspec.structs.replace(manifest, version=2, decision=decision), files)
    pin.promote(place, 1)
    service = start("--shadow-share", 1, at=tmp_path / "models")
    said = ASK.post(f"{service.url}/v1/models/presses/score", json=today().to_dicts()).json()
    post(service, "a", press)

    def found() -> dict[str, Any]:
        agreement: dict[str, Any] = ASK.get(f"{service.url}/v1/models/presses/shadow").json()["agreement"]
        return agreement

    until(lambda: found()["rows"] >= said["rows"])
    assert (found()["rows"], found()["current_alone"], found()["rejected_by_one"]) == (said["rows"], said["anomalies"], 0)
    assert found()["rank_correlation"] == pytest.approx(1.0)
