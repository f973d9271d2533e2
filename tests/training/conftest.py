"""One trained bundle a case, made once for all processes of a test run and shared by all tests of this folder."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from detector.columns import Column, encode
from detector.images import ImageSpec
from detector.scorer import Scorer
from tests import images
from tests.alone import alone
from tests.tables import normal_rows, planted_anomalies, planted_shares, shares
from training import fit, variants
from training import train as training
from training.features import Cells, Features
from training.fit import ignore_progress
from training.graph import DetectorGraph
from training.image_table import ImageTable
from training.kinds import ColumnOptions, infer
from training.layout import build_layout, vocabularies
from training.recipe import Recipe, Table

STEPS = 400  # enough to tell planted anomalies from normal rows, and trained in two seconds
RATE = 0.05


class Case(NamedTuple):
    """A variant with settings; under a Bernoulli likelihood it learns from a table of shares in [0, 1].

    With an image it learns from images of that kind: files, or rows of pixels.
    """

    variant: str
    settings: tuple[tuple[str, str], ...] = ()
    image: ImageSpec | None = None

    @property
    def name(self) -> str:
        seen = [f"{self.image.mode} {self.image.size}"] if self.image else []
        return " ".join([self.variant, *seen, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def is_bernoulli(self) -> bool:
        return BERNOULLI in self.settings

    @property
    def recipe(self) -> Recipe:
        return Recipe(variant=self.variant, settings=dict(self.settings), false_alarm_rate=RATE, image=self.image)

    def table(self) -> Table | ImageTable:
        """Give what it learns from."""
        if self.image and self.image.files:
            return ImageTable(self.image, self.normal().to_numpy(), [])
        return table_of(self.normal())

    def normal(self, rows: int = 500, seed: int = 0) -> pl.DataFrame:
        if self.image:
            return pixels(images.plates(rows, seed, self.image), self)
        return shares(rows, seed) if self.is_bernoulli else normal_rows(rows, seed)

    def odd(self) -> pl.DataFrame:
        if self.image:
            return pixels(images.spotted(60, 7, self.image), self)
        return planted_shares() if self.is_bernoulli else planted_anomalies()


BERNOULLI = ("likelihood", "bernoulli")
OF_ROWS = [name for name, variant in variants.VARIANTS.items() if not variant.takes_instead]  # the others: `test_series`
GAUSSIAN_CASES = [Case(name) for name in OF_ROWS]
BERNOULLI_CASES = [Case(name, (BERNOULLI,)) for name in OF_ROWS]
SHORT = ("plain", "variational")  # under a Bernoulli likelihood
CASES = [
    *GAUSSIAN_CASES,
    *(pytest.param(case, marks=[] if case.variant in SHORT else [pytest.mark.long]) for case in BERNOULLI_CASES),
]
SMALL = (("sizes", "8"), ("components", "8"), ("places", "1"))
IMAGE_CASES = [
    Case("convolutional", SMALL, ImageSpec(width=64, height=64, mode="rgb")),
    Case("convolutional", SMALL, ImageSpec(width=23, height=14, files=False)),
    *(
        pytest.param(case, marks=pytest.mark.long)
        for case in (
            Case("convolutional", (*SMALL, ("score", "mse"), ("light", "linear")), ImageSpec(width=20, height=20)),
            Case("convolutional", (*SMALL, BERNOULLI), ImageSpec(width=20, height=20, files=False)),
        )
    ),
]


class Made(NamedTuple):
    """What a case's training left behind."""

    case: Case
    folder: Path
    scorer: Scorer


def pixels(matrix: np.ndarray, case: Case) -> pl.DataFrame:
    """Give images as rows of pixels; those of a table, and probabilities, in [0, 1]."""
    assert case.image is not None
    frame = images.as_table(matrix, case.image)
    return frame if case.image.files else frame.select(pl.all().cast(pl.Float64) / 255)


def table_of(frame: pl.DataFrame) -> Table:
    """Give a frame as training takes it."""
    return Table(frame, np.arange(frame.height), [])


def cells_of(frame: pl.DataFrame) -> tuple[Features, Cells]:
    """Give a frame's rows as a network takes them in training, scaled by all of them."""
    columns, matrix = encoded(frame)
    features = Features(build_layout(matrix, columns))
    cells = features(torch.from_numpy(matrix))
    return features, cells._replace(values=cells.values.float())


def encoded(frame: pl.DataFrame) -> tuple[list[Column], np.ndarray]:
    """Give a frame's columns and its matrix, by the steps that training takes."""
    kinds = infer(frame, ColumnOptions(), frozenset())
    columns, _ = vocabularies(frame, kinds.columns, frozenset())
    return columns, encode(frame, columns, np.arange(frame.height)).matrix


def make(case: Case, to: Path) -> Path:
    """Train a bundle on the case's normal rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS", STEPS)
        return training.train(case.table(), to, case.recipe).folder


@functools.lru_cache(maxsize=4)
def learnt(case: Case) -> DetectorGraph:
    """Give the torch module behind the case's bundle, trained again from the same seed."""
    table = case.table()
    prepare = training.prepare_pictures if isinstance(table, ImageTable) else training.prepare
    material = prepare(table, case.recipe)
    plan = variants.plan(case.variant, dict(case.settings))
    layout = training.lay_out(material, plan)
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS", STEPS)
        torch.manual_seed(0)
        return training.learn(layout, material, plan, 0, torch.device("cpu"), ignore_progress).graph


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder in which all processes of a test run keep the bundles they made."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "cases"
    folder.mkdir(exist_ok=True)
    return folder


def made_once(case: Case, bundles: Path) -> Made:
    """Train the case unless another process did."""
    to = bundles / case.name.replace(" ", "-")
    with alone(bundles / f"{to.name}.lock"):
        folder = to / "1" if (to / "1").exists() else make(case, to)
    return Made(case, folder, Scorer.open(folder, "cpu"))


@pytest.fixture(scope="session", params=[*CASES, *IMAGE_CASES], ids=lambda case: case.name)
def made(request: pytest.FixtureRequest, bundles: Path) -> Made:
    """Every variant under every likelihood, on tables and on images."""
    return made_once(request.param, bundles)


@pytest.fixture(scope="session", params=CASES, ids=lambda case: case.name)
def tabular(request: pytest.FixtureRequest, bundles: Path) -> Made:
    """Every variant that learns from rows under every likelihood."""
    return made_once(request.param, bundles)


@pytest.fixture(scope="session", params=IMAGE_CASES, ids=lambda case: case.name)
def seen(request: pytest.FixtureRequest, bundles: Path) -> Made:
    """Images of every kind."""
    return made_once(request.param, bundles)


@pytest.fixture(scope="session", params=GAUSSIAN_CASES, ids=lambda case: case.name)
def mixed(request: pytest.FixtureRequest, bundles: Path) -> Made:
    """Every variant on a table of mixed columns."""
    return made_once(request.param, bundles)
