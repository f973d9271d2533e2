"""`residuum train` on rows with a cell that is far from all others of its column."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from detector import bundle
from tests.residuum.cli.running import Run
from training import fit

ROWS = 1500
LINE = 479  # of the wrong cell, in a file with a header; its row is among the training rows


def weather(rows: int = ROWS) -> pl.DataFrame:
    """Return hours of weather: wind speeds up to about 45."""
    random = np.random.default_rng(0)
    temperature = 15 + 8 * np.sin(np.arange(rows) * 2 * np.pi / 24) + random.normal(0, 3, rows)
    return pl.DataFrame(
        {
            "temperature": temperature.round(1),
            "humidity": np.clip(70 - 1.5 * (temperature - 15) + random.normal(0, 6, rows), 5, 100).round(),
            "wind speed": random.gamma(4, 3, rows).round(1),
            "wind direction": random.uniform(0, 360, rows).round(),
        }
    )


def with_wind(table: pl.DataFrame, row: int, wind: float) -> pl.DataFrame:
    at = pl.int_range(table.height) == row
    return table.with_columns(pl.when(at).then(wind).otherwise("wind speed").alias("wind speed"))


@pytest.mark.parametrize("variant", [pytest.param("denoising", marks=pytest.mark.long), "memory"])
def test_one_wrong_row_is_listed_and_falsifies_no_reason(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    monkeypatch.setattr(fit, "STEPS", 200)
    with_wind(weather(), LINE - 2, 1048).write_csv(tmp_path / "normal.csv")
    with_wind(weather(20), 7, 140).write_csv(tmp_path / "new.csv")
    done = run("train", "normal.csv", "--to", "models/wind", "--variant", variant)
    assert done.exit_code == 0, done.output
    facts = {line[:11].strip(): line[11:] for line in done.stdout.splitlines()}
    assert facts["suspicious"].startswith("1 row with a cell far from all others of the column")
    assert "suspects.csv" in facts["suspicious"]
    assert f"normal.csv row {LINE}: wind speed: found 1048, expected " in done.stdout
    assert facts["note"] == "wind speed: its range and scale leave out 1 training cell far from all others"
    opened = bundle.read(tmp_path / "models" / "wind" / "1")
    (suspect,) = pl.read_csv(opened.extra_files["suspects.csv"]).rows(named=True)
    assert suspect["why"].startswith("found 1048, expected ")
    assert {**suspect, "why": ""} == {"file": "normal.csv", "line": LINE, "column": "wind speed", "why": ""}
    assert opened.manifest.training.rows.training + opened.manifest.training.rows.validation >= 0.7 * ROWS
    run("score", "models/wind", "new.csv", "--to", "scored.csv")
    scored = pl.read_csv(tmp_path / "scored.csv")
    assert scored["is_anomaly"][7]
    assert scored["reason_1"][7].startswith("wind speed = 140 (expected ")


@pytest.mark.long
def test_windows_with_a_wrong_row_list_it(run: Run, tmp_path: Path) -> None:
    table = with_wind(weather(400), 100, 1048).with_row_index("hour")
    table.write_csv(tmp_path / "normal.csv")
    done = run("train", "normal.csv", "--to", "models/wind", "--time", "hour", "--window", "6")
    assert done.exit_code == 0, done.output
    assert "normal.csv row 102: wind speed: found 1048, expected " in done.stdout
    column = next(c for c in bundle.read_manifest(tmp_path / "models" / "wind" / "1").columns if c.name == "wind speed")
    assert column.highest is not None
    assert column.highest < 100


def test_no_suspects_leaves_training_values_out_of_the_bundle(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 50)
    table = weather(600)
    with_wind(table.head(300), 5, 1048).write_csv(tmp_path / "1.csv")
    with_wind(table.tail(300), 9, -700).write_csv(tmp_path / "2.csv")
    done = run("train", "1.csv", "2.csv", "--to", "models/wind", "--fast", "--no-suspects")
    assert done.exit_code == 0, done.output
    assert "2 rows with cells far from all others" in done.stdout
    assert "1.csv row 7: wind speed: found 1048" in done.stdout
    assert "2.csv row 11: wind speed: found -700" in done.stdout
    folder = tmp_path / "models" / "wind" / "1"
    assert "suspects.csv" not in bundle.read_manifest(folder).files
    assert not (folder / "suspects.csv").exists()
    assert b"1048" not in (folder / "manifest.json").read_bytes()
