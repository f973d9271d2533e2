"""`residuum train`: what it says, and what it will not do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest
from typer.testing import Result

from detector import bundle
from residuum.cli.train import VARIANTS
from tests.residuum.cli.conftest import TRAIN, Run
from tests.residuum.cli.running import RUN, in_a_process
from tests.tables import normal_rows
from training import fit, variants


def test_what_it_says(trained: tuple[Path, str]) -> None:
    folder, said = trained
    lines = said.splitlines()
    assert lines[0] == "promise    at most 1 % of normal rows are flagged, by 99 rows that training never saw"
    facts = {line[:11].strip(): line[11:] for line in lines}
    assert list(facts) == ["promise", "rows", "columns", "constant", "threshold", "training", "bundle", "next"]
    assert facts["rows"].startswith("400 used")
    assert "1 category (machine), 1 boolean (door_open), 1 date (at)" in facts["columns"]
    assert facts["constant"] == "firmware, slots"
    assert facts["bundle"] == f"{folder}/1"
    assert facts["next"] == f"residuum score {folder} NEW.csv --to scored.csv"


def test_wishes_rejects_and_a_lowered_promise(tmp_path: Path) -> None:
    table = normal_rows(80, seed=3).with_columns(id=pl.format("pump-{}", pl.int_range(80)), day=pl.int_range(80) * 2)
    table = table.with_columns(seen=pl.format("2026-03-02 12:{}:00", pl.int_range(80).mod(50) + 10))
    table.head(40).write_csv(tmp_path / "1.csv")
    table.tail(40).with_columns(pl.col("flow").cast(pl.String)).with_columns(
        pl.when(pl.int_range(40) == 7).then(pl.lit("much")).otherwise("flow").alias("flow")
    ).write_ndjson(tmp_path / "2.ndjson")
    wishes = ["--ignore", "bytes", "--category", "slots", "--time", "day", "--missing", "n.n.", "--rejects", "rejects.csv"]
    done = in_a_process("train", "1.csv", "2.ndjson", "--to", "models/few", *wishes, code=TRAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert "at most 3.2 % of normal rows" in first
    assert "too few for the usual 1 %" in first
    assert "the newest, if the future is like them" in first
    assert "1 row" in done.stdout
    assert "2.ndjson row 8: flow: found 'much', expected a number" in done.stdout
    assert "seen covers 0.02" in done.stdout
    assert "--ignore seen leaves it out" in done.stdout
    assert "id (looks like an identifier: 79 different texts" in done.stdout or "id (looks like an identifier" in done.stdout
    assert pl.read_csv(tmp_path / "rejects.csv").rows() == [("2.ndjson", 8, "flow", "'much'", "a number")]
    manifest = bundle.read_manifest(tmp_path / "models" / "few" / "1")
    assert manifest.training.order == "by day"
    assert manifest.missing == ("n.n.",)
    assert {ignored.name for ignored in manifest.ignored} == {"bytes", "id", "day"}
    assert next(column for column in manifest.columns if column.name == "slots").kind == "category"


def assert_refused(result: Result, says: str) -> None:
    """Check for an error of one line, and that nothing was written."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert not Path("models").exists()


@pytest.fixture
def normal(tmp_path: Path) -> Path:
    path = tmp_path / "normal.csv"
    normal_rows(60).write_csv(path)
    return path


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--category", "machin"], "near: 'machine'"),
        (["--ignore", "flow", "--numeric", "flow"], "more than one"),
        (["--false-alarm-rate", "0.001"], "The smallest rate"),
        (["--false-alarm-rate", "2"], "between 0 and 1"),
        (["--variant", "denoisin"], "near: 'denoising'"),
    ],
    ids=["unknown", "twice", "rate", "no rate", "variant"],
)
def test_what_cannot_be_honoured(options: list[str], says: str, run: Run, normal: Path) -> None:
    assert_refused(run("train", normal, "--to", "models/new", *options), says)


def settings_of(folder: Path) -> dict[str, object]:
    manifest = bundle.read_manifest(folder)
    return {"variant": manifest.variant, **manifest.settings}


