"""`residuum calibrate`: another threshold as the next version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from detector.scorer import Scorer
from tests.residuum.cli.running import Run


def test_by_false_alarm_rate(run: Run, model_copy: Path, table: Path) -> None:
    dry = run("calibrate", model_copy, "--false-alarm-rate", "0.1", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "alarms among 99 calibration rows" in dry.stdout
    assert not (model_copy / "2").exists()
    assert run("calibrate", model_copy, "--false-alarm-rate", "0.1").exit_code == 0
    manifest = json.loads((model_copy / "2" / "manifest.json").read_text())
    assert (manifest["parent"], manifest["version"], manifest["decision"]["false_alarm_rate"]) == (1, 2, 0.1)
    assert run("score", model_copy, table, "--to", "out.csv").exit_code == 0
    out = pl.read_csv("out.csv")
    assert out["is_anomaly"].to_list() == (out["p_value"] <= 0.1).to_list()
    assert "smallest they can promise" in run("calibrate", model_copy, "--false-alarm-rate", "0.0001").stderr
    (model_copy / "pin").write_text("1")
    assert "still means" in run("calibrate", model_copy, "--false-alarm-rate", "0.2").stdout


@pytest.mark.parametrize(
    "criterion", [("--maximise", "f1"), ("--maximise", "F0.5"), ("--cost-ratio", "3"), ("--precision", "0.9")], ids=" ".join
)
def test_by_labels(criterion: tuple[str, str], run: Run, model_copy: Path, labelled: Path) -> None:
    result = run("calibrate", model_copy, "--labels", labelled, "--label", "state", *criterion)
    assert result.exit_code == 0, result.output
    for text in ("alarms among 100 labelled rows", "precision", "recall", "none"):
        assert text in result.stdout
    decision = json.loads((model_copy / "2" / "manifest.json").read_text())["decision"]
    assert decision["promise"] == "labels"
    scores = Scorer.open(model_copy).score(pl.read_csv(labelled)).score
    precision = np.mean((scores > decision["threshold"])[80:].sum() / max((scores > decision["threshold"]).sum(), 1))
    assert precision >= 0.8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give one of"),
        (["--false-alarm-rate", "0.1", "--maximise", "f1"], "not --false-alarm-rate and --maximise"),
        (["--maximise", "f1"], "add --labels and --label"),
        (["--false-alarm-rate", "0.1", "--label", "state"], "leave out --label"),
        (["--maximise", "recall", "--labels", "l.csv", "--label", "state"], "'recall'"),
        (["--precision", "7", "--labels", "l.csv", "--label", "state"], "above 0 and at most 1"),
        (["--false-alarm-rate", "7"], "between 0 and 1"),
    ],
    ids=["nothing", "two", "no labels", "unused labels", "measure", "precision", "rate"],
)
def test_contradicting_options(options: list[str], message: str, run: Run, model: Path) -> None:
    result = run("calibrate", model, *options)
    assert result.exit_code == 2
    assert message in result.stderr
