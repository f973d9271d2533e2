"""The memory: what it recalls, how many rows it keeps, and that it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from residuum.cli import app
from tests.tables import normal_rows
from tests.training.conftest import cells_of
from training.networks import Memory


def learned(rows: int, size: int) -> tuple[Memory, torch.Tensor]:
    features, cells = cells_of(normal_rows(rows, seed=0, holes=0.0))
    memory, inputs = Memory(features), features.inputs(cells)
    memory.learn(inputs, size, seed=0)
    return memory, inputs


def test_a_row_that_is_kept_recalls_one_like_itself() -> None:
    memory, inputs = learned(200, 512)
    recalled = memory(inputs)
    assert memory.stored_rows == len(memory.prototypes) == 200
    own = ((recalled.values - recalled.mean) ** 2).sum(dim=1)
    shuffled = ((recalled.values - recalled.mean.roll(1, dims=0)) ** 2).sum(dim=1)
    assert own.median() < 0.2 * shuffled.median()


def test_more_rows_than_prototypes_are_centroids() -> None:
    memory, _ = learned(400, 64)
    assert len(memory.prototypes) <= 64
    assert memory.stored_rows == 0
    assert float(torch.exp(memory.log_weight).mean()) == pytest.approx(1.0)


def test_a_missing_cell_takes_part_in_no_distance() -> None:
    memory, inputs = learned(200, 512)
    hidden = inputs.clone()
    width = memory.split[0]
    hidden[:, width] = 0.0  # the presence of the first column
    changed = hidden.clone()
    changed[:, 0] += 50.0  # its value, which must not matter now
    for one, other in zip(memory(hidden), memory(changed), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_rows_that_may_be_anomalies_are_not_remembered() -> None:
    random = np.random.default_rng(0)
    normal = random.normal(size=(190, 4)) @ random.normal(size=(4, 6))
    anomalies = random.normal(size=(10, 6)) * 0.1 + 12.0  # alike: each has the others as neighbours
    features, cells = cells_of(pl.DataFrame(np.vstack([normal, anomalies]), schema=[f"x{index}" for index in range(6)]))
    crowd = {}
    for contamination in (0.0, 0.05):
        memory = Memory(features)
        memory.learn(features.inputs(cells), 1024, 0, contamination)
        crowd[contamination] = memory(features.inputs(cells)).crowd[:, 0]
        assert len(memory.prototypes) == 200 - round(2 * contamination * 200)
    usual = crowd[0.05][:190].quantile(0.99)
    assert bool((crowd[0.05][190:] > usual).all())
    assert not bool((crowd[0.0][190:] > usual).any())


def test_the_summary_says_that_rows_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame({"x": np.random.default_rng(0).normal(size=120).tolist(), "y": np.linspace(0, 1, 120) ** 2}).write_csv(
        "normal.csv"
    )
    command = ["train", "normal.csv", "--to", "small", "--variant", "memory", "--numeric", "x", "--numeric", "y"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "the bundle holds 120 training rows as they are" in " ".join(done.stdout.split())
    assert "the bundle holds 120 training rows" in " ".join(CliRunner().invoke(app, ["inspect", "small"]).stdout.split())
