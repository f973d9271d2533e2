"""Run what a document shows: its commands in this process, its Python, over files that it names."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from detector import images as image_files
from residuum.cli import app
from tests import images
from tests.data.make_bundle import KEPT
from tests.project.documents import blocks, commands, name_of
from tests.tables import normal_rows, planted_anomalies, series

NOT_HERE = {"serve", "stream", "replay"}  # they run until they are stopped: other tests start them
CLIENT = "http.client"  # Python that asks a service
STEPS = 100  # of training


def write_files(folder: Path) -> Path:
    """Write the files that documents name, and a bundle `models/pumps`."""
    normal_rows(600).write_csv(folder / "normal.csv")
    normal_rows(600, seed=3).drop_nulls("at").write_csv(folder / "newer.csv")
    today = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    pl.concat([series(200, 0), series(200, 1, "lathe")]).write_csv(folder / "series.csv")
    today.write_csv(folder / "today.csv")
    today.with_columns(is_bad=pl.Series([False] * 80 + [True] * 20)).write_csv(folder / "labelled.csv")
    plates = getattr(image_files, "ImageSpec", None) or image_files.Image
    spec = plates(width=16, height=16)
    images.write(images.plates(60, 0, spec), spec, folder / "tiles" / "good")
    images.write(images.spotted(4, 1, spec), spec, folder / "tiles" / "spot")
    images.as_table(images.plates(120, 2, spec), spec).write_csv(folder / "pixels.csv")
    shutil.copytree(KEPT, folder / "models" / "pumps" / "1")
    return folder


def run_commands(document: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run a document's commands in the current folder, with short trainings; return their names."""
    from training import fit

    monkeypatch.setattr(fit, "STEPS", STEPS)
    ran = set()
    for words in commands(document):
        if words[0] in NOT_HERE or "--url" in words:
            continue
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{name_of(document)}: residuum {' '.join(words)}: {result.output}"
        ran.add(words[0])
    return ran


def run_python(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a document's Python in the current folder, with `normal` and `today` as pandas frames."""
    from training import fit

    monkeypatch.setattr(fit, "STEPS", 3 * STEPS)
    names = {name: pl.read_csv(f"{name}.csv").to_pandas() for name in ("normal", "today")}
    shown = [block for block in blocks(document, "python") if CLIENT not in block]
    assert shown
    for block in shown:
        exec(compile(block, name_of(document), "exec"), names)  # noqa: S102 - the document is ours
