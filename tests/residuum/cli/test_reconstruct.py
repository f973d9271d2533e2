"""`residuum reconstruct`: rows as the detector expects them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

import residuum
from tests.residuum.cli.running import TABLE_COLUMNS, Run


def test_reconstructed_rows_are_close_to_the_input_and_normal(run: Run, model: Path, table: Path, rows: pl.DataFrame) -> None:
    assert run("reconstruct", model, table, "--to", "rebuilt.csv").exit_code == 0
    rebuilt = pl.read_csv("rebuilt.csv", schema_overrides={"firmware": pl.String})
    assert rebuilt.columns == ["row", *TABLE_COLUMNS]
    assert set(rebuilt["machine"]) == {"press", "lathe", "mill"}
    assert np.corrcoef(rebuilt["temperature"][:80], rows["temperature"][:80].fill_null(strategy="mean"))[0, 1] > 0.9
    scored = residuum.load(model).score(rebuilt)
    assert scored["anomaly_score"].mean() < residuum.load(model).score(rows)["anomaly_score"].mean()
