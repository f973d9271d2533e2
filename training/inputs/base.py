"""The interface of training data."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from detector.columns import Column
from detector.decision import Calibration, Decision
from detector.errors import SettingError
from detector.graph import Device, Graph
from detector.manifest import IgnoredColumn, Parity, RowCounts
from detector.rejects import Reject
from training.export import GraphPart
from training.fit import NO_CALLBACKS, Callbacks, FitResult
from training.graph import DetectorGraph
from training.image_table import ImageTable
from training.kinds import ColumnCallback, ignore_columns
from training.layout import FeatureLayout
from training.recipe import Recipe, Table
from training.series.graph import SeriesGraph
from training.settings import VariantSettings
from training.split import DEFAULT_RATE
from training.suspects import EncodedRows

Source = Table | ImageTable
ScoreFunction = Callable[[np.ndarray], np.ndarray]  # float64[rows, ...] -> float64[rows]


class FittedDetector(NamedTuple):
    """A trained graph, the outcome of the fit, and measurements on held-out rows."""

    graph: DetectorGraph | SeriesGraph
    fit: FitResult
    covariance: np.ndarray | None = None  # of residuals: float64[features, features], of pixels float64[pixels] variances
    held_out_scores: np.ndarray | None = None  # float64[rows or windows], by models that were not trained on them


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingData(abc.ABC):
    """Prepared training data; the methods are called in this order."""

    recipe: Recipe
    columns: list[Column]
    ignored: list[IgnoredColumn]
    rejects: list[Reject]
    infinite: int  # cells that hold an infinity, treated as missing
    rate: float  # the false-alarm rate that calibration can promise
    ordered_by: str = ""  # a date that orders the rows, though no option names it
    encoded: EncodedRows | None = None  # rows whose cells may be suspicious; pixels are not

    @property
    def lowered_from(self) -> float | None:
        """The requested or default false-alarm rate, if the rows cannot promise it."""
        requested = self.recipe.false_alarm_rate or DEFAULT_RATE
        return requested if self.rate > requested else None

    @property
    @abc.abstractmethod
    def settings(self) -> VariantSettings:
        """The variant's settings."""

    @property
    def folds(self) -> int:
        """The number of parts of the rows that are held out in turn; 0 for one split."""
        return 0

    @classmethod
    @abc.abstractmethod
    def prepare(cls, source: Source, recipe: Recipe, on_column: ColumnCallback = ignore_columns) -> Self:
        """Infer kinds, reject rows, and split the rest or cut windows.

        Raises:
            TableError, SettingError: see `training.inputs.prepare`.
        """

    @abc.abstractmethod
    def layout(self) -> FeatureLayout:
        """Build the layout from training rows."""

    @abc.abstractmethod
    def fit_graph(self, layout: FeatureLayout, device: torch.device, callbacks: Callbacks = NO_CALLBACKS) -> FittedDetector:
        """Train the network on a device and return the graph that scores with it, on the CPU."""

    def without_training_rows(self) -> Self:
        """Return the data without the rows that only `fit_graph` needs."""
        return dataclasses.replace(self, encoded=None)

    @abc.abstractmethod
    def calibrate(self, fitted: FittedDetector, score: ScoreFunction) -> Calibration:
        """Return the scores of held-out rows, computed by `score` unless they were measured in training."""

    @abc.abstractmethod
    def decide(self, calibration: Calibration) -> Decision:
        """Return the threshold that promises `rate`."""

    @abc.abstractmethod
    def row_counts(self, calibration: Calibration) -> RowCounts:
        """Return how many rows each part of training used."""

    @abc.abstractmethod
    def manifest_fields(self, fitted: FittedDetector) -> dict[str, Any]:
        """Return the fields of the manifest that only this kind of input has."""

    @abc.abstractmethod
    def proof_examples(self) -> np.ndarray:
        """Return the examples on which torch and ONNX Runtime must agree: `float64[rows, ...]`, as the graph takes them."""

    def further_parts(self, fitted: FittedDetector) -> dict[str, GraphPart]:
        """Return what the bundle holds as graphs beside the model, by file."""
        del fitted
        return {}

    def further_files(
        self, fitted: FittedDetector, served: Graph, graphs: dict[str, bytes], devices: Sequence[Device]
    ) -> tuple[dict[str, bytes], list[Parity]]:
        """Return the bundle's files beyond model and calibration, `graphs` among them, with their proofs on `devices`."""
        del fitted, served, devices
        return graphs, []


def require_table(source: Source) -> Table:
    """Return the source if it is a table.

    Raises:
        SettingError: the source are images.
    """
    if isinstance(source, ImageTable):
        raise SettingError("single rows and windows are read from tables, and these are images")
    return source


def describe_rejects(rejects: list[Reject], rows: int) -> str:
    """Return the end of an error message: the number of rejects, and the first one; empty without rejects."""
    if not rejects:
        return ""
    first = rejects[0]
    where = f"{first.file} row {first.row}" if first.file else f"row {first.row}"
    return f"; {len(rejects)} of {len(rejects) + rows} rows were rejected, the first: {where}: {first}"
