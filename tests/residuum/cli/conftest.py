"""One detector for all tests of the command line, and ways to run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from residuum.cli import app
from tests.alone import alone
from tests.residuum.cli.running import RUN, in_a_process
from tests.tables import normal_rows, planted_anomalies

ROWS = 400
TRAIN = f"import training.fit; training.fit.STEPS = 300; {RUN}"  # good enough to tell what is grossly wrong

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a verb in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: object, stdin: bytes | None = None) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)], input=stdin)

    return invoke


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> tuple[Path, str]:
    """A bundle and what was said when it was made; the processes of one test run make it once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "command-line"
    folder.mkdir(exist_ok=True)
    with alone(folder / "lock"):
        said = folder / "said"
        if not said.exists():
            said.write_text(_train(folder, "models/pumps"))
    return folder / "models" / "pumps", said.read_text()


@pytest.fixture
def model(trained: tuple[Path, str]) -> Path:
    return trained[0]


@pytest.fixture(scope="session")
def dreams(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A bundle that has a prior."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "dreams"
    folder.mkdir(exist_ok=True)
    with alone(folder / "lock"):
        if not (folder / "models").exists():
            _train(folder, "models/dreams", "--variant", "variational")
    return folder / "models" / "dreams"


@pytest.fixture
def rows() -> pl.DataFrame:
    """Rows that training never saw, the last twenty anomalies."""
    return pl.concat([normal_rows(80, seed=5), planted_anomalies(20, seed=6)])


@pytest.fixture
def table(rows: pl.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "today.csv"
    rows.write_csv(path)
    return path


def _train(folder: Path, name: str, *options: str) -> str:
    normal_rows(ROWS).write_csv(folder / "normal.csv")
    done = in_a_process("train", folder / "normal.csv", "--to", folder / name, *options, code=TRAIN)
    assert done.returncode == 0, done.stderr
    return done.stdout
