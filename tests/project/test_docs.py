"""The pages of docs/: their commands, Python and configuration work; runbook links and specifications are complete."""

from __future__ import annotations

import functools
import operator
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from detector.manifest import Manifest
from docs import generate
from tests.project.documents import PAGES, ROOT, anchors, blocks, commands, name_of
from tests.project.snippets import NOT_HERE, run_commands, run_python, write_files
from tests.project.test_documents import options_of

HOW_TO, TUTORIALS = ROOT / "docs" / "how-to", ROOT / "docs" / "tutorials"
RULES = ("rules.yml", "stream_rules.yml")
BASE = '{{ or $externalLabels.residuum_docs "http://localhost:8000" }}/'
WITH_COMMANDS = [page for page in PAGES if any(words[0] not in NOT_HERE and "--url" not in words for words in commands(page))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that pages name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return write_files(tmp_path)


@pytest.mark.long
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=map(name_of, WITH_COMMANDS))
def test_every_command_of_a_page_runs(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == TUTORIALS / "csv.md":
        run_python(page, monkeypatch)  # writes its files
    assert run_commands(page, monkeypatch)


@pytest.mark.usefixtures("folder")
def test_the_commands_of_one_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_commands(HOW_TO / "threshold.md", monkeypatch)


@pytest.mark.long
@pytest.mark.usefixtures("folder")
def test_the_python_of_the_how_to_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_python(HOW_TO / "python.md", monkeypatch)
    assert "of the score" in capsys.readouterr().out


def test_the_token_file_is_as_described(tmp_path: Path) -> None:
    (shell,) = blocks(HOW_TO / "security.md", "sh")
    subprocess.run(["bash", "-euc", shell], cwd=tmp_path, check=True)
    assert re.fullmatch(r"[0-9a-f]{64} score\n", (tmp_path / "tokens").read_text())


def test_the_settings_file_is_valid() -> None:
    (text,) = blocks(ROOT / "docs" / "reference" / "configuration.md", "toml")
    settings = msgspec.structs.fields(generate.settings_of("serving.http.core.settings"))
    assert tomllib.loads(text).keys() <= {field.encode_name for field in settings}


def test_every_manifest_of_kubernetes_starts_commands_that_exist() -> None:
    manifests = [yaml.safe_load(block) for block in blocks(HOW_TO / "kubernetes.md", "yaml")]
    assert len(manifests) == 2
    for manifest in manifests:
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        name, known = options_of(container["args"])
        assert {word.partition("=")[0] for word in container["args"] if word.startswith("--")} <= known, name


def test_the_configuration_of_prometheus_is_yaml() -> None:
    texts = [block for page in (HOW_TO / "prometheus.md", TUTORIALS / "kafka.md") for block in blocks(page, "yaml")]
    keys = functools.reduce(operator.or_, (set(yaml.safe_load(text)) for text in texts))
    assert keys >= {"scrape_configs", "global", "alerting", "route", "receivers"}


def test_every_alert_links_to_its_section_of_the_runbook() -> None:
    sections = anchors((ROOT / "docs" / "operations" / "runbook.md").read_text())
    alerts = set()
    for rules in RULES:
        for group in yaml.safe_load((ROOT / "deploy" / rules).read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    alerts.add(rule["alert"].lower())
                    assert rule["annotations"]["runbook_url"] == f"{BASE}operations/runbook/#{rule['alert'].lower()}"
    assert len(alerts) > 15
    assert alerts <= sections
    assert {section for section in sections if re.match("residuum|stream[a-z]", section)} == alerts


def test_the_specification_of_bundles_names_every_field() -> None:
    text = (ROOT / "docs" / "reference" / "bundle.md").read_text()
    definitions = msgspec.json.schema(Manifest)["$defs"]
    assert len(definitions) > 8
    for name, definition in definitions.items():
        missing = [field for field in definition["properties"] if f"`{field}`" not in text]
        assert not missing, f"{name}: {missing}"


def test_the_generated_tables_are_complete() -> None:
    from training.variants import VARIANTS

    group: Any = generate._group()  # noqa: SLF001 - the hook is a script
    assert set(re.findall(r"^## residuum (\w+)$", generate.commands(), re.MULTILINE)) == set(group.commands)
    assert all(f"[`{name}`](#{name})" in generate.variants() for name in VARIANTS)
    assert set(re.findall(r"^### (\w+)$", generate.variant_settings(), re.MULTILINE)) == set(VARIANTS)
    assert "`max-body`" in generate.serve_settings()
    assert "`guarantee`" in generate.stream_settings()


def test_the_labels_of_metrics_come_from_their_definitions() -> None:
    labels = generate.metric_labels()
    assert labels["residuum_http_requests"] == ("route", "status")
    assert "column" in labels["residuum_column_stability"]
    assert len(labels) > 40


def test_every_generated_part_has_a_generator() -> None:
    named = {name for page in PAGES for name in generate.MARK.findall(page.read_text())}
    assert named == generate.GENERATORS.keys()


@pytest.mark.long
def test_the_site_builds_strictly_and_needs_no_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra docs is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outside = r'<(?:script|img|iframe)[^>]*src="https?:|<link rel="(?:stylesheet|preconnect)"[^>]*https?:'
    for page in tmp_path.rglob("*.html"):
        assert not re.search(outside, page.read_text())
    metrics = (tmp_path / "reference" / "metrics" / "index.html").read_text()
    assert "residuum_stream_lag" in metrics
    assert "residuum_drift_martingale" in metrics
