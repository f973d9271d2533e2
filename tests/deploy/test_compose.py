"""`docker compose up`, as far as it can be proved without an engine: its files, its promises, and its commands as processes."""

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

Service = dict[str, Any]
ONE_SHOT = {"train", "topics", "producer"}


@pytest.fixture(scope="module")
def compose(project: Path) -> dict[str, Service]:
    services: dict[str, Service] = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]
    return services


def test_every_file_that_is_mounted_or_built_from_is_there(compose: dict[str, Service], project: Path) -> None:
    mounted = [volume.split(":")[0] for each in compose.values() for volume in each.get("volumes", ())]
    built = {each["build"]["dockerfile"] for each in compose.values() if "build" in each}
    files = [path for path in (*mounted, *built) if "/" in path]
    assert len(files) > 4
    assert all((project / path).exists() for path in files)
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", (project / "deploy/Dockerfile").read_text(), re.MULTILINE))
    assert {each["build"]["target"] for each in compose.values() if "build" in each} == {"runtime", "train"}
    assert {"runtime", "train"} <= stages


def test_everything_is_bounded_healthy_and_behind_loopback(compose: dict[str, Service]) -> None:
    for name, each in compose.items():
        assert "mem_limit" in each, name
        assert each.get("cap_drop") == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", ())), name
        assert name == "kafka" or each.get("read_only"), name
        assert name in {"kafka", "topics"} or each["user"] != "0", name  # Kafka's own image has its own user
        assert name in ONE_SHOT or each["healthcheck"]["test"], name
    waits = compose["worker"]["depends_on"]
    assert {waits["train"]["condition"], waits["topics"]["condition"]} == {"service_completed_successfully"}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    return found or pytest.skip("promtool is not installed (Debian: prometheus)")


def test_the_alerts_ring_when_they_should(promtool: str, project: Path) -> None:
    done = subprocess.run([promtool, "test", "rules", "stream_rules_test.yml"], cwd=project / "deploy", check=False)
    assert done.returncode == 0


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes."""
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(60)


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended in the end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    end(started)


@pytest.mark.usefixtures("promtool")
@pytest.mark.long
def test_the_same_commands_as_processes_give_verdicts_and_an_alarm(
    compose: dict[str, Service], project: Path, tmp_path: Path, run_folder: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    models, port, prometheus = tmp_path / "models", free_port(), free_port()
    shutil.copytree(project / "tests/data/bundle-1", models / "tumours" / "1")
    pl.concat([normal_rows(100, seed=5), planted_anomalies(100)]).write_ndjson(models / "play.ndjson")
    with shared(run_folder, 1) as bootstrap, (tmp_path / "log").open("wb") as log:
        here = {
            "kafka:9092/": f"{bootstrap}/deploy-",
            "kafka:9092": bootstrap,
            "/models": str(models),
            "metrics-port=9100": f"metrics-port={port}",
        }

        def local(words: list[str]) -> list[str]:
            for there, place in here.items():
                words = [word.replace(there, place) for word in words]
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
        end(processes)  # before the brokers


def firing(port: int) -> set[str]:
    """Give the alerts that ring."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=5) as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except OSError:
        return set()
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}
