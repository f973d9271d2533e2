"""Prometheus's rules: they fire when they should, say what to do, and use existing metrics."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from scipy.stats import betabinom

from serving.files.promise import TAIL
from tests.deploy.exported import exported, metrics_in
from tests.programs import program
from tests.serving.http.conftest import ASK, StartProcess, free_port, start_process, until
from tests.serving.http.loads import add_bad, write

__all__ = ["start_process"]  # a fixture of the service's tests


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write(tmp_path / "models", 1)
    return tmp_path / "models"


@pytest.fixture(scope="module")
def rules(project: Path) -> dict[str, dict[str, Any]]:
    """Every rule by its name."""
    groups = yaml.safe_load((project / "deploy" / "rules.yml").read_text())["groups"]
    return {rule.get("alert") or rule["record"]: rule for group in groups for rule in group["rules"]}


def test_made_up_series_raise_the_right_alerts(project: Path) -> None:
    promtool = program("promtool", "prometheus")
    for arguments in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run([promtool, *arguments], cwd=project / "deploy", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_says_what_to_do(project: Path, rules: dict[str, dict[str, Any]]) -> None:
    tests = (project / "deploy" / "rules_test.yml").read_text()
    alerts = {name: rule for name, rule in rules.items() if "alert" in rule}
    assert len(alerts) > 10
    for name, rule in alerts.items():
        assert f'alertname="{name}"' in tests, name
        assert set(rule["annotations"]) == {"runbook_url", "summary", "means", "look", "do"}, name
        assert rule["labels"]["severity"] in {"page", "warn", "info"}, name


def test_every_metric_of_the_rules_is_exported(project: Path) -> None:
    files = [yaml.safe_load(file.read_text()) for file in (project / "deploy").glob("*rules.yml")]
    assert len(files) == 2
    names = {name for file in files for group in file["groups"] for rule in group["rules"] for name in metrics_in(rule["expr"])}
    assert len(names) > 10
    assert names <= exported()


@pytest.mark.parametrize(("calibration", "above"), [(99, 0), (399, 3), (1999, 19), (20_000, 999)])
@pytest.mark.parametrize("rows", [500, 2_000, 100_000])
def test_the_bounds_are_those_of_the_beta_binomial(
    rules: dict[str, dict[str, Any]], calibration: int, above: int, rows: int
) -> None:
    known = {
        "residuum_calibration_rows": float(calibration),
        "residuum_calibration_rows_above": float(above),
        "residuum:rows:increase1h": float(rows),
    }
    for name in ("mean", "variance1h", "highest1h", "lowest1h"):
        known[f"residuum:promise:{name}"] = evaluate(rules[f"residuum:promise:{name}"]["expr"], known)
    exact = betabinom(rows, above + 1, calibration - above)
    highest, lowest = exact.isf(TAIL) / rows, exact.ppf(TAIL) / rows
    two_rows = 2.5 / rows
    assert known["residuum:promise:highest1h"] == pytest.approx(highest, rel=0.1, abs=two_rows)
    assert known["residuum:promise:lowest1h"] == pytest.approx(lowest, rel=0.15, abs=two_rows)


def evaluate(expression: str, known: dict[str, float]) -> float:
    """Return the value of a rule that is arithmetic on single values."""
    text = re.sub(r"max by \([a-z, ]*\) \((\w+)\)", r"\1", expression).replace("^", "**").replace(" > 0)", ")")
    for name in sorted(known, key=len, reverse=True):
        text = text.replace(name, repr(known[name]))
    value: float = eval(" ".join(text.split()), {"sqrt": lambda x: x**0.5, "clamp_min": max})  # noqa: S307 - the rules are ours
    return value


@pytest.fixture
def prometheus(project: Path, tmp_path: Path) -> Iterator[int]:
    """Run a Prometheus with these rules that scrapes every second, and yield its port."""
    path, port = program("prometheus", "prometheus"), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(project / "deploy" / "rules.yml")],
        "scrape_configs": [{"job_name": "residuum", "file_sd_configs": [{"files": [str(tmp_path / "targets.json")]}]}],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    flags = [f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command = [path, *flags, f"--web.listen-address=127.0.0.1:{port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    server.terminate()
    server.wait()


@pytest.mark.long
def test_a_real_prometheus_fires_when_a_version_is_refused(
    start_process: StartProcess, models: Path, prometheus: int, tmp_path: Path
) -> None:
    targets = ["--metrics-port", free_port(), "--metrics-targets", tmp_path / "targets.json"]
    start_process("--workers", 2, *targets, at=models)
    until(lambda: query(prometheus, "count(residuum_model_serving)") == ["2"], timeout=60)
    assert query(prometheus, FIRING) == []
    add_bad(models, 2)
    until(lambda: query(prometheus, FIRING) == ["1"], timeout=60)


FIRING = 'count(ALERTS{alertname="ResiduumVersionRefused",alertstate="firing"})'


def query(port: int, expression: str) -> list[str]:
    """Return the values of an expression; none while Prometheus is starting."""
    try:
        found = ASK.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": expression}).json()["data"]["result"]
    except (httpx.HTTPError, KeyError, ValueError):
        return []
    return [str(sample["value"][1]) for sample in found]
