"""`residuum decode`: rows of codes, and interpolation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from detector.columns import as_frame, encode
from detector.scorer import Scorer
from tests.residuum.cli.running import TABLE_COLUMNS, Run, edit_line, error_line


def test_decoded_codes_are_the_reconstructed_rows(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    assert run("embed", model, table, "--to", "codes.csv").exit_code == 0
    result = run("decode", model, "codes.csv", "--to", "again.ndjson")
    assert result.exit_code == 0, result.output
    again = pl.read_ndjson("again.ndjson")
    assert again.columns == ["row", *TABLE_COLUMNS]
    expected = as_frame(Scorer.open(model).graph.explain(_matrix(model, rows)).expected, Scorer.open(model).columns)
    assert again["machine"].to_list() == expected["machine"].to_list()
    assert np.allclose(again["flow"], expected["flow"], rtol=1e-4)


def test_interpolation_goes_from_one_row_to_the_other(run: Run, model: Path, table: Path) -> None:
    for name, options in {"codes.csv": [], "ends.csv": []}.items():
        assert run("embed" if name == "codes.csv" else "reconstruct", model, table, "--to", name, *options).exit_code == 0
    result = run("decode", model, table, "--between", "5", "42", "--steps", "7", "--to", "walk.csv")
    assert result.exit_code == 0, result.output
    walked, ends = pl.read_csv("walk.csv"), pl.read_csv("ends.csv")
    assert walked["step"].to_list() == [1, 2, 3, 4, 5, 6, 7]
    for step, row in ((0, 5), (6, 42)):
        assert walked["flow"][step] == pytest.approx(ends.filter(pl.col("row") == row)["flow"][0], rel=1e-4)
    assert run("decode", model, table, "--between", "42", "5", "--to", "back.csv").exit_code == 0
    assert pl.read_csv("back.csv").height == 10


def test_invalid_codes(run: Run, model: Path, table: Path) -> None:
    assert "lacks the columns 'latent_1'" in error_line(run, "decode", model, table, "--to", "rows.csv")
    Path("codes.csv").write_text("latent_1,latent_2,latent_3,latent_4\n1,2,,4\n1,2,3,4\ninf,2,3,4\n")
    assert run("decode", model, "codes.csv", "--to", "rows.csv").exit_code == 0
    assert pl.read_csv("rows.csv")["row"].to_list() == [3]
    rejects = pl.read_csv("rows.rejects.csv")
    assert rejects["row", "column", "expected"].rows() == [(2, "latent_3", "a finite number"), (4, "latent_1", "a finite number")]


def test_invalid_interpolations(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows.write_csv("a.csv")
    walk = ("decode", model, table, "--to", "walk.csv")
    assert "has no row 1 for --between: its rows are 2 to 101" in error_line(run, *walk, "--between", "1", "5")
    assert "at least 2; got 1" in error_line(run, *walk, "--between", "2", "5", "--steps", "1")
    assert "--steps needs --between and two row numbers" in error_line(run, *walk, "--steps", "5")
    assert "one file; 2 were given" in error_line(run, "decode", model, "a.csv", *walk[2:], "--between", "2", "5")
    edit_line(table, 7, lambda old: b"warm" + old[old.index(b",") :])
    assert "row 7, temperature: found 'warm', expected a number: give another row" in error_line(
        run, *walk, "--between", "2", "7"
    )


def _matrix(model: Path, rows: pl.DataFrame) -> np.ndarray:
    return encode(rows, Scorer.open(model).columns, np.arange(rows.height)).matrix
