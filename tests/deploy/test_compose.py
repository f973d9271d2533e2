"""`docker compose up`, tested without an engine: its files, its settings, and its commands as processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.kafka.brokers import make_topics, read
from tests.kafka.shared import shared
from tests.ports import free_port
from tests.serving.stream.conftest import RUN, until
from tests.tables import normal_rows, planted_anomalies

ComposeService = dict[str, Any]
ONE_SHOT = {"train", "topics", "producer"}


@pytest.fixture(scope="module")
def compose(project: Path) -> dict[str, ComposeService]:
    services: dict[str, ComposeService] = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]
    return services


def test_every_mounted_or_built_file_exists(compose: dict[str, ComposeService], project: Path) -> None:
    mounted = [volume.split(":")[0] for service in compose.values() for volume in service.get("volumes", ())]
    built = {service["build"]["dockerfile"] for service in compose.values() if "build" in service}
    files = [path for path in (*mounted, *built) if "/" in path]
    assert len(files) > 4
    assert all((project / path).exists() for path in files)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (project / "deploy/Dockerfile").read_text(), re.MULTILINE))
    assert {service["build"]["target"] for service in compose.values() if "build" in service} == {"runtime", "train"}
    assert {"runtime", "train"} <= stages


def test_every_service_is_limited_checked_and_on_loopback(compose: dict[str, ComposeService]) -> None:
    for name, service in compose.items():
        assert "mem_limit" in service, name
        assert service.get("cap_drop") == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert name == "kafka" or service.get("read_only"), name
        assert name in {"kafka", "topics"} or service["user"] != "0", name  # Kafka's image has its own user
        assert name in ONE_SHOT or service["healthcheck"]["test"], name
    conditions = compose["worker"]["depends_on"]
    assert {conditions["train"]["condition"], conditions["topics"]["condition"]} == {"service_completed_successfully"}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    return found or pytest.skip("promtool is not installed (Debian: prometheus)")


def test_the_alerts_fire_when_they_should(promtool: str, project: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", "stream_rules_test.yml"], cwd=project / "deploy", check=False)
    assert done.returncode == 0


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop processes."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes to stop at the end of the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    stop(started)


@pytest.mark.usefixtures("promtool")
@pytest.mark.long
def test_the_commands_as_processes_write_verdicts_and_raise_an_alert(
    compose: dict[str, ComposeService], project: Path, tmp_path: Path, run_folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    models, port, prometheus = tmp_path / "models", free_port(), free_port()
    shutil.copytree(project / "tests/data/bundle-1", models / "tumours" / "1")
    pl.concat([normal_rows(100, seed=5), planted_anomalies(100)]).write_ndjson(models / "play.ndjson")
    with shared(run_folder, 1) as bootstrap, (tmp_path / "log").open("wb") as log:
        replacements = {
            "kafka:9092/": f"{bootstrap}/deploy-",
            "kafka:9092": bootstrap,
            "/models": str(models),
            "metrics-port=9100": f"metrics-port={port}",
        }

        def local(words: list[str]) -> list[str]:
            for remote, here in replacements.items():
                words = [word.replace(remote, here) for word in words]
            return words

        make_topics(bootstrap, **{"deploy-readings": 4, "deploy-readings.dlq": 4, "deploy-verdicts": 4})
        _, script, *rest = compose["producer"]["entrypoint"]
        play = [sys.executable, str(project / "deploy" / script), *local(rest)]
        play[-2:] = [f"deploy-{play[-2]}", "200"]
        processes.append(subprocess.Popen([sys.executable, "-c", RUN, *local(compose["worker"]["command"])], stderr=log))
        processes.append(subprocess.Popen(play))

        config = (project / "deploy/prometheus.yml").read_text().replace("worker:9100", f"127.0.0.1:{port}").replace("5s", "1s")
        (tmp_path / "prometheus.yml").write_text(config.replace("/etc/prometheus", str(project / "deploy")))
        command = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        listen = f"--web.listen-address=127.0.0.1:{prometheus}"
        processes.append(subprocess.Popen([*command, listen], stdout=log, stderr=log))

        verdicts = read(bootstrap, "deploy-verdicts", 50)
        assert json.loads(verdicts[0].value() or b"")["model"] == "tumours"
        until(lambda: "StreamAnomalies" in firing(prometheus), 90)
        stop(processes)  # before the brokers


def firing(port: int) -> set[str]:
    """Return the names of the firing alerts."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5) as response:
            alerts = json.load(response)["data"]["alerts"]
    except OSError:
        return set()
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}