def test_settings_from_the_command_line_win_over_the_file(run: Run, normal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 50)
    Path("settings.toml").write_text('variant = "sparse"\ndriver = "top-k"\nk = 3\nsizes = [16, 8]\n')
    options = ["--config", "settings.toml", "--set", "k=5", "--set", "activation=tanh"]
    assert run("train", normal, "--to", "models/new", *options).exit_code == 0
    assert settings_of(Path("models/new/1")).items() >= {
        "variant": "sparse", "driver": "top-k", "k": 5, "sizes": "16-8", "activation": "tanh"
    }.items()  # fmt: skip
    Path("settings.toml").write_text('variant = "sparse"\nlatent = 4\n')
    assert run("train", normal, "--to", "models/new", "--variant", "plain", "--config", "settings.toml").exit_code == 0
    assert settings_of(Path("models/new/2")).items() >= {"variant": "plain", "latent": 4}.items()


@pytest.mark.parametrize(
    ("options", "says"),
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
def test_settings_that_cannot_be(options: list[str], says: str, run: Run, normal: Path) -> None:
    sets = [part for text in options for part in ("--set", text)]
    assert_refused(run("train", normal, "--to", "models/new", *sets), says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "settings.toml cannot be read: No such file or directory"),
        ("level = = 3", "settings.toml is not a TOML file of settings: Invalid value (at line 1, column 9)"),
        ("levl = 0.1", "there is no setting 'levl'"),
        ("level = inf", "the setting level=inf is not valid; level takes a number above 0 but below 1"),
        ("level = true", "the setting level=True cannot be"),
        ("[settings]\nlevel = 0.1", "there is no setting 'settings'"),
        ("variant = 3", "there is no variant '3'; there are denoising, plain,"),
    ],
    ids=["missing", "broken", "unknown", "infinite", "type", "nested", "variant"],
)
def test_files_of_settings_that_cannot_be(text: str | None, says: str, run: Run, normal: Path) -> None:
    if text is not None:
        Path("settings.toml").write_text(text)
    assert_refused(run("train", normal, "--to", "models/new", "--config", "settings.toml"), says)


def test_help_lists_every_variant() -> None:
    assert tuple(variants.VARIANTS) == VARIANTS


def test_a_seed_that_torch_cannot_take(run: Run, normal: Path) -> None:
    result = run("train", normal, "--to", "models/new", "--seed", 2**63)
    assert result.exit_code == 2, result.output
    assert "not in the range" in result.stderr


def test_too_few_rows(run: Run, normal: Path) -> None:
    Path("few.csv").write_text("\n".join(normal.read_text().splitlines()[:8]))
    assert "at least 20 are needed" in run("train", "few.csv", "--to", "models/new").stderr


def test_rejects_that_leave_too_few_rows_are_told(run: Run) -> None:
    Path("1.csv").write_text("a,b\n" + "1,2\n" * 10)
    Path("2.csv").write_text("a,b\n" + "1,2\n" * 5 + "x,2\n3\n" + "y,2\n" * 8)
    says = "15 usable rows are too few to train on: at least 20 are needed; 10 of 25 rows were rejected, the first: "
    assert_refused(run("train", "1.csv", "2.csv", "--numeric", "a", "--to", "models/new"), f"{says}2.csv row 7: a: found 'x', ")
    alone = "10 of 15 rows were rejected, the first: row 7: a: "
    assert_refused(run("train", "2.csv", "--numeric", "a", "--to", "models/new"), alone)


def test_rows_that_are_all_alike(run: Run) -> None:
    Path("same.csv").write_text("a,b\n" + "1,x\n" * 60)
    assert_refused(run("train", "same.csv", "--to", "models/new"), "every column is constant in the training rows")


def test_files_with_other_columns(run: Run, normal: Path) -> None:
    normal_rows(30).drop("flow").with_columns(more=1).write_csv("other.csv")
    said = run("train", normal, "other.csv", "--to", "models/new").stderr
    assert "other.csv has other columns" in said
    assert "lacks 'flow'" in said
    assert "has 'more' besides" in said


def test_without_its_libraries_it_says_how_to_get_them(normal: Path) -> None:
    for library in ("torch", "sklearn", "onnxscript"):
        code = f"import sys; sys.modules['{library}'] = None; {RUN}"
        done: subprocess.CompletedProcess[str] = in_a_process("train", normal, "--to", "models/new", code=code)
        assert done.returncode == 2, done.stderr
        assert library in done.stderr
        assert "pip install '.[train]'" in done.stderr
