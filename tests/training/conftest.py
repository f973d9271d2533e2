"""One trained bundle for each case, made once for all processes of a test run and shared by all tests of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch

from detector import bundle
from detector.columns import Column, encode
from detector.decision import TOLERANCE
from detector.images import ImageSpec
from detector.scorer import Scorer
from tests import images
from tests.alone import alone
from tests.tables import normal_rows, planted_anomalies, planted_shares, shares
from training import fit, variants, weights
from training import train as training
from training.features import Cells, Features
from training.graph import DetectorGraph
from training.image_table import ImageTable
from training.kinds import ColumnOptions, infer
from training.layout import build_layout, learn_vocabularies
from training.recipe import Recipe, Table

STEPS = 400  # enough to separate planted anomalies from normal rows
RATE = 0.05


class Case(NamedTuple):
    """A variant with settings; under a Bernoulli likelihood it is trained on a table of shares in [0, 1].

    With an image it is trained on images of that kind: files, or rows of pixels.
    """

    variant: str
    settings: tuple[tuple[str, str], ...] = ()
    image: ImageSpec | None = None

    @property
    def name(self) -> str:
        image = [f"{self.image.mode} {self.image.size}"] if self.image else []
        return " ".join([self.variant, *image, *(f"{key}={value}" for key, value in self.settings)])

    @property
    def is_bernoulli(self) -> bool:
        return BERNOULLI in self.settings

    @property
    def recipe(self) -> Recipe:
        return Recipe(variant=self.variant, settings=dict(self.settings), false_alarm_rate=RATE, image=self.image)

    def source(self) -> Table | ImageTable:
        """Return what it is trained on."""
        if self.image and self.image.files:
            return ImageTable(self.image, self.normal().to_numpy(), [])
        return table_of(self.normal())

    def normal(self, rows: int = 500, seed: int = 0) -> pl.DataFrame:
        if self.image:
            return pixels(images.plates(rows, seed, self.image), self)
        return shares(rows, seed) if self.is_bernoulli else normal_rows(rows, seed)

    def anomalies(self) -> pl.DataFrame:
        if self.image:
            return pixels(images.spotted(60, 7, self.image), self)
        return planted_shares() if self.is_bernoulli else planted_anomalies()


class TrainedCase(NamedTuple):
    """A case and its bundle."""

    case: Case
    folder: Path
    scorer: Scorer

    @property
    def graph(self) -> DetectorGraph:
        """The torch module of the bundle."""
        return weights.load(bundle.read(self.folder))

    @property
    def tolerance(self) -> float:
        """The tolerance of the bundle's own proof."""
        return self.scorer.manifest.parity[0].tolerance

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        return self.scorer.score(frame, explain="none").score

    def matrix(self, frame: pl.DataFrame) -> np.ndarray:
        return encode(frame, self.scorer.columns, np.arange(frame.height)).matrix


BERNOULLI = ("likelihood", "bernoulli")
ROW_VARIANTS = [name for name, variant in variants.VARIANTS.items() if not variant.takes_instead]  # others: `test_series`
# The short run has one variant of each kind of score; `make test-all` has them all.
SHORT_VARIANTS = {"plain", "variational", "hybrid"}
LONG = [pytest.mark.long]
GAUSSIAN_CASES = [pytest.param(Case(name), marks=[] if name in SHORT_VARIANTS else LONG) for name in ROW_VARIANTS]
WITH_MEMORY = {"memory", "hybrid"}
BERNOULLI_CASES = [pytest.param(Case(name, (BERNOULLI,)), marks=LONG) for name in ROW_VARIANTS if name not in WITH_MEMORY]
TABULAR_CASES = [*GAUSSIAN_CASES, *BERNOULLI_CASES]
SMALL = (("sizes", "8"), ("components", "8"), ("places", "1"))
IMAGE_CASES = [
    Case("convolutional", SMALL, ImageSpec(width=24, height=20, mode="rgb")),
    *(
        pytest.param(case, marks=LONG)
        for case in (
            Case("convolutional", SMALL, ImageSpec(width=23, height=14, files=False)),
            Case("convolutional", SMALL, ImageSpec(width=64, height=64, mode="rgb")),
            Case("convolutional", (*SMALL, ("score", "mse"), ("light", "linear")), ImageSpec(width=20, height=20)),
            Case("convolutional", (*SMALL, BERNOULLI), ImageSpec(width=20, height=20, files=False)),
        )
    ),
]


