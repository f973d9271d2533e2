"""Single rows of a table as training data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from detector import bundle, cells
from detector.columns import encode
from detector.decision import Calibration, Decision
from detector.errors import TableError
from detector.graph import Device, Graph
from detector.manifest import Parity, RowCounts
from training import decoder, weights
from training.assembly import build_features, build_graph
from training.cross_fit import Fitter, Residuals, Whitening, cross_fit, fit_split
from training.decoder import DecoderGraph
from training.export import GraphPart
from training.features import Cells, Features
from training.fit import NO_CALLBACKS, Callbacks
from training.graph import DetectorGraph
from training.inputs.base import FittedDetector, ScoreFunction, Source, TrainingData, describe_rejects, require_table
from training.kinds import ColumnCallback, ColumnOptions, ignore_columns, infer
from training.layout import FeatureLayout, build_layout, learn_vocabularies, without_far_cells
from training.models import MemoryAutoencoder, RowModel
from training.recipe import Recipe
from training.row_order import find_ordering_dates
from training.settings import VariantSettings
from training.split import FEW_ROWS, Split, split, split_into_folds
from training.suspects import EncodedRows
from training.variants import Plan
from training.whitening import MAX_WHITENED, precision, variances

MAX_SCALED_CELLS = 2**22  # at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class TabularTrainingData(TrainingData):
    """Single rows: split into training, validation and calibration rows."""

    plan: Plan
    matrix: np.ndarray  # [rows, columns]
    split: Split

    @property
    def settings(self) -> VariantSettings:
        """The variant's settings."""
        return self.plan.settings

    @property
    def calibration_rows(self) -> np.ndarray:
        """The calibration rows, `[rows, columns]`."""
        rows: np.ndarray = self.matrix[self.split.calibration]
        return rows

    @property
    def folds(self) -> int:
        """The number of parts of the rows that are held out in turn; 0 for one split."""
        return len(self.split.folds)

    @classmethod
    def prepare(cls, source: Source, recipe: Recipe, on_column: ColumnCallback = ignore_columns) -> Self:
        """Infer kinds, reject unreadable rows, split, and learn vocabularies from the training rows."""
        table = require_table(source)
        missing = cells.missing_words(recipe.missing)
        inferred = infer(table.frame, cls._column_options(table.frame, recipe), missing, on_column)
        cls._check_columns(len(inferred.columns), recipe)
        readable = encode(table.frame, inferred.columns, table.rows, missing=recipe.missing, finite=True)
        frame = table.frame.filter(pl.Series(readable.accepted))
        order = _time_order(frame, recipe.columns.time, missing, inferred.time_format)
        rejects = table.locate([*table.rejects, *readable.rejects])
        try:
            parts = cls._split(frame.height, recipe, order)
        except TableError as error:
            raise TableError(f"{error}{describe_rejects(rejects, frame.height)}") from error
        dates = find_ordering_dates(inferred.columns, readable.matrix, recipe.columns.date)
        columns, empty = learn_vocabularies(frame[np.sort(parts.training)], dates.columns, missing)
        if not columns:
            raise TableError("no column has a value in the training rows")
        cls._check_columns(len(columns), recipe)
        rows = table.rows[readable.accepted]
        matrix = encode(frame, columns, rows, missing=recipe.missing).matrix
        return cls(
            recipe=recipe,
            plan=recipe.plan(),
            columns=columns,
            ignored=[*inferred.ignored, *dates.ignored, *empty],
            matrix=matrix,
            split=parts,
            rejects=rejects,
            infinite=readable.infinite,
            rate=parts.rate,
            encoded=EncodedRows(matrix, rows, table),
            ordered_by="" if recipe.columns.time else dates.time,
        )

    def layout(self) -> FeatureLayout:
        """Build the layout from the training rows."""
        training, validation = self.matrix[self.split.training], self.matrix[self.split.validation]
        return build_layout(training, self.columns, validation, scaled=self.settings.likelihood == "gaussian")

    def fit_graph(self, layout: FeatureLayout, device: torch.device, callbacks: Callbacks = NO_CALLBACKS) -> FittedDetector:
        """Train the network on a device and return the graph that scores with it, on the CPU."""
        features = build_features(layout).to(device)
        matrix = without_far_cells(self.matrix, layout)
        fitter = Fitter(self.plan, features, self.recipe.seed, self._whiten_residuals, callbacks)
        if self.split.folds:
            fitted = cross_fit(fitter, self.matrix, _scale(features, matrix, device), self.split.folds)
        else:
            parts = (self.split.training, self.split.validation)
            fitted = fit_split(fitter, *(_scale(features, matrix[rows], device) for rows in parts))
        graph = build_graph(features, fitted.score).cpu().eval()
        return FittedDetector(graph, fitted.fit, fitted.covariance, fitted.held_out_scores)

    def without_training_rows(self) -> Self:
        """Return the data with its calibration rows only."""
        none = np.empty(0, dtype=np.int64)
        calibration = np.arange(len(self.split.calibration))
        return dataclasses.replace(
            super().without_training_rows(),
            matrix=self.calibration_rows,
            split=self.split._replace(training=none, validation=none, calibration=calibration),
        )

    def calibrate(self, fitted: FittedDetector, score: ScoreFunction) -> Calibration:
        """Return the scores of the calibration rows; of cross-fitted rows, as measured in training."""
        held_out = fitted.held_out_scores
        return Calibration(score(self.calibration_rows)) if held_out is None else Calibration(held_out, out_of_fold=True)

    def decide(self, calibration: Calibration) -> Decision:
        """Return the threshold that promises `rate` of normal rows."""
        return calibration.decide(self.rate)

    def row_counts(self, calibration: Calibration) -> RowCounts:
        """Return the rows of each part."""
        parts = self.split
        return RowCounts(len(parts.training), len(parts.validation), len(calibration), len(self.rejects))

    def manifest_fields(self, fitted: FittedDetector) -> dict[str, Any]:
        """Return the prior of the codes, if there is one, and how many training rows the model holds."""
        model = fitted.graph.score.model
        return {"prior": decoder.prior_of(model), "stored_rows": model.stored_rows}

    def proof_examples(self) -> np.ndarray:
        """Return the calibration rows, `float64[rows, columns]`."""
        return self.calibration_rows

    def further_parts(self, fitted: FittedDetector) -> dict[str, GraphPart]:
        """Return the decoder."""
        return {bundle.DECODER: decoder.part_of(self._decoder(fitted))}

    def further_files(
        self, fitted: FittedDetector, served: Graph, graphs: dict[str, bytes], devices: Sequence[Device]
    ) -> tuple[dict[str, bytes], list[Parity]]:
        """Return the decoder and the weights."""
        decoder_graph, content = self._decoder(fitted), graphs[bundle.DECODER]
        codes = served.latent(self.calibration_rows[: decoder.MAX_PROOF_ROWS])
        parity = [decoder.prove(decoder_graph, content, codes, self.recipe.seed, device) for device in devices]
        return graphs | {bundle.WEIGHTS: weights.to_bytes(_row_graph(fitted))}, parity

    def _decoder(self, fitted: FittedDetector) -> DecoderGraph:
        """Return the decoder of the trained network."""
        assert fitted.covariance is not None  # noqa: S101 - by `fit_graph`
        return DecoderGraph(_row_graph(fitted), fitted.covariance)

    @classmethod
    def _split(cls, rows: int, recipe: Recipe, order: np.ndarray | None) -> Split:
        """Split the rows: by their order if there is one, and by folds if they are few."""
        if recipe.plan().variant.cross_fits and order is None and rows < FEW_ROWS:
            return split_into_folds(rows, recipe.false_alarm_rate, recipe.seed, lenient=recipe.lenient)
        return split(rows, recipe.false_alarm_rate, recipe.seed, order, lenient=recipe.lenient)

    @classmethod
    def _column_options(cls, frame: pl.DataFrame, recipe: Recipe) -> ColumnOptions:
        """Return the options for columns."""
        del frame
        return recipe.columns

    @classmethod
    def _check_columns(cls, columns: int, recipe: Recipe) -> None:
        """Raise unless the number of columns fits the recipe."""

    def _whiten_residuals(self, model: RowModel, residuals: Residuals) -> Whitening:
        """Return the whitening of a model's residuals."""
        if not residuals.values.shape[1]:
            return Whitening(np.zeros((0, 0)), np.zeros((0, 0)))
        if isinstance(model, MemoryAutoencoder):  # its score whitens nothing, and many columns have a large covariance
            return Whitening(np.zeros((0, 0)), variances(residuals.values.numpy(), residuals.present.numpy()))
        return self._whiten(residuals.values, residuals.present)

    def _whiten(self, residual: Tensor, present: Tensor) -> Whitening:
        """Invert the covariance of residuals, `float64[rows, features]`; where features are many, their variances."""
        if residual.shape[1] > MAX_WHITENED:
            variance = variances(residual.numpy(), present.numpy())
            return Whitening(1.0 / variance, variance)
        inverse = precision(residual.numpy(), present.numpy())
        return Whitening(inverse, np.linalg.inv(inverse))


