"""Every command and every line of Python that the README shows runs as it stands."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.project.documents import blocks, fenced_lines, words_of
from tests.tables import normal_rows, planted_anomalies

RUN = "import sys, training.fit; training.fit.STEPS = 300; sys.argv[0] = 'residuum'; from residuum.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    normal_rows(600).write_csv(folder / "normal.csv")
    today = pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])
    today.write_csv(folder / "today.csv")
    today.with_columns(is_bad=pl.Series([False] * 80 + [True] * 20)).write_csv(folder / "labelled.csv")
    return folder


def test_every_command_runs(project: Path, folder: Path) -> None:
    commands = [words[1:] for line in fenced_lines(project / "README.md") if (words := words_of(line))[:1] == ["residuum"]]
    assert {command[0] for command in commands} >= {"train", "score", "evaluate"}
    for command in commands:
        ran = subprocess.run([sys.executable, "-c", RUN, *command], cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f"residuum {' '.join(command)}: {ran.stderr}"
    assert pl.read_csv(folder / "scored.csv").height == 100
    assert pl.read_csv(folder / "walk.csv").height == 9
    assert pl.read_csv(folder / "new.csv").height == 1000


def test_every_line_of_python_runs(
    project: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import fit

    monkeypatch.setattr(fit, "STEPS", 300)
    monkeypatch.chdir(folder)
    given = {name: pl.read_csv(f"{name}.csv").to_pandas() for name in ("normal", "today")}
    shown = list(blocks(project / "README.md", "python"))
    assert shown
    for block in shown:
        exec(compile(block, "README.md", "exec"), given)  # noqa: S102 - the README is ours
    assert "of the score" in capsys.readouterr().out
