"""`residuum train`: what it prints, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import Result

from detector import bundle
from detector.errors import SettingError
from tests.residuum.cli.running import Run
from tests.tables import normal_rows
from training import fit, variants
from training.kinds import ColumnOptions
from training.recipe import Recipe


def test_the_summary(trained: tuple[Path, str]) -> None:
    folder, summary = trained
    lines = summary.splitlines()
    assert lines[0] == "promise    at most 1 % of normal rows are flagged, calibrated on 99 rows held out from training"
    facts = {line[:11].strip(): line[11:] for line in lines}
    assert list(facts) == ["promise", "rows", "columns", "constant", "threshold", "training", "bundle", "next"]
    assert facts["rows"].startswith("400 used")
    assert "1 category (machine), 1 boolean (door_open), 1 date (at)" in facts["columns"]
    assert facts["constant"] == "firmware, slots"
    assert facts["bundle"] == f"{folder}/1"
    assert facts["next"] == f"residuum score {folder} NEW.csv --to scored.csv"


def test_column_options_rejects_and_a_lowered_promise(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 100)
    table = normal_rows(80, seed=3).with_columns(id=pl.format("pump-{}", pl.int_range(80)), day=pl.int_range(80) * 2)
    table = table.with_columns(seen=pl.format("2026-03-02 12:{}:00", pl.int_range(80).mod(50) + 10))
    table.head(40).write_csv(tmp_path / "1.csv")
    table.tail(40).with_columns(pl.col("flow").cast(pl.String)).with_columns(
        pl.when(pl.int_range(40) == 7).then(pl.lit("much")).otherwise("flow").alias("flow")
    ).write_ndjson(tmp_path / "2.ndjson")
    options = ["--ignore", "bytes", "--category", "slots", "--time", "day", "--missing", "n.n.", "--rejects", "rejects.csv"]
    done = run("train", "1.csv", "2.ndjson", "--to", "models/few", *options)
    assert done.exit_code == 0, done.output
    first = done.stdout.splitlines()[0]
    assert "at most 3.2 % of normal rows" in first
    assert "too few for the default of 1 %" in first
    assert "if the future is like the newest" in first
    assert "1 row" in done.stdout
    assert "2.ndjson row 8: flow: found 'much', expected a number" in done.stdout
    assert "seen covers 0.02" in done.stdout
    assert "to leave it out: --ignore seen" in done.stdout
    assert "id (looks like an identifier: 79 different texts" in done.stdout or "id (looks like an identifier" in done.stdout
    assert pl.read_csv(tmp_path / "rejects.csv").rows() == [("2.ndjson", 8, "flow", "'much'", "a number")]
    manifest = bundle.read_manifest(tmp_path / "models" / "few" / "1")
    assert manifest.training.order == "by day"
    assert manifest.missing == ("n.n.",)
    assert {ignored.name for ignored in manifest.ignored} == {"bytes", "id", "day"}
    assert next(column for column in manifest.columns if column.name == "slots").kind == "category"


def assert_fails(result: Result, message: str) -> None:
    """Check for a one-line error, and that nothing was written."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert not Path("models").exists()


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    path = tmp_path / "normal.csv"
    normal_rows(60).write_csv(path)
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--category", "machin"], "near: 'machine'"),
        (["--ignore", "flow", "--numeric", "flow"], "more than one"),
        (["--false-alarm-rate", "0.001"], "The smallest rate"),
        (["--false-alarm-rate", "2"], "between 0 and 1"),
        (["--variant", "denoisin"], "near: 'denoising'"),
    ],
    ids=["unknown", "twice", "rate", "no rate", "variant"],
)
def test_invalid_options(options: list[str], message: str, run: Run, normal: Path) -> None:
    assert_fails(run("train", normal, "--to", "models/new", *options), message)


@pytest.fixture
def recipes(monkeypatch: pytest.MonkeyPatch) -> list[Recipe]:
    """The recipes that `train` is called with, instead of training."""
    found: list[Recipe] = []

    def stop(_table: object, _to: object, recipe: Recipe, *_callbacks: object) -> None:
        found.append(recipe)
        raise SettingError("stopped by the test")

    monkeypatch.setattr("training.train.train", stop)
    return found