def _row_graph(fitted: FittedDetector) -> DetectorGraph:
    """Return the graph of a detector of rows."""
    assert isinstance(fitted.graph, DetectorGraph)  # noqa: S101 - by `fit_graph`
    return fitted.graph


def _time_order(frame: pl.DataFrame, time_column: str | None, missing: frozenset[str], time_format: str) -> np.ndarray | None:
    """Return the rows' order in time; None without a time column."""
    if time_column is None:
        return None
    parsed = cells.times(frame[time_column], missing, time_format)
    unreadable = int(np.isnan(parsed.values).sum())
    if unreadable:
        raise TableError(
            f"column {time_column!r} orders the rows, but {unreadable} of {frame.height} have no date or number there"
        )
    return np.argsort(parsed.values, kind="stable")


def _scale(features: Features, matrix: np.ndarray, device: torch.device) -> Cells:
    """Scale rows once, in float64, for all steps of training."""
    parts = []
    with torch.no_grad():
        for rows in np.array_split(matrix, max(1, matrix.size // MAX_SCALED_CELLS)):
            scaled = features(torch.from_numpy(rows.astype(np.float64, copy=False)).to(device))
            parts.append((scaled.values.float(), scaled.present, scaled.codes))
    return Cells(*(torch.cat(part) for part in zip(*parts, strict=True)))
