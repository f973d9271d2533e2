"""`residuum evaluate`: verdicts against labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl

from detector.scorer import Scorer
from tests.residuum.cli.running import Run


def test_counts_ranking_and_kinds(run: Run, model: Path, labelled: Path, rows: pl.DataFrame) -> None:
    result = run("evaluate", model, labelled, "--label", "state", "--format", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    flagged = Scorer.open(model).score(rows).is_anomaly
    assert found["true_alarms"] == flagged[80:].sum()
    assert found["false_alarms"] == flagged[:80].sum()
    assert found["auroc"] > 0.9
    assert {kind["label"]: kind["rows"] for kind in found["by_label"]} == {"leak": 15, "fire": 5}
    text = run("evaluate", model, labelled, "--label", "state").stdout
    assert f"{found['auroc']:.4f}" in text
    assert "promised 1 %" in text
    assert re.search(r"leak +15 +\d+ +[\d.]+ %", text)


def test_the_labels_that_mean_normal_must_be_known(run: Run, model: Path, labelled: Path) -> None:
    other = labelled.read_text().replace(",ok\n", ",fine\n")
    labelled.write_text(other)
    unknown = run("evaluate", model, labelled, "--label", "state")
    assert unknown.exit_code == 2
    assert "--normal-value; there are 'fine', 'fire', 'leak'" in unknown.stderr
    assert run("evaluate", model, labelled, "--label", "state", "--normal-value", "fine").exit_code == 0
    assert "is not a label" in run("evaluate", model, labelled, "--label", "state", "--normal-value", "good").stderr
    assert re.search("near: .*'state'", run("evaluate", model, labelled, "--label", "stat").stderr)
    assert "--ignore machine" in run("evaluate", model, labelled, "--label", "machine").stderr
    labelled.write_text(other.replace(",fire\n", ",fine\n").replace(",leak\n", ",fine\n"))
    assert "normal" in run("evaluate", model, labelled, "--label", "state", "--normal-value", "fine").stderr


def test_a_missing_label_column_lists_the_unused_columns_first(run: Run, model: Path, labelled: Path) -> None:
    result = run("evaluate", model, labelled, "--label", "attack")
    assert result.exit_code == 2
    assert "lacks the column 'attack'; it has 'state', 'temperature', " in result.stderr


def test_rows_without_a_label_are_left_out(run: Run, model: Path, labelled: Path) -> None:
    labelled.write_text(labelled.read_text().replace(",fire\n", ",\n"))
    found = json.loads(run("evaluate", model, labelled, "--label", "state", "--format", "json").stdout)
    assert (found["rows"], found["rejected"]) == (95, 5)