def test_settings_from_the_command_line_win_over_the_file(run: Run, normal: Path, recipes: list[Recipe]) -> None:
    Path("settings.toml").write_text('variant = "sparse"\ndriver = "top-k"\nk = 3\nsizes = [16, 8]\n')
    options = ["--config", "settings.toml", "--set", "k=5", "--set", "activation=tanh"]
    assert_fails(run("train", normal, "--to", "models/new", *options), "stopped by the test")
    Path("settings.toml").write_text('variant = "sparse"\nlatent = 4\n')
    assert_fails(run("train", normal, "--to", "models/new", "--variant", "plain", "--config", "settings.toml"), "stopped")
    sparse, plain = recipes
    assert (sparse.variant, plain.variant) == ("sparse", "plain")
    assert sparse.settings == {"driver": "top-k", "k": "5", "sizes": [16, 8], "activation": "tanh"}
    assert plain.settings == {"latent": 4}


def test_options_reach_the_recipe(run: Run, normal: Path, recipes: list[Recipe]) -> None:
    assert_fails(run("train", normal, "--to", "models/new"), "stopped by the test")
    assert recipes == [Recipe()]
    options = ["--seed", "7", "--time", "at", "--window", "3", "--stride", "2", "--max-gap", "2h", "--device", "cpu"]
    assert_fails(run("train", normal, "--to", "models/new", *options, "--key", "machine", "--variant", "plain"), "stopped")
    columns = ColumnOptions(time="at", key="machine")
    assert recipes[1] == Recipe(
        variant="plain", seed=7, columns=columns, window=3, stride=2, max_gap=7200.0, device="cpu"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["levl=0.1"], "there is no setting 'levl' (near: 'level'); there are: sizes=128-128, latent=0, activation=silu,"),
        (["variant=plain"], "there is no setting 'variant'"),
        (["level=2"], "the setting level=2 is not valid; level takes a number above 0 but below 1"),
        (["latent=3.5"], "latent takes a whole number from 0 up to 4,096"),
        (["corruption=noise"], "corruption takes dropout, gaussian, masking, salt-and-pepper or swap"),
        (["sizes=300-x"], "sizes takes widths such as 300-150, each from 1 up to 4,096, or none"),
        (["score=elbo"], "score takes mse or whitened"),
        (["level"], "--set takes key=value, such as latent=16; got 'level'"),
        (["=3"], "--set takes key=value, such as latent=16; got '=3'"),
    ],
    ids=["unknown", "variant", "range", "whole", "one of", "sizes", "score", "no equals", "no key"],
)
def test_invalid_settings(options: list[str], message: str, run: Run, normal: Path) -> None:
    sets = [part for text in options for part in ("--set", text)]
    assert_fails(run("train", normal, "--to", "models/new", "--variant", "denoising", *sets), message)


@pytest.mark.parametrize(("option", "variant"), [("--fast", "denoising"), ("--best", "hybrid"), ("--no-memory", "denoising")])
def test_an_option_stands_for_a_variant(option: str, variant: str, run: Run, normal: Path, recipes: list[Recipe]) -> None:
    assert_fails(run("train", normal, "--to", "models/new", option), "stopped by the test")
    assert_fails(run("train", normal, "--to", "models/new", option, "--variant", variant), "stopped by the test")
    assert [recipe.variant for recipe in recipes] == [variant, variant]
    assert_fails(
        run("train", normal, "--to", "models/new", option, "--variant", "memory"), f"{option} and --variant name different"
    )
    assert_fails(run("train", normal, "--to", "models/new", option, "--time", "at", "--window", "3"), "is for single rows")


def test_options_that_stand_for_different_variants(run: Run, normal: Path) -> None:
    assert_fails(run("train", normal, "--to", "models/new", "--fast", "--best"), "--fast and --best")


