"""`residuum embed`: codes of rows."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import residuum
from tests.residuum.cli.running import Run


def test_codes_are_those_of_the_graph(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    result = run("embed", model, table, "--to", "codes.parquet")
    assert result.exit_code == 0, result.output
    codes = pl.read_parquet("codes.parquet")
    assert codes.columns == ["row", "latent_1", "latent_2", "latent_3", "latent_4"]
    assert codes["row"].to_list() == list(range(2, 102))
    assert codes.drop("row").equals(residuum.load(model).embed(rows).cast(pl.Float32))
    assert codes["latent_1"].n_unique() > 90


def test_codes_of_several_files_name_the_file(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    rows.write_csv("a.csv")
    assert run("embed", model, "a.csv", table, "--to", "codes.csv").exit_code == 0
    assert pl.read_csv("codes.csv")["file"].unique(maintain_order=True).to_list() == ["a.csv", str(table)]
