"""Bundles that all tests of `residuum` share; each is trained once per test run, whatever the number of processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alone import alone
from tests.residuum.cli.running import RUN, in_a_process
from tests.tables import normal_rows

ROWS = 400
TRAIN = f"import training.fit; training.fit.STEPS = 300; {RUN}"  # enough to find gross anomalies


@contextlib.contextmanager
def trained_once(run_folder: Path, name: str) -> Iterator[tuple[Path, bool]]:
    """Yield a folder of the test run, and whether it is still empty; other processes wait."""
    folder = run_folder / name
    folder.mkdir(exist_ok=True)
    with alone(folder / "lock"):
        yield folder, not (folder / "output").exists()


def train(folder: Path, *arguments: object, code: str = TRAIN) -> None:
    """Run `residuum train` and keep what it prints in `folder`."""
    done = in_a_process("train", *arguments, code=code)
    assert done.returncode == 0, done.stderr
    (folder / "output").write_text(done.stdout)


@pytest.fixture(scope="session")
def trained(run_folder: Path) -> tuple[Path, str]:
    """A bundle, and what training printed."""
    with trained_once(run_folder, "residuum-pumps") as (folder, is_empty):
        if is_empty:
            normal_rows(ROWS).write_csv(folder / "normal.csv")
            train(folder, folder / "normal.csv", "--variant", "denoising", "--to", folder / "models" / "pumps")
    return folder / "models" / "pumps", (folder / "output").read_text()


@pytest.fixture(scope="session")
def variational(run_folder: Path) -> Path:
    """A bundle with a prior; tests/training shares it."""
    from tests.training.conftest import Case, cases_folder, train_once

    return train_once(Case("variational"), cases_folder(run_folder)).folder
