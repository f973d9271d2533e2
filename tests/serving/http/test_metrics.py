"""The metrics of a running service, as Prometheus reads them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.programs import program
from tests.serving.http.conftest import ASK, Service, Start, StartProcess, free_port, until
from tests.tables import normal_rows, planted_anomalies

PUMPS = {"model": "pumps", "version": "2"}


class Read:
    """The metrics of a service."""

    def __init__(self, service: Service) -> None:
        self.text = ASK.get(f"{service.url}/metrics").text
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}

    def value(self, name: str, **labels: str) -> float:
        for family in self.families.values():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return 0.0


def test_requests_rows_and_verdicts_are_counted(start: Start) -> None:
    service = start()
    normal, bad = normal_rows(40, seed=5).to_dicts(), [{"temperature": "hot"}, 7, {"machine": "new", "flow": None}]
    answer = service.post([*normal, *planted_anomalies(10).to_dicts(), *bad]).json()
    service.post([{}] * 3, params={"only": "x"})
    ASK.get(f"{service.url}/nowhere")
    with service.connect() as sock:
        sock.sendall(b"no http\r\n\r\n")
        assert sock.recv(100)
    read = Read(service)
    assert read.value("residuum_http_requests_total", route="score", status="200") == 1
    assert read.value("residuum_http_requests_total", route="score", status="422") == 1
    assert read.value("residuum_http_requests_total", route="none", status="404") == 1
    assert read.value("residuum_http_request_duration_seconds_count", route="score") == 2
    assert read.value("residuum_http_refused_total", reason="query") == 1
    assert read.value("residuum_http_refused_total", reason="http") == 1
    assert read.value("residuum_rows_total", **PUMPS) == answer["rows"] == 51
    assert read.value("residuum_anomalies_total", **PUMPS) == answer["anomalies"]
    assert read.value("residuum_rejected_rows_total", reason="number") == 1
    assert read.value("residuum_rejected_rows_total", reason="json") == 1
    assert read.value("residuum_unseen_categories_total", column="machine") == 1
    assert read.value("residuum_missing_cells_total", column="flow") >= 1
    assert read.value("residuum_score_nats_count", **PUMPS) == read.value("residuum_p_value_count", **PUMPS) == 51
    assert read.value("residuum_score_nats_bucket", le="+Inf", **PUMPS) == 51
    assert read.value("residuum_alarm_ratio", **PUMPS) == pytest.approx(answer["anomalies"] / answer["rows"])
    assert read.value("residuum_promised_alarm_ratio", **PUMPS) == 0.05
    assert read.value("residuum_model_info", provider="CPUExecutionProvider", **PUMPS) == 1
    assert read.value("residuum_model_loads_total", outcome="opened") == 2
    assert read.value("residuum_model_age_seconds", **PUMPS) > 0
    assert read.value("process_resident_memory_bytes") > 1e7


def test_drift_shows(start: Start) -> None:
    service = start()
    for seed in range(3):
        service.post(normal_rows(1500, seed=seed + 10).to_dicts())
    calm = Read(service)
    for seed in range(2):
        moved = normal_rows(1500, seed=seed + 20).with_columns(temperature=normal_rows(1500, seed=3)["temperature"] + 15)
        service.post(moved.to_dicts())
    moved_read = Read(service)
    assert calm.value("residuum_drift_martingale", **PUMPS) < 2
    assert moved_read.value("residuum_drift_martingale", **PUMPS) > 2
    assert calm.value("residuum_column_stability", column="temperature", **PUMPS) < 0.1
    assert moved_read.value("residuum_column_stability", column="temperature", **PUMPS) > 0.25
    assert moved_read.value("residuum_column_stability", column="flow", **PUMPS) < 0.1


def test_promtool_accepts_the_metrics(service: Service) -> None:
    promtool = program("promtool", "prometheus")
    service.post([{}, 7, {"machine": "new"}])
    done = subprocess.run([promtool, "check", "metrics"], input=Read(service).text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_the_running_service(start_process: StartProcess, tmp_path: Path) -> None:
    prometheus = program("prometheus", "prometheus")
    targets = tmp_path / "targets.json"
    service = start_process("--workers", 2, "--metrics-port", free_port(), "--metrics-targets", targets)
    service.post(normal_rows(40, seed=5).to_dicts())
    config = {"job_name": "residuum", "scrape_interval": "1s", "file_sd_configs": [{"files": [str(targets)]}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [config]}))  # JSON is YAML
    listen = f"--web.listen-address=127.0.0.1:{(port := free_port())}"  # not before the others have theirs
    command = [prometheus, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}", listen]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wanted = {"up": "2", 'residuum_rows_total{model="pumps"}': "40"}
        until(lambda: server.poll() is not None or wanted == {query: _asked(port, f"sum({query})") for query in wanted}, 60)
        assert server.poll() is None, (tmp_path / "log").read_text()
    finally:
        server.terminate()
        server.wait()


def _asked(port: int, query: str) -> str | None:
    try:
        found = ASK.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}).json()["data"]["result"]
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    return str(found[0]["value"][1]) if found else None
