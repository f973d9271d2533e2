"""Fit a model of rows, by one split or by cross-fitting.

With a split, validation rows stop the training, whiten the residuals and set the scale of parts that are added up. With
folds, each part of the rows is held out in turn from a model of its own, and the model that scores is then fitted to all
rows: so every row both teaches and calibrates, which matters where rows are few (cross-fitting: Chernozhukov et al. 2018;
cross-conformal prediction: Vovk 2015). What a held-out row is compared with was measured on the other folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training import export
from training.assembly import build_graph
from training.features import Cells, Features
from training.fit import Callbacks, FitResult, combine, fit, fit_steps
from training.models import Autoencoder, RowModel
from training.scores import RowScore
from training.variants import Plan


class FittedRows(NamedTuple):
    """A fitted score, with what was measured on held-out rows."""

    score: RowScore
    fit: FitResult
    covariance: np.ndarray
    held_out_scores: np.ndarray | None = None  # float64[rows], each by a model that was not trained on the row


class Whitening(NamedTuple):
    """Statistics of a point autoencoder's residuals on held-out rows; empty for other models."""

    precision: np.ndarray  # the weights of the score: float64[features, features] or [features], or of images as `energy_weights`
    covariance: np.ndarray  # or a vector of variances


class Residuals(NamedTuple):
    """The residuals of held-out rows, float64[rows, features], and 1 where a cell is present."""

    values: Tensor
    present: Tensor


Whiten = Callable[[RowModel, Residuals], Whitening]


class RowFold(NamedTuple):
    """A model, and rows that it was not trained on."""

    model: RowModel
    fit: FitResult
    held_out: Cells
    residuals: Residuals


class Fitter(NamedTuple):
    """What fits models of one plan to scaled rows, on the rows' device."""

    plan: Plan
    features: Features
    seed: int
    whiten: Whiten
    callbacks: Callbacks

    def fold(self, training: Cells, held_out: Cells, remembered: Cells) -> RowFold:
        """Fit a model to training rows until held-out rows stop it; a memory keeps `remembered` rows."""
        model = self._model(training, remembered)
        result = fit(model, training, held_out, self.plan.corruption(), self.plan.settings, self.seed, self.callbacks.on_progress)
        return RowFold(model, result, held_out, _residuals(model, held_out))

    def refit(self, rows: Cells, folds: Sequence[RowFold]) -> tuple[RowModel, FitResult]:
        """Fit a model to all rows, for as many steps as were best when parts of them were held out."""
        result = combine([fold.fit for fold in folds])
        model = self._model(rows, rows)
        fit_steps(model, rows, self.plan.corruption(), result.best_step, self.plan.settings, self.seed)
        return model, result

    def score(self, model: RowModel, folds: Sequence[RowFold]) -> tuple[RowScore, Whitening]:
        """Return the score of a model whose residuals are whitened by those of held-out rows."""
        residuals = Residuals(*(torch.cat(parts) for parts in zip(*(fold.residuals for fold in folds), strict=True)))
        whitening = self.whiten(model, residuals)
        precision = torch.from_numpy(whitening.precision).to(folds[0].held_out.device)
        return self.plan.score(model, precision, self.seed), whitening

    def _model(self, training: Cells, remembered: Cells) -> RowModel:
        model = self.plan.model(self.features).to(training.device)
        model.initialize(training)
        model.remember(remembered)
        return model


def fit_split(fitter: Fitter, training: Cells, validation: Cells) -> FittedRows:
    """Fit a model to training rows; validation rows measure what its score needs."""
    fitter.callbacks.on_phase("training")
    fold = fitter.fold(training, validation, _join([training, validation]))
    fitter.callbacks.on_phase("measuring")
    score, whitening = fitter.score(fold.model, [fold])
    score.standardise(score.measure(validation))
    return FittedRows(score, fold.fit, whitening.covariance)


def cross_fit(fitter: Fitter, matrix: np.ndarray, rows: Cells, parts: Sequence[np.ndarray]) -> FittedRows:
    """Hold each part of the rows out in turn, then fit to all; `matrix` holds them as a graph takes them."""
    folds = []
    for number, part in enumerate(parts, 1):
        fitter.callbacks.on_phase(f"training, part {number} of {len(parts)} held out")
        is_held_out = torch.zeros(rows.rows, dtype=torch.bool, device=rows.device)
        is_held_out[torch.from_numpy(part).to(rows.device)] = True
        training = rows.take(~is_held_out)
        folds.append(fitter.fold(training, rows.take(torch.from_numpy(part).to(rows.device)), training))
    fitter.callbacks.on_phase("training on all rows")
    scores = [fitter.score(fold.model, [other for other in folds if other is not fold])[0] for fold in folds]
    measured = torch.cat([score.measure(fold.held_out) for score, fold in zip(scores, folds, strict=True)])
    model, result = fitter.refit(rows, folds)
    final, whitening = fitter.score(model, folds)
    for score in (*scores, final):
        score.standardise(measured)
    held_out = np.empty(rows.rows)
    for score, part in zip(scores, parts, strict=True):
        held_out[part] = export.torch_scores(build_graph(fitter.features, score).cpu().eval(), matrix[part])
    return FittedRows(final, result, whitening.covariance, held_out)


def _join(parts: Sequence[Cells]) -> Cells:
    return Cells(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _residuals(model: RowModel, rows: Cells) -> Residuals:
    """Return what a point autoencoder's reconstruction leaves of rows; nothing of other models."""
    present = model.features.presence(rows).double().cpu()
    if not isinstance(model, Autoencoder) or model.bernoulli:
        return Residuals(present[:, :0], present[:, :0])
    with torch.no_grad():
        batches = [rows.take(part) for part in torch.arange(rows.rows).split(model.batch)]
        mean = torch.cat([model.decode(model.encode(batch)).mean for batch in batches])
    return Residuals((rows.values - mean).double().cpu(), present)
