"""`residuum picture`: a plot of the latent space."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from matplotlib import image

from tests.residuum.cli.running import Run, error_line


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--label", "state"), id="label"),
        pytest.param((), id="plain", marks=pytest.mark.long),
        pytest.param(("--label", "machine"), id="own column", marks=pytest.mark.long),
    ],
)
def test_rows_are_drawn(options: tuple[str, ...], run: Run, model: Path, rows: pl.DataFrame) -> None:
    states = pl.Series([f"s{row % 13}" if row % 5 else None for row in range(100)])
    rows.with_columns(state=states).write_csv("in.csv")
    result = run("picture", model, "in.csv", "--to", "picture.png", *options)
    assert result.exit_code == 0, result.output
    assert "100 drawn" in result.stdout
    pixels = image.imread("picture.png")
    assert pixels.shape[:2] == (900, 1200)
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2])[:, :3], axis=0)) > 50


def test_isolated_rows_are_explained(run: Run, model: Path, rows: pl.DataFrame) -> None:
    rows.with_columns(pressure=pl.when(pl.int_range(pl.len()) == 41).then(1e6).otherwise("pressure")).write_csv("in.csv")
    result = run("picture", model, "in.csv", "--to", "picture.png")
    assert result.exit_code == 0, result.output
    assert re.search(r"^shown +[\d.]+ % of the variance of the codes$", result.stdout, re.MULTILINE)
    assert re.search(r"^isolated +row 43: score .*, flagged; pressure = 1000000, expected ", result.stdout, re.MULTILINE)


def test_errors(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows[:2].write_csv("two.csv")
    assert "at least 3 rows; 2 can be drawn" in error_line(run, "picture", model, "two.csv", "--to", "p.png")
    assert "must be a .png file" in error_line(run, "picture", model, table, "--to", "p.jpg")
    assert "near: 'machine'" in error_line(run, "picture", model, table, "--to", "p.png", "--label", "machin")
    Path("there.png").write_text("mine")
    assert "--force" in error_line(run, "picture", model, table, "--to", "there.png")
