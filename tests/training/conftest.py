"""One trained bundle a variant, shared by all tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from detector.scorer import Scorer
from tests.tables import normal_rows
from training import train as training
from training import variants
from training.fit import unwatched
from training.graph import DetectorGraph
from training.layout import arrange
from training.train import Recipe, Table


class Made(NamedTuple):
    """What a variant's training left behind."""

    variant: str
    table: pl.DataFrame
    folder: Path
    scorer: Scorer


def table_of(frame: pl.DataFrame) -> Table:
    """Give a frame as training takes it."""
    return Table(frame, np.arange(frame.height), [])


def make(variant: str, to: Path, seed: int = 0) -> Path:
    """Train a bundle on the tests' normal rows."""
    recipe = Recipe(variant=variant, false_alarm_rate=0.05, seed=seed)
    return training.train(table_of(normal_rows()), to, recipe).folder


@pytest.fixture(scope="session", params=list(variants.VARIANTS))
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Train each variant once."""
    folder = make(request.param, tmp_path_factory.mktemp("models") / request.param)
    return Made(request.param, normal_rows(), folder, Scorer.open(folder, "cpu"))


@pytest.fixture(scope="session")
def graph_of(made: Made) -> DetectorGraph:
    """Give the torch module behind the variant's bundle, trained again from the same seed."""
    recipe = Recipe(variant=made.variant, false_alarm_rate=0.05)
    material = training.prepare(table_of(made.table), recipe)
    layout = arrange(material.matrix[material.split.training], material.columns)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        cpu = torch.device("cpu")
        return training.learn(layout, material, variants.plan(made.variant), 0, cpu, unwatched)[0]
