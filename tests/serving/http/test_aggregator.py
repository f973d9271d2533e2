"""What worker 0 knows of all workers' rows is the same, whichever of two workers receives the request."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import re
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from detector.decision import Decision
from detector.scorer import Scorer
from detector.windows import ROW_STATUS
from tests.data.make_bundle import write_minimal
from tests.presses import today
from tests.serving.http.conftest import ASK, ServiceProcess, StartProcess, until
from tests.serving.http.test_security import bearer, line
from tests.serving.http.test_workers import children_of
from tests.tables import normal_rows, planted_anomalies

OPERATE = "operate-secret"
TRY = "/v1/models/pumps/thresholds?dry_run=1"
JSON = {"content-type": "application/json"}
BY = {"threshold": 5.0}


@pytest.fixture
def service(start_process: StartProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceProcess:
    """Two workers, and a shadow of the pinned version that scores every row."""
    for version, threshold in ((1, 10.0), (2, 1e6)):
        decision = Decision(threshold=threshold, promise="value", criterion="chosen")
        write_minimal(tmp_path / "models" / "pumps" / str(version), name="pumps", version=version, decision=decision)
    (tmp_path / "models" / "pumps" / "pin").write_text("1\n")
    (tmp_path / "tokens").write_text(line(OPERATE, "score,operate,metrics"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    flags = ("--workers", 2, "--shadow-share", 1, "--token-file", tmp_path / "tokens", "--log", "json")
    return start_process(*flags, at=tmp_path / "models")


@pytest.fixture
def workers(service: ServiceProcess) -> Iterator[list[httpx.Client]]:
    """A client of each worker, with one persistent connection."""
    yield from clients(service)


def clients(service: ServiceProcess) -> Iterator[list[httpx.Client]]:
    """Yield a client of each worker."""
    found: dict[str, httpx.Client] = {}
    while len(found) < 2:
        client = httpx.Client(base_url=service.url, headers=bearer(OPERATE), limits=httpx.Limits(max_connections=1), timeout=30)
        (number,) = re.findall(r'residuum_worker_info{worker="(\d)"}', client.get("/metrics").text)
        if found.setdefault(number, client) is not client:
            client.close()
    yield [found["0"], found["1"]]
    for client in found.values():
        client.close()


def score(client: httpx.Client, normal: int, planted: int) -> httpx.Response:
    rows = [*normal_rows(normal, seed=5).to_dicts(), *planted_anomalies(planted).to_dicts()]
    answer = client.post("/v1/models/pumps/score", json=rows)
    assert answer.json()["version"] == 1
    return answer


def flagged_rows(answer: httpx.Response) -> list[int]:
    """Return the flagged rows."""
    return [each["row"] for each in answer.json()["verdicts"] if each["is_anomaly"]]


def tried(client: httpx.Client) -> int:
    """Return the number of rows on which a threshold is tried."""
    rows: int = client.post(TRY, json=BY).json()["latest"]["rows"]
    return rows


def agreed(client: httpx.Client) -> int:
    """Return the number of rows that the shadow scored too."""
    rows: int = client.get("/v1/models/pumps/shadow").json()["agreement"]["rows"]
    return rows


def event(url: str) -> dict[str, Any]:
    """Return the model's state in the first event of the live page, on a new connection, from any worker.

    A page that was closed counts as open until the next event, a second later, so that the service may be busy until then.
    """
    deadline = time.monotonic() + 20
    while True:
        with ASK.stream("GET", f"{url}/v1/events", headers=bearer(OPERATE)) as answer:
            if answer.status_code != 429 or time.monotonic() > deadline:
                assert answer.headers["content-type"].startswith("text/event-stream")
                (model,) = json.loads(next(answer.iter_lines()).removeprefix("data: "))["models"]
                return model  # type: ignore[no-any-return]
        time.sleep(0.2)


def test_every_worker_knows_the_rows_of_all(service: ServiceProcess, workers: list[httpx.Client]) -> None:
    answers = [score(worker, normal, planted) for worker, normal, planted in zip(workers, (30, 20), (12, 1), strict=True)]
    scores = [each["anomaly_score"] for answer in answers for each in answer.json()["verdicts"]]
    flagged = sum(answer.json()["anomalies"] for answer in answers)
    until(lambda: tried(workers[0]) == 63)
    until(lambda: agreed(workers[0]) == 63)
    assert tried(workers[1]) == agreed(workers[1]) == 63
    for worker in workers:
        assert sum(point["rows"] for point in worker.get("/v1/models/pumps/history").json()["points"]) == 63
    for worker in workers:
        response = worker.post(TRY, json=BY, headers={"x-request-id": "mine"})
        assert response.headers.get_list("x-request-id") == ["mine"]
        assert response.json()["latest"]["alarms"] == sum(score > 5 for score in scores)
    packed = gzip.compress(json.dumps(BY).encode())
    one, other = (worker.post(TRY, content=packed, headers=JSON | {"content-encoding": "gzip"}) for worker in workers)
    assert (one.status_code, one.json()) == (200, other.json())
    one, other = (worker.post(TRY, content=b"{", headers=JSON | {"x-request-id": "bad"}) for worker in workers)
    assert (one.status_code, one.json(), set(one.headers)) == (400, other.json(), set(other.headers))
    assert one.json()["request_id"] == "bad"
    large = workers[1].post(TRY, content=b" " * 2**20, headers=JSON)
    assert (large.status_code, large.json()["request_id"]) == (413, large.headers["x-request-id"])
    assert workers[1].get(TRY).status_code == 405
    first, second = (worker.get("/metrics").text for worker in workers)  # each request is counted by the worker that received it
    assert 'residuum_http_requests_total{route="/v1/models/{name}/thresholds",status="400"} 1.0' in first
    assert 'residuum_http_requests_total{route="/v1/models/{name}/shadow",status="200"} 1.0' in second

    until(lambda: sum(second[1] for second in event(service.url)["seconds"]) == 63)
    for _ in range(8):
        model = event(service.url)
        assert (model["rows"], model["anomalies"], len(model["alarms"])) == (63, flagged, flagged)
        shown = {(each["request_id"], each["row"]) for each in model["alarms"]}
        assert shown == {(answer.headers["x-request-id"], row) for answer in answers for row in flagged_rows(answer)}
        assert model["shadow"]["agreement"]["current_alone"] == flagged
        assert ASK.get(f"{service.url}/v1/events").status_code == 401


def test_worker_0_is_killed_and_comes_back(service: ServiceProcess, workers: list[httpx.Client], tmp_path: Path) -> None:
    (folder,) = (tmp_path / "tmp").glob("residuum-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    other = workers[1]
    with other.stream("GET", "/v1/events") as page:
        lines = page.iter_lines()
        next(lines)
        os.kill(children_of(service.process.pid)[0], signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    score(other, 20, 1)
    away = other.post(TRY, json=BY)
    assert (away.status_code, away.headers["retry-after"]) == (503, "1")
    until(lambda: other.post(TRY, json=BY).status_code == 200)
    until(lambda: tried(other) == 21)  # including those scored meanwhile
    assert 'residuum_worker_reports_failed_total{reason="away"}' in other.get("/metrics").text
    assert event(service.url)["rows"] == 21
    began = time.monotonic()
    with other.stream("GET", "/v1/events") as page:
        next(page.iter_lines())
        assert service.stop() == 0
    assert time.monotonic() - began < 5
    assert list((tmp_path / "tmp").glob("residuum-*")) == []
    assert '"internal error"' not in service.log


def test_a_session_is_the_same_for_every_worker(start_process: StartProcess, presses: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(presses[0], tmp_path / "models" / "presses")
    service = start_process("--workers", 2, at=tmp_path / "models")
    rows = today().filter(machine="press")
    verdicts: list[dict[str, Any]] = []
    with contextlib.contextmanager(clients)(service) as workers:
        for part, worker in zip(rows.iter_slices(4), itertools.cycle(workers)):
            answer = worker.post("/v1/models/presses/sessions/a%20b", json=part.drop("machine").to_dicts())
            verdicts += answer.json()["verdicts"]
        assert [worker.get("/v1/models/presses/sessions/a%20b").json()["session"] for worker in workers] == ["a b"] * 2
    whole = Scorer.open(presses[0], "cpu").score(rows)
    assert [each["state"] for each in verdicts] == [ROW_STATUS[status] for status in whole.row_status]
    assert any(each["is_anomaly"] for each in verdicts)
    scored = sum(each["state"] == "scored" for each in verdicts)
    until(lambda: event(service.url)["rows"] == scored > 0)
