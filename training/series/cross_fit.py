"""Cross-fitting: hold each block of time out in turn, then fit on all.

A block's scores come from a network that was not trained on it, so units, covariance and calibration are based on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.features import Features
from training.fit import Callbacks, FitResult, combine, fit, fit_steps
from training.layout import FeatureLayout, without_far_cells
from training.series.channels import FLAG, Channels, WindowChannels
from training.series.graph import SeriesGraph
from training.series.model import LEVEL_LATENT, MAX_VALIDATION, LazyWindows, SeriesModel, Spans, find_slow_channels
from training.series.scores import (
    MIN_UNIT,
    LevelAndEnergy,
    LevelOrSingleRow,
    Units,
    WhitenedNewest,
    WindowScore,
    newest_residual,
)
from training.series.window_index import WindowIndex
from training.variants import WindowedPlan
from training.whitening import precision

BuildScore = Callable[[SeriesModel, LazyWindows], WindowScore]  # a model and the windows that it was trained on -> its score


class CrossFitResult(NamedTuple):
    """A fitted graph, the outcome of the fit, and the scores of held-out blocks."""

    graph: SeriesGraph
    fit: FitResult
    scores: np.ndarray  # float64[windows], each by a network that was not trained on its block


class Fold(NamedTuple):
    """A model that was not trained on one block."""

    model: SeriesModel
    fit: FitResult
    training: LazyWindows
    held_out: LazyWindows
    calibration: LazyWindows  # the held-out windows with the cells that are far from all others
    indices: np.ndarray  # int64[windows], of the held-out windows among all


def cross_fit(
    layout: FeatureLayout,
    matrix: np.ndarray,
    index: WindowIndex,
    plan: WindowedPlan,
    seed: int,
    device: torch.device,
    callbacks: Callbacks,
) -> CrossFitResult:
    """Hold each block out, then fit on all rows, `float64[rows, columns]`; the graph is returned on the CPU."""
    spans = Spans(index.length)
    channels, windows, original = _channels(layout, matrix, index, device)
    slow = find_slow_channels(windows, spans)

    def build_model(training: LazyWindows) -> tuple[SeriesModel, bool]:
        """Return a model, and whether it is solved."""
        torch.manual_seed(seed)
        latent = plan.settings.latent or _default_latent(plan, spans, channels)
        network = plan.network(index.length, channels.count, latent)
        model = SeriesModel(channels, network, spans, slow, latent).to(device)
        return model, model.solve(training)

    def fit_fold(model: SeriesModel, training: LazyWindows, validation: LazyWindows) -> FitResult:
        return fit(model, training, validation, _no_corruption, plan.settings, seed, callbacks.on_progress)

    folds = []
    blocks = index.blocks()
    for number, block in enumerate(blocks, 1):
        callbacks.on_phase(f"training, part {number} of {len(blocks)} held out")
        indices = index.held_out(block)
        training, held_out = windows.starting_at(index.training(block)), windows.starting_at(index.starts[indices])
        validation = held_out.thinned(MAX_VALIDATION)
        model, is_solved = build_model(training)
        result = _loss_of_solved(model, training) if is_solved else fit_fold(model, training, validation)
        calibration = original.starting_at(index.starts[indices])
        folds.append(Fold(model, result, training, held_out, calibration, indices))
    result = combine([fold.fit for fold in folds])
    callbacks.on_phase("training on all windows")
    model, is_solved = build_model(windows)
    if not is_solved:
        fit_steps(model, windows, _no_corruption, result.best_step, plan.settings, seed)
    callbacks.on_phase("measuring")
    build_score = _whitened(folds) if plan.settings.score == "whitened" else _level_and_energy(folds)
    scores = np.concatenate([_scores(build_score(fold.model, fold.training), fold.calibration) for fold in folds])
    order = np.argsort(np.concatenate([fold.indices for fold in folds]))
    graph = SeriesGraph(build_score(model, windows)).cpu().eval()
    return CrossFitResult(graph, result, scores[order])


def _default_latent(plan: WindowedPlan, spans: Spans, channels: Channels) -> int:
    """Return the width of the code: a tenth of the window, or narrow where it must not follow a shifted level."""
    return max(LEVEL_LATENT, spans.window * channels.count // 10) if plan.settings.score == "whitened" else LEVEL_LATENT


def _level_and_energy(folds: list[Fold]) -> BuildScore:
    """Measure the units of levels and newest rows on held-out blocks, and that of energies on training windows."""
    with torch.no_grad():
        parts = [(fold.model, part.cut()) for fold in folds for part in fold.held_out.split()]
        shifts, newest = zip(*(_largest_residuals(model, channels) for model, channels in parts), strict=True)
    level, newest_unit = (torch.stack(largest).amax(dim=0).clamp(min=MIN_UNIT) for largest in (shifts, newest))

    def build_score(model: SeriesModel, windows: LazyWindows) -> WindowScore:
        with torch.no_grad():
            energy = torch.stack([model.squared_energy(part.cut()).amax().double() for part in windows.split()])
        units = Units(level, energy.amax().clamp(min=MIN_UNIT))
        is_single = model.channels.count == 1
        return LevelOrSingleRow(model, units, newest_unit) if is_single else LevelAndEnergy(model, units)

    return build_score


def _largest_residuals(model: SeriesModel, channels: WindowChannels) -> tuple[Tensor, Tensor]:
    """Return the largest shift, `float64[channels + flags]`, and the largest residual of a newest row, `float64[channels]`."""
    shift, newest = model.shift(channels, model.levels(channels)), model.newest_movement(channels)
    return shift.abs().amax(dim=0).double(), newest.amax(dim=0).double()


def _whitened(folds: list[Fold]) -> BuildScore:
    """Whiten by the covariance of the residuals of held-out blocks."""
    with torch.no_grad():
        parts = [(fold.model, part.cut()) for fold in folds for part in fold.held_out.split()]
        residuals = torch.cat([newest_residual(channels, model.levels(channels)) for model, channels in parts])
        present = torch.cat([channels.present[:, -1] for _, channels in parts])
    whitener = precision(residuals.double().cpu().numpy(), present.double().cpu().numpy())
    whitener_tensor = torch.from_numpy(whitener).to(folds[0].held_out.device)
    return lambda model, _windows: WhitenedNewest(model, whitener_tensor)


def _scores(score: WindowScore, windows: LazyWindows) -> np.ndarray:
    """Return the scores of windows, `float64[windows]`."""
    with torch.no_grad():
        batches = (part.cut() for part in windows.split())
        parts = [score(channels, score.model.levels(channels)).sum(dim=1) for channels in batches]
    scores: np.ndarray = torch.cat(parts).double().cpu().numpy()
    return scores


def _loss_of_solved(model: SeriesModel, training: LazyWindows) -> FitResult:
    return FitResult(0, 0, model.mean_loss(training.thinned(MAX_VALIDATION)))


def _no_corruption(windows: LazyWindows, _features: Channels, _generator: torch.Generator) -> LazyWindows:
    return windows


def _channels(
    layout: FeatureLayout, matrix: np.ndarray, index: WindowIndex, device: torch.device
) -> tuple[Channels, LazyWindows, LazyWindows]:
    """Return the channels, and all windows: those to train on, and those with the cells that are far from all others."""
    features, rows = Features(layout), torch.from_numpy(matrix)
    rates = Channels(features, torch.zeros(())).row_flags(rows).mean(dim=0) / FLAG
    channels = Channels(features, rates)
    starts = torch.from_numpy(index.starts).to(device)

    def windows(rows: Tensor) -> LazyWindows:
        values, present, flags = (part.float().to(device) for part in (*channels.row_values(rows), channels.row_flags(rows)))
        return LazyWindows(values, present, flags, starts, index.length)

    original = windows(rows)
    usual = without_far_cells(matrix, layout)
    to_train = original if usual is matrix else windows(torch.from_numpy(usual))
    return channels.to(device), to_train, original
