"""Python is as wide as the command line: evaluate, calibrate, finetune, compare, promote, variants."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import residuum
from detector.errors import BundleError, ResiduumError, SettingError, TableError
from residuum.cli import app
from tests.data.make_bundle import KEPT
from tests.tables import normal_rows, planted_anomalies


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with one version, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(KEPT, tmp_path / "models" / "pumps" / "1")
    return "models/pumps"


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Labelled rows."""
    table = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    return table.with_columns(state=pl.Series(["ok"] * 80 + ["leak"] * 12 + ["fire"] * 8))


def printed(*arguments: object) -> Any:  # noqa: ANN401 - JSON
    """Return what a command prints as JSON."""
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, [*map(str, arguments), "--format", "json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_evaluate_is_what_the_command_prints(model: str, rows: pl.DataFrame) -> None:
    rows.write_csv("labelled.csv")
    command = printed("evaluate", model, "labelled.csv", "--label", "state")
    found = residuum.evaluate(model, rows, "state")
    for name in ("auroc", "average_precision", "precision", "recall", "f1", "false_alarm_rate", "missed", "probable_from"):
        assert getattr(found, name) == pytest.approx(command[name]), name
    assert [(each.label, each.rows) for each in found.by_label] == [("leak", 12), ("fire", 8)]


def test_labels_come_in_many_forms(model: str, rows: pl.DataFrame) -> None:
    detector, expected = residuum.load(model), residuum.evaluate(model, rows, "state")
    is_bad = (rows["state"] != "ok").to_numpy()
    table = rows.drop("state")
    for labels in (is_bad, is_bad.astype(int), is_bad.tolist(), is_bad.astype(float), pd.Series(is_bad), rows["state"].to_list()):
        assert residuum.evaluate(detector, table, labels).auroc == expected.auroc
    assert residuum.evaluate(detector, table.to_pandas(), rows["state"]).auroc == expected.auroc
    assert residuum.evaluate(detector, table.to_pandas().to_numpy(), is_bad).auroc == expected.auroc
    assert residuum.evaluate(detector, table, np.where(is_bad, -1, 1), normal_values="1").auroc == expected.auroc


def test_rows_that_are_left_out_are_told(model: str, rows: pl.DataFrame) -> None:
    some = rows.with_columns(
        pl.when(pl.int_range(100) < 3).then(None).otherwise("state").alias("state"),
        pl.when(pl.int_range(100) == 50)
        .then(pl.lit("hot"))
        .otherwise(pl.col("temperature").cast(pl.String))
        .alias("temperature"),
    )
    with pytest.warns(UserWarning, match="4 rows without a label or unreadable"):
        found = residuum.evaluate(model, some, "state")
    assert found.false_alarms + found.passed == 76


@pytest.mark.parametrize(
    ("label", "options", "message"),
    [
        ("stat", {}, "no column 'stat'"),
        ("machine", {}, "was trained on the column 'machine'"),
        ([True] * 3, {}, "100 rows need as many labels"),
        (["x"] * 50 + ["y"] * 50, {}, "name it with normal_values"),
        (["ok"] * 100, {}, "normal: both are needed"),
        ("state", {"normal_values": ["fine"]}, "normal_values 'fine' is not a label in column 'state'"),
    ],
    ids=["absent", "trained", "short", "unknown", "one class", "no such value"],
)
def test_labels_that_do_not_fit_are_errors(model: str, rows: pl.DataFrame, label: Any, options: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises((SettingError, TableError), match=message):
        residuum.evaluate(model, rows, label, **options)


def test_calibrate_writes_the_next_version(model: str, rows: pl.DataFrame) -> None:
    detector = residuum.calibrate(model, false_alarm_rate=0.1)
    assert (detector.manifest.version, detector.manifest.parent) == (2, 1)
    assert detector.manifest.decision.false_alarm_rate == 0.1
    by_labels = residuum.calibrate(detector, maximise="f1", rows=rows, label="state")
    assert (by_labels.manifest.version, by_labels.manifest.parent) == (3, 2)
    assert by_labels.manifest.decision.promise == "labels"
    assert residuum.evaluate(by_labels, rows, "state").f1 >= residuum.evaluate(detector, rows, "state").f1
    assert residuum.load(model).threshold == by_labels.threshold


def test_a_dry_run_writes_nothing(model: str, rows: pl.DataFrame) -> None:
    detector = residuum.calibrate(model, precision=0.9, rows=rows.drop("state"), label=rows["state"], dry_run=True)
    assert repr(detector) == "<Detector (not saved, from kept/1): plain, 10 columns>"
    assert "not saved" in detector._repr_html_()
    assert detector.score(rows)["is_anomaly"].to_list() == (detector.score(rows)["anomaly_score"] > detector.threshold).to_list()
    assert [path.name for path in Path(model).iterdir()] == ["1"]
    with pytest.raises(SettingError, match="not saved"):
        residuum.calibrate(detector, false_alarm_rate=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of false_alarm_rate, maximise, cost_ratio, precision"),
        ({"false_alarm_rate": 0.1, "precision": 0.5}, "not false_alarm_rate and precision"),
        ({"maximise": "f1"}, "maximise needs labelled rows: add rows and label"),
        ({"false_alarm_rate": 0.1, "label": "state"}, "false_alarm_rate needs no labelled rows: leave out label"),
        ({"false_alarm_rate": 1e-9}, "cannot promise"),
    ],
    ids=["none", "two", "no labels", "needless", "too strict"],
)
def test_options_that_do_not_fit_are_errors(model: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        residuum.calibrate(model, **options)


def test_finetune_keeps_what_beats_the_score(model: str, rows: pl.DataFrame) -> None:
    comparison, none = residuum.finetune(model, rows, "state", dry_run=True)
    assert none is None
    assert [path.name for path in Path(model).iterdir()] == ["1"]
    again, detector = residuum.finetune(residuum.load(model), rows.drop("state").to_pandas(), rows["state"].to_list())
    assert again == comparison
    assert (detector is not None) == comparison.is_better
    if detector is not None:
        assert detector.manifest.classes == ("fire", "leak", "ok")
        assert set(detector.score(rows)["class"].to_list()) <= {"fire", "leak", "ok"}
    with pytest.raises(SettingError, match="mode must be one of 'frozen', 'joint'"):
        residuum.finetune(model, rows, "state", mode="warm")  # type: ignore[arg-type]


def test_compare_promote_and_rollback(model: str, rows: pl.DataFrame) -> None:
    first, second = residuum.load(model), residuum.calibrate(model, false_alarm_rate=0.2)
    found = residuum.compare(first, f"{model}/2", rows)
    assert (found.current.version, found.other.version, found.other.parent) == (1, 2, 1)
    assert found.current.threshold > found.other.threshold
    assert found.agreement is not None
    assert found.agreement.rank_correlation == pytest.approx(1)
    both = first.score(rows)["is_anomaly"] & second.score(rows)["is_anomaly"]
    assert found.agreement.both == both.sum()
    assert residuum.compare(model, model).agreement is None
    assert residuum.promote(model, 1) == (1, 2)
    assert residuum.load(model).manifest.version == 1
    assert residuum.rollback(model) == (2, 1)
    assert residuum.load(model).manifest.version == 2
    with pytest.raises(BundleError, match="no version 7"):
        residuum.promote(model, 7)
    with pytest.raises(ResiduumError):
        residuum.promote(model, 1, url="http://127.0.0.1:9")


def test_variants_are_those_of_the_command() -> None:
    assert [*residuum.variants().values()] == printed("variants")