def pixels(matrix: np.ndarray, case: Case) -> pl.DataFrame:
    """Return images as rows of pixels; those of a table, and probabilities, in [0, 1]."""
    assert case.image is not None
    frame = images.as_table(matrix, case.image)
    return frame if case.image.files else frame.select(pl.all().cast(pl.Float64) / 255)


def table_of(frame: pl.DataFrame) -> Table:
    return Table(frame, np.arange(frame.height), [])


def cells_of(frame: pl.DataFrame) -> tuple[Features, Cells]:
    """Return a frame's rows as the network sees them in training, scaled by all of them."""
    columns, matrix = encoded(frame)
    features = Features(build_layout(matrix, columns))
    cells = features(torch.from_numpy(matrix))
    return features, cells._replace(values=cells.values.float())


def encoded(frame: pl.DataFrame) -> tuple[list[Column], np.ndarray]:
    """Return a frame's columns and its matrix, by the steps of training."""
    inferred = infer(frame, ColumnOptions(), frozenset())
    columns, _ = learn_vocabularies(frame, inferred.columns, frozenset())
    return columns, encode(frame, columns, np.arange(frame.height)).matrix


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert np.all(np.abs(found - expected) <= tolerance * np.maximum(1.0, np.abs(expected)))


def train_bundle(case: Case, to: Path) -> Path:
    """Train a bundle on the case's normal rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "STEPS", STEPS)
        return training.train(case.source(), to, case.recipe).folder


@pytest.fixture(scope="session")
def bundles(run_folder: Path) -> Path:
    return cases_folder(run_folder)


def cases_folder(run_folder: Path) -> Path:
    """Return the folder in which all processes of a test run keep the bundles they trained."""
    folder = run_folder / "cases"
    folder.mkdir(exist_ok=True)
    return folder


def train_once(case: Case, bundles: Path) -> TrainedCase:
    """Train the case unless another process did."""
    to = bundles / case.name.replace(" ", "-")
    with alone(bundles / f"{to.name}.lock"):
        folder = to / "1" if (to / "1").exists() else train_bundle(case, to)
    return TrainedCase(case, folder, Scorer.open(folder, "cpu"))


@pytest.fixture(scope="session", params=[*TABULAR_CASES, *IMAGE_CASES], ids=lambda case: case.name)
def trained(request: pytest.FixtureRequest, bundles: Path) -> TrainedCase:
    """Every variant under every likelihood, on tables and on images."""
    return train_once(request.param, bundles)


@pytest.fixture(scope="session", params=TABULAR_CASES, ids=lambda case: case.name)
def tabular(request: pytest.FixtureRequest, bundles: Path) -> TrainedCase:
    """Every variant that is trained on rows, under every likelihood."""
    return train_once(request.param, bundles)


@pytest.fixture(scope="session", params=GAUSSIAN_CASES, ids=lambda case: case.name)
def mixed(request: pytest.FixtureRequest, bundles: Path) -> TrainedCase:
    """Every variant on a table of mixed columns."""
    return train_once(request.param, bundles)


@pytest.fixture(scope="session")
def plain(bundles: Path) -> TrainedCase:
    """A plain autoencoder on a table of mixed columns."""
    return train_once(Case("plain"), bundles)


@pytest.fixture(scope="session")
def variational(bundles: Path) -> TrainedCase:
    """A variational autoencoder on a table of mixed columns."""
    return train_once(Case("variational"), bundles)
