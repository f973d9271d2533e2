"""`residuum train`: what it says, and what it will not do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import polars as pl
import pytest

from detector import bundle
from tests.residuum.cli.conftest import TRAIN, Run
from tests.residuum.cli.running import RUN, in_a_process
from tests.tables import normal_rows


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
    assert "id (looks like an identifier: 79 different texts" in done.stdout or "id (looks like an identifier" in done.stdout
    assert pl.read_csv(tmp_path / "rejects.csv").rows() == [("2.ndjson", 8, "flow", "'much'", "a number")]
    manifest = bundle.read_manifest(tmp_path / "models" / "few" / "1")
    assert manifest.training.order == "by day"
    assert manifest.missing == ("n.n.",)
    assert {ignored.name for ignored in manifest.ignored} == {"bytes", "id", "day"}
    assert next(column for column in manifest.columns if column.name == "slots").kind == "category"


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
    result = run("train", normal, "--to", "models/new", *options)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert not Path("models").exists()


def test_a_seed_that_torch_cannot_take(run: Run, normal: Path) -> None:
    result = run("train", normal, "--to", "models/new", "--seed", 2**63)
    assert result.exit_code == 2, result.output
    assert "not in the range" in result.stderr


def test_too_few_rows(run: Run, normal: Path) -> None:
    Path("few.csv").write_text("\n".join(normal.read_text().splitlines()[:8]))
    assert "at least 20 are needed" in run("train", "few.csv", "--to", "models/new").stderr


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
        assert "pip install 'residuum[train]'" in done.stderr