def test_few_rows_are_cross_fitted_by_default(run: Run, normal: Path) -> None:
    done = run("train", normal, "--to", "models/new")
    facts = " ".join(done.stdout.split())
    assert "promise about 1.7 % of normal rows are flagged, calibrated on 60 rows, each scored by a model that" in facts
    assert "60 used, shuffled: all for training; each of 10 folds is held out once for calibration" in facts
    assert "the bundle holds 60 training rows as they are; if this is not acceptable, train with --no-memory" in facts
    manifest = bundle.read(Path("models/new/1")).manifest
    assert (manifest.variant, manifest.decision.promise, manifest.training.folds) == ("memory", "empirical", 10)
    assert manifest.training.rows.training == manifest.training.rows.calibration == 60
    dry = run("calibrate", "models/new", "--false-alarm-rate", "0.05", "--dry-run")
    assert "scores out of fold" in dry.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "settings.toml cannot be read: No such file or directory"),
        ("level = = 3", "settings.toml is not a TOML file of settings: Invalid value (at line 1, column 9)"),
        ("levl = 0.1", "there is no setting 'levl'"),
        ('variant = "denoising"\nlevel = inf', "the setting level=inf is not valid; level takes a number above 0 but below 1"),
        ('variant = "denoising"\nlevel = true', "the setting level=True is not valid"),
        ("[settings]\nlevel = 0.1", "there is no setting 'settings'"),
        ("variant = 3", "there is no variant '3'; there are memory, denoising,"),
    ],
    ids=["missing", "broken", "unknown", "infinite", "type", "nested", "variant"],
)
def test_invalid_files_of_settings(text: str | None, message: str, run: Run, normal: Path) -> None:
    if text is not None:
        Path("settings.toml").write_text(text)
    assert_fails(run("train", normal, "--to", "models/new", "--config", "settings.toml"), message)


def test_help_lists_every_variant_and_the_defaults_of_the_recipe(run: Run) -> None:
    shown = " ".join(run("train", "--help").stdout.replace("│", " ").split())
    assert f"The autoencoder: {', '.join(variants.VARIANTS)}." in shown
    assert "[default: (0.01, or the lowest that the rows can promise)]" in shown
    assert f"[default: ({Recipe().stride})]" in shown


def test_a_seed_out_of_range(run: Run, normal: Path) -> None:
    result = run("train", normal, "--to", "models/new", "--seed", 2**63)
    assert result.exit_code == 2, result.output
    assert "is not between 0 and" in result.stderr


def test_too_few_rows(run: Run, normal: Path) -> None:
    Path("few.csv").write_text("\n".join(normal.read_text().splitlines()[:8]))
    assert "at least 20 are needed" in run("train", "few.csv", "--to", "models/new").stderr


def test_rejects_that_leave_too_few_rows_are_counted(run: Run) -> None:
    Path("1.csv").write_text("a,b\n" + "1,2\n" * 10)
    Path("2.csv").write_text("a,b\n" + "1,2\n" * 5 + "x,2\n3\n" + "y,2\n" * 8)
    message = "15 usable rows are too few to train on: at least 20 are needed; 10 of 25 rows were rejected, the first: "
    assert_fails(run("train", "1.csv", "2.csv", "--numeric", "a", "--to", "models/new"), f"{message}2.csv row 7: a: found 'x', ")
    alone = "10 of 15 rows were rejected, the first: row 7: a: "
    assert_fails(run("train", "2.csv", "--numeric", "a", "--to", "models/new"), alone)


def test_identical_rows(run: Run) -> None:
    Path("same.csv").write_text("a,b\n" + "1,x\n" * 60)
    assert_fails(run("train", "same.csv", "--to", "models/new"), "every column is constant in the training rows")


def test_files_with_different_columns(run: Run, normal: Path) -> None:
    normal_rows(30).drop("flow").with_columns(more=1).write_csv("other.csv")
    message = run("train", normal, "other.csv", "--to", "models/new").stderr
    assert "other.csv has other columns" in message
    assert "lacks 'flow'" in message
    assert "also has 'more'" in message


@pytest.mark.parametrize("library", ["torch", "sklearn", "onnxscript"])
def test_a_missing_library_is_named_with_the_way_to_install_it(
    library: str, run: Run, normal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    result = run("train", normal, "--to", "models/new")
    assert_fails(result, library)
    assert "pip install 'residuum[train]'" in result.stderr
