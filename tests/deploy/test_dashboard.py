"""Grafana's dashboard matches its code, uses existing metrics, and has valid expressions."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.deploy.exported import exported, metrics_in
from tests.programs import program


@pytest.fixture(scope="module")
def code(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("dashboard", project / "deploy" / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expressions(project: Path) -> list[str]:
    dashboard = json.loads((project / "deploy" / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]


def test_the_file_is_up_to_date(project: Path, code: ModuleType) -> None:
    assert (project / "deploy" / "dashboard.json").read_text() == code.text(), "run: python deploy/dashboard.py"


def test_every_metric_is_exported_or_recorded(project: Path, expressions: list[str]) -> None:
    groups = yaml.safe_load((project / "deploy" / "rules.yml").read_text())["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    used = {name for expression in expressions for name in re.findall(r"residuum:[a-z0-9_:]+", expression)}
    assert len(expressions) > 15
    assert {name for expression in expressions for name in metrics_in(expression)} <= exported()
    assert used
    assert used <= recorded


def test_prometheus_accepts_the_expressions(expressions: list[str], tmp_path: Path) -> None:
    variables = {"$__rate_interval": "5m", "$job": "residuum", "$model": "pumps"}
    texts = [re.sub("|".join(map(re.escape, variables)), lambda found: variables[found[0]], text) for text in expressions]
    rules = [{"record": f"residuum:panel:{number}", "expr": text} for number, text in enumerate(texts)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    command = [program("promtool", "prometheus"), "check", "rules", tmp_path / "rules.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
