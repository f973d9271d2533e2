"""Holding each block of time out in turn, then fitting on all of them: a graph, and what it would have said of each block.

A block's scores come from a network that did not see it, so they are what units, covariance and calibration may rest on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.features import Features
from training.fit import Fit, ProgressCallback, fit, fit_for
from training.layout import Layout
from training.series.channels import FLAG, Channels, Seen
from training.series.graph import SeriesGraph
from training.series.model import LEVEL_LATENT, MOST_HELD_OUT, SeriesModel, Spans, Windowed, slow_channels
from training.series.scores import LEAST_UNIT, LevelAndEnergy, LevelOrLoneRow, Units, WhitenedNewest, WindowScore, newest_residual
from training.series.window_index import Material
from training.variants import WindowedPlan
from training.whitening import precision

Scoring = Callable[[SeriesModel, Windowed], WindowScore]  # a model and what it learnt from -> its score


class Learnt(NamedTuple):
    """A fitted graph, how fitting went, and the scores that held-out blocks had."""

    graph: SeriesGraph
    fit: Fit
    scores: np.ndarray  # float64[windows], each by a network that did not see its block


class Fold(NamedTuple):
    """A model that did not see a block."""

    model: SeriesModel
    fit: Fit
    learning: Windowed
    held_out: Windowed
    places: np.ndarray  # int64[windows], of the held-out windows among all


def learn(
    layout: Layout, material: Material, plan: WindowedPlan, seed: int, device: torch.device, watch: ProgressCallback
) -> Learnt:
    """Hold each block out, then fit on all; gives the graph back on the CPU."""
    rows, length = material.rows, material.window.length
    spans = Spans(length)
    channels, everything = _channels(layout, material, device)
    slow = slow_channels(everything, spans)

    def fitted(windows: Windowed, train: Callable[[SeriesModel], Fit]) -> tuple[SeriesModel, Fit]:
        torch.manual_seed(seed)
        latent = plan.settings.latent or _usual_latent(plan, spans, channels)
        model = SeriesModel(channels, plan.network(length, channels.count, latent), spans, slow, latent).to(device)
        if model.solve(windows):
            return model, Fit(0, 0, model.mean_loss(windows.thinned(MOST_HELD_OUT)))
        return model, train(model)

    folds = []
    for block in rows.blocks(length):
        places = rows.held_out(block, length)
        learning, held_out = everything.at(rows.learning(block, length)), everything.at(rows.starts[places])
        few = held_out.thinned(MOST_HELD_OUT)
        model, fold = fitted(learning, partial(_early_stopped, learning, few, seed, watch))
        folds.append(Fold(model, fold, learning, held_out, places))
    steps = int(np.median([fold.fit.best_step for fold in folds]))
    model, _ = fitted(everything, lambda model: fit_for(model, everything, steps, seed))
    scoring = _whitened(folds) if plan.settings.score == "whitened" else _level_and_energy(folds)
    scores = np.concatenate([_scores(scoring(fold.model, fold.learning), fold.held_out) for fold in folds])
    places = np.concatenate([fold.places for fold in folds])
    graph = SeriesGraph(scoring(model, everything)).cpu().eval()
    return Learnt(graph, Fit(steps, steps, float(np.mean([fold.fit.loss for fold in folds]))), scores[np.argsort(places)])


def _usual_latent(plan: WindowedPlan, spans: Spans, channels: Channels) -> int:
    """Give the width of the code: narrow where a level that moved must not fit through it, else a tenth of the window."""
    return max(LEVEL_LATENT, spans.window * channels.count // 10) if plan.settings.score == "whitened" else LEVEL_LATENT


def _level_and_energy(folds: list[Fold]) -> Scoring:
    """Measure levels and lone rows in the largest of held-out blocks, energies in the largest of training."""
    with torch.no_grad():
        shifts, lones = zip(*(_worst(fold.model, part.cut()) for fold in folds for part in fold.held_out.split()), strict=True)
    level, lone = (torch.stack(largest).amax(dim=0).clamp(min=LEAST_UNIT) for largest in (shifts, lones))

    def scoring(model: SeriesModel, windows: Windowed) -> WindowScore:
        with torch.no_grad():
            energy = torch.stack([model.squared(part.cut()).amax().double() for part in windows.split()])
        units = Units(level, energy.amax().clamp(min=LEAST_UNIT))
        return LevelOrLoneRow(model, units, lone) if model.channels.count == 1 else LevelAndEnergy(model, units)

    return scoring


def _worst(model: SeriesModel, seen: Seen) -> tuple[Tensor, Tensor]:
    """Give the farthest that the levels of some windows are off, `float64[channels + flags]`, and a lone row of them."""
    shift, lone = model.shift(seen, model.levels(seen)), model.lone(seen)
    return shift.abs().amax(dim=0).double(), lone.amax(dim=0).double()


def _whitened(folds: list[Fold]) -> Scoring:
    """Whiten by the covariance of the residuals of held-out blocks."""
    with torch.no_grad():
        seen = [(fold.model, part.cut()) for fold in folds for part in fold.held_out.split()]
        residuals = torch.cat([newest_residual(each, model.levels(each)) for model, each in seen]).double().cpu().numpy()
        present = torch.cat([each.present[:, -1] for _, each in seen]).double().cpu().numpy()
    whitener = torch.from_numpy(precision(residuals, present)).to(folds[0].held_out.device)
    return lambda model, _windows: WhitenedNewest(model, whitener)


def _scores(score: WindowScore, windows: Windowed) -> np.ndarray:
    """Score windows, `float64[windows]`."""
    with torch.no_grad():
        parts = [score(seen, score.model.levels(seen)).sum(dim=1) for seen in (part.cut() for part in windows.split())]
    scores: np.ndarray = torch.cat(parts).double().cpu().numpy()
    return scores


def _early_stopped(learning: Windowed, held_out: Windowed, seed: int, watch: ProgressCallback, model: SeriesModel) -> Fit:
    """Train until the held-out windows are rebuilt no better."""
    return fit(model, learning, held_out, _as_it_is, seed, watch)


def _as_it_is(windows: Windowed, _features: Channels, _generator: torch.Generator) -> Windowed:
    """Corrupt nothing."""
    return windows


def _channels(layout: Layout, material: Material, device: torch.device) -> tuple[Channels, Windowed]:
    """Give the channels, and all windows to learn from."""
    features, given = Features(layout), torch.from_numpy(material.matrix)
    raised = Channels(features, torch.zeros(())).raised(given).mean(dim=0) / FLAG
    channels = Channels(features, raised)
    values, present, flags = (part.float().to(device) for part in (*channels.values(given), channels.raised(given)))
    return channels.to(device), Windowed(
        values, present, flags, torch.from_numpy(material.rows.starts).to(device), material.window.length
    )
