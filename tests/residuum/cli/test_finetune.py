"""`residuum finetune`: a classifier beside the score, kept only if it is better."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import residuum
from detector import bundle
from detector.classifier import Classifier
from detector.errors import BundleCorrupt
from detector.scorer import Scorer
from tests.residuum.cli.running import Run, error_line
from tests.tables import normal_rows, planted_anomalies
from training.finetune import joint

MODES = ("frozen", "joint")


@pytest.fixture
def model_copy(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path / "model_copy")
    return tmp_path / "model_copy"


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "STEPS", 200)


def leaks(rows: int, seed: int) -> pl.DataFrame:
    """Return rows that a detector hardly separates from normal ones, unlike labels."""
    return normal_rows(rows, seed=seed, holes=0.0).with_columns(pl.col("flow") + 2)


def labelled_rows(*, hot: int = 0) -> pl.DataFrame:
    """Return labelled rows of which the detector finds the hot ones by itself."""
    table = pl.concat([normal_rows(90, seed=5), leaks(30, 9), planted_anomalies(30)[:hot]])
    return table.with_columns(kind=pl.Series(["ok"] * 90 + ["leak"] * 30 + ["hot"] * hot))


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("mode", ["frozen", pytest.param("joint", marks=pytest.mark.long)])
@pytest.mark.parametrize("hot", [0, 20])
def test_a_better_classifier_becomes_the_next_version(mode: str, hot: int, model_copy: Path, run: Run) -> None:
    labelled_rows(hot=hot).write_csv("labelled.csv")
    before = {path.name: path.read_bytes() for path in (model_copy / "1").iterdir()}
    result = run("finetune", model_copy, "labelled.csv", "--label", "kind", "--mode", mode)
    assert result.exit_code == 0, result.output
    assert f"kept       {model_copy}/2, from version 1" in result.stdout
    assert ("accuracy" in result.stdout) == bool(hot)
    assert {path.name: path.read_bytes() for path in (model_copy / "1").iterdir()} == before
    for name in before.keys() - {"manifest.json", "manifest.sha256"}:
        assert (model_copy / "2" / name).read_bytes() == before[name]
    old, new = (bundle.read(model_copy / number).manifest for number in "12")
    assert (new.parent, new.classes) == (1, ("hot", "leak", "ok") if hot else ("leak", "ok"))
    assert new.decision == old.decision
    assert new.parity[:-1] == old.parity
    proof = new.parity[-1]
    assert (proof.file, proof.rows, proof.verdicts_that_differ) == ("classifier.onnx", 120 + hot, 0)
    assert proof.largest_difference <= proof.tolerance


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("mode", ["frozen", pytest.param("joint", marks=pytest.mark.long)])
def test_fresh_rows_get_their_class_in_files_and_in_python(mode: str, model_copy: Path, run: Run) -> None:
    labelled_rows(hot=20).write_csv("labelled.csv")
    assert run("finetune", model_copy, "labelled.csv", "--label", "kind", "--mode", mode).exit_code == 0
    fresh = pl.concat([normal_rows(60, seed=21), leaks(40, 22), planted_anomalies(20, seed=23)])
    fresh.write_csv("fresh.csv")
    plain, classified = (run("score", model_copy / number, "fresh.csv", "--to", f"{number}.csv") for number in "12")
    assert (plain.exit_code, classified.exit_code) == (0, 0), classified.output
    old, new = pl.read_csv("1.csv"), pl.read_csv("2.csv")
    assert new.columns[:6] == ["row", "anomaly_score", "p_value", "is_anomaly", "class", "class_probability"]
    assert new.drop("class", "class_probability").equals(old)
    right = new["class"] == pl.Series(["ok"] * 60 + ["leak"] * 40 + ["hot"] * 20)
    assert right.mean() > 0.85
    assert new["class_probability"].is_between(1 / 3, 1).all()
    scored = residuum.load(model_copy).score(fresh.to_pandas())
    assert scored["class"].tolist() == new["class"].to_list()
    assert np.allclose(scored["class_probability"], new["class_probability"], atol=1e-6)
    assert "hot, leak, ok, by classifier.onnx" in run("inspect", model_copy).stdout
    assert json.loads(run("inspect", model_copy, "--format", "json").stdout)["classes"] == ["hot", "leak", "ok"]


def test_rejected_rows_have_no_class(model_copy: Path, run: Run) -> None:
    labelled_rows().write_csv("labelled.csv")
    assert run("finetune", model_copy, "labelled.csv", "--label", "kind").exit_code == 0
    rows = normal_rows(5).to_pandas().astype({"flow": object})
    rows.loc[2, "flow"] = "fast"
    scored = residuum.load(model_copy).score(rows)
    assert scored["class"].isna().tolist() == [False, False, True, False, False]
    assert scored["class_probability"].isna().tolist() == [False, False, True, False, False]


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("mode", ["frozen", pytest.param("joint", marks=pytest.mark.long)])
def test_labels_that_mean_nothing_are_not_kept(mode: str, model_copy: Path, run: Run) -> None:
    rows = pl.concat([normal_rows(80, seed=5), planted_anomalies(20)])
    rows.with_columns(bad=pl.Series([False] * 80 + [True] * 20)).write_csv("easy.csv")  # the score is perfect already
    result = run("finetune", model_copy, "easy.csv", "--label", "bad", "--mode", mode)
    assert result.exit_code == 0, result.output
    assert f"not kept   no better than the score without labels; {model_copy}/1 stays as it is" in result.stdout
    assert [path.name for path in model_copy.iterdir() if path.name.isdigit()] == ["1"]


def test_a_dry_run_writes_nothing(model_copy: Path, run: Run) -> None:
    labelled_rows().write_csv("labelled.csv")
    result = run("finetune", model_copy, "labelled.csv", "--label", "kind", "--dry-run")
    assert result.exit_code == 0
    assert "better     without --dry-run it would be kept" in result.stdout
    assert sorted(path.name for path in model_copy.iterdir()) == ["1"]


def test_the_same_seed_gives_the_same_bytes_and_a_second_one_replaces_the_first(model_copy: Path, run: Run) -> None:
    labelled_rows().write_csv("labelled.csv")
    for _ in range(2):
        assert run("finetune", model_copy, "labelled.csv", "--label", "kind").exit_code == 0
    assert (model_copy / "2" / "classifier.onnx").read_bytes() == (model_copy / "3" / "classifier.onnx").read_bytes()
    manifest = bundle.read(model_copy / "3").manifest
    assert manifest.parent == 2
    assert [proof.file for proof in manifest.parity].count("classifier.onnx") == 1
    assert run("calibrate", model_copy, "--false-alarm-rate", "0.05").exit_code == 0
    assert Scorer.open(model_copy / "4").classifier is not None


def test_rows_without_a_label_are_left_out_and_counted(model_copy: Path, run: Run) -> None:
    labelled_rows().with_columns(pl.when(pl.int_range(120) % 10 != 0).then("kind").alias("kind")).write_csv("holed.csv")
    result = run("finetune", model_copy, "holed.csv", "--label", "kind", "--dry-run")
    assert result.exit_code == 0
    assert "rows       108: 27 leak, 81 ok" in result.stdout
    assert "left out   12 rows without a label" in result.stdout


BAD = {
    "one class": (labelled_rows().with_columns(kind=pl.lit("ok")), "two classes or more are needed"),
    "no such column": (labelled_rows().drop("kind"), "lacks the column 'kind'"),
    "too few of a class": (labelled_rows(hot=3), "each class needs 5 labelled rows, one for each fold"),
    "no label at all": (labelled_rows().with_columns(kind=pl.lit(None, pl.String)), "no row that can be scored has a label"),
    "nothing normal": (labelled_rows().filter(pl.col("kind") != "ok"), "are 'leak': rows of another class are needed"),
}


@pytest.mark.parametrize("fault", BAD)
@pytest.mark.parametrize("mode", MODES)
def test_labels_that_cannot_be_learnt_from_are_refused(fault: str, mode: str, model: Path, run: Run) -> None:
    rows, message = BAD[fault]
    rows.write_csv("labelled.csv")
    assert message in error_line(run, "finetune", model, "labelled.csv", "--label", "kind", "--mode", mode)


def test_classes_that_all_mean_normal_are_refused(model: Path, run: Run) -> None:
    labelled_rows().write_csv("labelled.csv")
    normal = ("--normal-value", "ok", "--normal-value", "leak")
    assert "all mean normal" in error_line(run, "finetune", model, "labelled.csv", "--label", "kind", *normal)


def test_joint_needs_weights(model_copy: Path, run: Run) -> None:
    opened = bundle.read(model_copy / "1")
    contents = {"model.onnx": opened.model, "calibration.npy": bundle.calibration_bytes(opened.calibration)}
    shutil.rmtree(model_copy / "1")
    (model_copy / "1").mkdir()
    bundle.write(model_copy / "1", opened.manifest, contents)
    labelled_rows().write_csv("labelled.csv")
    assert "has no weights.safetensors" in error_line(
        run, "finetune", model_copy, "labelled.csv", "--label", "kind", "--mode", "joint"
    )
    assert run("finetune", model_copy, "labelled.csv", "--label", "kind").exit_code == 0


def test_a_kept_column_may_be_called_class_where_there_is_no_classifier(model_copy: Path, run: Run) -> None:
    labelled_rows().rename({"kind": "class"}).write_csv("labelled.csv")
    assert run("score", model_copy, "labelled.csv", "--to", "out.csv", "--keep", "class").exit_code == 0
    assert run("finetune", model_copy, "labelled.csv", "--label", "class").exit_code == 0
    assert "own by that name" in error_line(run, "score", model_copy, "labelled.csv", "--to", "new.csv", "--keep", "class")


def test_a_classifier_that_is_none_is_refused(model_copy: Path) -> None:
    opened = bundle.read(model_copy / "1")
    for content, message in ((b"nonsense", "can open"), (opened.model, "is not a classifier")):
        with pytest.raises(BundleCorrupt, match=message):
            Classifier(opened._replace(extra_files={"classifier.onnx": content}))
