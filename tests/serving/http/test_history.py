"""The history of the live page: kept over restarts, bounded, and never a reason for another answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from serving.http.models import history
from serving.http.models.history import History
from serving.monitoring.alarms import AlarmEvent
from serving.monitoring.rolling import StatisticsDelta
from tests.serving.http.conftest import ASK, Service, Start, copy, until
from tests.serving.http.test_events import state
from tests.tables import normal_rows, planted_anomalies

ROWS = [*normal_rows(20, seed=5).to_dicts(), *planted_anomalies(5).to_dicts()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy(tmp_path / "models", "pumps", 1)
    return tmp_path / "models"


def kept(service: Service, hours: int = 24) -> dict[str, Any]:
    response = ASK.get(f"{service.url}/v1/models/pumps/history", params={"hours": hours})
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_it_survives_a_restart_and_goes_on(start: Start, folder: Path, tmp_path: Path) -> None:
    rows, flagged = 0, 0
    for _ in range(2):
        service = start("--history", tmp_path / "history.sqlite", at=folder)
        answer = service.post(ROWS).json()
        rows, flagged = rows + answer["rows"], flagged + answer["anomalies"]
        for hours, step in ((1, 60), (24, 300), (168, 1800), (720, 7200)):
            found = kept(service, hours)
            assert (found["model"], found["step"], found["kept"], found["problem"]) == ("pumps", step, "file", "")
            assert sum(point["rows"] for point in found["points"]) == rows
            assert sum(point["alarms"] for point in found["points"]) == flagged
            scores = [verdict["anomaly_score"] for verdict in answer["verdicts"]]
            assert max(point["max_score"] for point in found["points"]) == pytest.approx(max(scores))
            assert all(point["at"] % step == 0 and found["since"] <= point["at"] <= time.time() for point in found["points"])
        assert len(state(service)["alarms"]) == flagged
        assert state(service)["alarms"][0]["reasons"]
        assert service.stop() == 0


def test_without_a_file_it_is_in_memory(start: Start, folder: Path) -> None:
    service = start(at=folder)
    service.post(ROWS)
    assert (kept(service)["kept"], sum(point["rows"] for point in kept(service)["points"])) == ("memory", 25)
    for query in ("hours=0", "hours=721", "hours=1.5", "hours=", "days=1"):
        assert ASK.get(f"{service.url}/v1/models/pumps/history?{query}").status_code == 422


@pytest.mark.parametrize("fault", ["garbage", "another database", "no folder", "a folder"])
def test_a_file_that_cannot_be_used_changes_no_answer(start: Start, folder: Path, tmp_path: Path, fault: str) -> None:
    file = tmp_path / "kept" / "history.sqlite"
    if fault != "no folder":
        file.parent.mkdir()
    if fault == "garbage":
        file.write_bytes(b"not a database" * 1000)
    elif fault == "another database":
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE minutes (model TEXT)")
    elif fault == "a folder":
        file.mkdir()
    content = file.read_bytes() if file.is_file() else b""
    service = start("--history", file, at=folder)
    assert service.post(ROWS).json()["rows"] == 25
    found = kept(service)
    assert (found["kept"], sum(point["rows"] for point in found["points"])) == ("memory", 25)
    assert str(file) in found["problem"]
    assert "residuum_history_failures_total 1.0" in ASK.get(f"{service.url}/metrics").text
    assert service.stop() == 0
    assert not file.is_file() or file.read_bytes() == content


def test_what_a_locked_file_does_not_take_is_written_later(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TIMEOUT", 0.4)
    monkeypatch.setattr("serving.http.process.service.WRITE_INTERVAL", 0.1)
    service = start("--history", tmp_path / "history.sqlite", at=folder)
    service.post(ROWS)
    assert sum(point["rows"] for point in kept(service)["points"]) == 25
    with sqlite3.connect(tmp_path / "history.sqlite", isolation_level=None) as lock:
        lock.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            assert service.post(ROWS).json()["rows"] == 25
        until(lambda: "residuum_history_failures_total 0.0" not in ASK.get(f"{service.url}/metrics").text)
        assert "locked" in kept(service)["problem"]
        lock.execute("ROLLBACK")
    until(lambda: sum(point["rows"] for point in kept(service)["points"]) == 100)
    assert kept(service)["problem"] == ""


def test_a_disk_that_hangs_delays_no_answer_and_no_stop(
    start: Start, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "TIMEOUT", 0.4)
    service = start("--history", tmp_path / "history.sqlite", at=folder)
    released = threading.Event()
    monkeypatch.setattr(history._Database, "write", lambda *_: released.wait(60))  # noqa: SLF001 - what a disk does that is gone
    try:
        began = time.monotonic()
        assert service.post(ROWS).json()["rows"] == 25
        response = ASK.get(f"{service.url}/v1/models/pumps/history")
        assert (response.status_code, response.json()["detail"]) == (503, f"{tmp_path}/history.sqlite takes longer than 0.4 s")
        assert service.post(ROWS).json()["rows"] == 25
        assert len(state(service)["alarms"]) > 0
        assert service.stop() == 0
        assert time.monotonic() - began < 15
    finally:
        released.set()


def test_its_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT_ALARMS", 3)
    monkeypatch.setattr(history, "DELETE_INTERVAL", 0)
    now = time.time()
    alarms = [
        AlarmEvent(at=now, request_id="r", row=row, version=1, score=9.0, p_value=0.1, threshold=5.0, reasons=[])
        for row in range(5)
    ]

    async def fill() -> int:
        filled = History(tmp_path / "history.sqlite", lambda: None)
        await filled.open()
        for days in (0, 29, 31):
            monkeypatch.setattr(history.time, "time", lambda days=days: now - 86400 * days)  # type: ignore[attr-defined]
            filled.add_rows("pumps", StatisticsDelta(rows=1, max_score=1.0))
        monkeypatch.undo()
        monkeypatch.setattr(history, "KEPT_ALARMS", 3)
        filled.add_alarms("pumps", alarms[:2])
        await filled.write()
        filled.add_alarms("pumps", alarms[2:])
        points = await filled.points("pumps", 0, 60)
        await filled.close()
        return len(points)

    async def alarms_of() -> list[int]:
        opened = History(tmp_path / "history.sqlite", lambda: None)
        found = await opened.open()
        await opened.close()
        return [alarm.row for alarm in found["pumps"]]

    assert asyncio.run(fill()) == 2
    assert asyncio.run(alarms_of()) == [2, 3, 4]
