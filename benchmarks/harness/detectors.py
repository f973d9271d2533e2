"""Training inside the benchmark's process: the project's own steps from a table to a scoring graph, without the export.

The export takes most of the time of a short training and changes no score by more than 1e-5 (which is proved for every
bundle), so the figures hold for bundles too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

import training.fit
from detector.columns import encode
from detector.decision import Calibration
from training.export import torch_scores
from training.fit import Callbacks, FitResult, ProgressCallback, ignore_progress, one_thread, reproducible
from training.graph import DetectorGraph
from training.inputs import Source, prepare
from training.inputs.tabular import TabularTrainingData
from training.recipe import Recipe, Table
from training.variants import DEFAULT


class Detector(NamedTuple):
    """A trained graph with its training data."""

    data: TabularTrainingData
    graph: DetectorGraph
    fitted: FitResult
    calibration: Calibration

    @property
    def calibration_rows(self) -> np.ndarray:
        """The calibration rows, encoded for the graph."""
        return self.data.calibration_rows

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the scores of a table's rows."""
        encoded = encode(frame, self.data.columns, np.arange(frame.height))
        return self.score(encoded.matrix)

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Return the scores of encoded rows."""
        with one_thread():
            scores: np.ndarray = torch_scores(self.graph, matrix)
        return scores


def detector(
    frame: pl.DataFrame,
    seed: int,
    watch: ProgressCallback = ignore_progress,
    *,
    variant: str = DEFAULT,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> Detector:
    """Train on normal rows, as `residuum train` does before the export."""
    recipe = Recipe(variant=variant, settings=dict(settings), seed=seed, device="cpu")
    return fit(Table(frame, np.arange(frame.height), []), recipe, watch)


def fit(source: Source, recipe: Recipe, watch: ProgressCallback = ignore_progress) -> Detector:
    """Train on rows or images, as `residuum train` does before the export."""
    data = prepare(source, recipe)
    with reproducible(recipe.seed):
        fitted = data.fit_graph(data.layout(), torch.device("cpu"), Callbacks(watch))
        calibration = data.calibrate(fitted, lambda rows: torch_scores(fitted.graph, rows))
    assert isinstance(data, TabularTrainingData)  # noqa: S101 - images are too
    assert isinstance(fitted.graph, DetectorGraph)  # noqa: S101 - as are their graphs
    return Detector(data, fitted.graph, fitted.fit, calibration)


def frame(matrix: np.ndarray) -> pl.DataFrame:
    """Return `float64[rows, columns]` as a table."""
    return pl.DataFrame(matrix, schema=[f"x{index}" for index in range(matrix.shape[1])])


@contextlib.contextmanager
def steps(number: int) -> Iterator[None]:
    """Train for another number of steps inside the context."""
    usual = training.fit.STEPS
    training.fit.STEPS = number
    try:
        yield
    finally:
        training.fit.STEPS = usual
