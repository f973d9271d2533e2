"""A bundle for windows of a series and rows of two machines; trained once per test run."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from tests.alone import alone
from tests.residuum.cli.running import RUN, in_a_process
from tests.tables import moved, series

LENGTH = 12
TODAY = "2026-03-03 06:00:00"
LEARN = f"import training.fit; training.fit.STEPS = 300; {RUN}"


def trained(run_folder: Path) -> tuple[Path, str]:
    """Return the bundle, `models/presses`, and the output of its training."""
    folder = run_folder / "presses"
    folder.mkdir(exist_ok=True)
    with alone(folder / "lock"):
        output = folder / "output"
        if not output.exists():
            pl.concat([series(240, 0), series(240, 1, "lathe")]).write_csv(folder / "normal.csv", separator=";")
            options = ("--time", "ts", "--key", "machine", "--window", str(LENGTH), "--max-gap", "1m")
            done = in_a_process("train", folder / "normal.csv", "--to", folder / "models" / "presses", *options, code=LEARN)
            assert done.returncode == 0, done.stderr
            assert "error" not in done.stderr  # lines about the progress, on a busy machine
            assert "warning" not in done.stderr.lower()
            output.write_text(done.stdout)
    return folder / "models" / "presses", output.read_text()


def today() -> pl.DataFrame:
    """Return interleaved rows of two machines; the level of one shifts."""
    return pl.concat([moved(series(80, 7, start=TODAY), 40), series(80, 8, "lathe", TODAY)]).sort("ts", "machine")
