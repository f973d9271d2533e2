"""Ways to run the command line, and tables for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from residuum.cli import app
from tests.residuum.cli.running import Run
from tests.tables import normal_rows, planted_anomalies


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("residuum.training_progress.FIRST_LINE", 600.0)  # none on a busy machine either

    def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)], input=stdin)

    return invoke


@pytest.fixture
def model(trained: tuple[Path, str]) -> Path:
    return trained[0]


@pytest.fixture
def model_copy(model: Path, tmp_path: Path) -> Path:
    """A bundle that a test may add versions to."""
    shutil.copytree(model, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def rows() -> pl.DataFrame:
    """Rows held out from training, the last twenty anomalies."""
    return pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])


@pytest.fixture
def table(rows: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "today.csv"
    rows.write_csv(path)
    return path


@pytest.fixture
def labelled(rows: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "labelled.csv"
    rows.with_columns(state=pl.Series(["ok"] * 80 + ["leak"] * 15 + ["fire"] * 5)).write_csv(path)
    return path
