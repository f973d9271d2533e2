"""The score once more, in plain numpy and float64: what the exported graph must agree with.

Written from the definitions, row by row, with the trained weights as its only input from the implementation.
"""

from __future__ import annotations

import math

import numpy as np

from training.graph import DetectorGraph
from training.layout import Layout
from training.models import VariationalAutoencoder
from training.scores import NegativeElbo

DAY, WEEK, MONDAY = 86_400, 604_800, 345_600


def score(graph: DetectorGraph, row: np.ndarray) -> tuple[float, np.ndarray]:
    """Score one row, `float64[columns]`; gives the score and what each column and extra term contributes."""
    layout = graph.features.layout
    values, present = _features(layout, row)
    codes = [row[place] for place in layout.categories]
    inputs = np.concatenate([3 * np.arcsinh(values / 3) * present, _flags(layout, row), *_one_hots(layout, codes)])
    variational = isinstance(graph.score.model, VariationalAutoencoder)
    parts = _elbo(graph, inputs, values, present, codes) if variational else _whitened(graph, inputs, values, present, codes)
    by_feature, by_category, extra = parts
    numbers = len(layout.numbers)
    by_column = np.zeros(len(layout.columns))
    by_column[list(layout.numbers)] = by_feature[:numbers]
    for i, place in enumerate(layout.dates):
        by_column[place] = by_feature[numbers + 4 * i : numbers + 4 * i + 4].sum()
    for i, place in enumerate(layout.categories):
        by_column[place] = by_category[i] if codes[i] != layout.codes[i] else math.log(layout.rows + 2)
    for place, value in zip(layout.constants, layout.constant_values, strict=True):
        by_column[place] = max(layout.rows, 1000) / 2 if not np.isnan(row[place]) and row[place] != value else 0.0
    for place, column in enumerate(layout.columns):
        rate = column.missing_rate
        by_column[place] += -math.log(rate) if np.isnan(row[place]) else -math.log(1 - rate)
    contribution = np.append(by_column, extra)
    return float(contribution.sum()), contribution


def _features(layout: Layout, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = [scaling(row[place]) for place, scaling in zip(layout.numbers, layout.scalings, strict=True)]
    for place in layout.dates:
        for seconds, period in ((row[place], DAY), (row[place] - MONDAY, WEEK)):
            angle = 2 * math.pi * (seconds % period) / period
            values += [math.sin(angle), math.cos(angle)]
    features = np.array(values)
    present = ~np.isnan(features)
    return np.where(present, features, 0.0), present.astype(float)


def _flags(layout: Layout, row: np.ndarray) -> np.ndarray:
    return np.array([0.0 if np.isnan(row[place]) else 1.0 for place in layout.modelled])


def _one_hots(layout: Layout, codes: list[float]) -> list[np.ndarray]:
    return [(np.arange(size) == code).astype(float) for size, code in zip(layout.codes, codes, strict=True)]


def _run(sequence: object, inputs: np.ndarray) -> np.ndarray:
    for layer in sequence:  # type: ignore[attr-defined] # torch.nn.Sequential
        if hasattr(layer, "weight"):
            inputs = layer.weight.detach().double().numpy() @ inputs + layer.bias.detach().double().numpy()
        else:
            inputs = inputs / (1 + np.exp(-inputs))
    return inputs


def _surprises(layout: Layout, logits: np.ndarray, codes: list[float]) -> np.ndarray:
    found, start = [], 0
    for size, code in zip(layout.codes, codes, strict=True):
        part = logits[start : start + size]
        start += size
        known = not np.isnan(code) and code < size
        found.append(math.log(np.exp(part - part.max()).sum()) + part.max() - part[int(code)] if known else 0.0)
    return np.array(found)


def _whitened(
    graph: DetectorGraph, inputs: np.ndarray, values: np.ndarray, present: np.ndarray, codes: list[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layout, network = graph.features.layout, graph.score.model.network
    outputs = _run(network.decoder, _run(network.encoder, inputs))
    there = np.flatnonzero(present)
    residual = (values - outputs[: layout.features])[there]
    covariance = np.linalg.inv(graph.score.precision.numpy())
    contribution = np.zeros(layout.features)
    contribution[there] = 0.5 * residual * np.linalg.solve(covariance[np.ix_(there, there)], residual)
    return contribution, _surprises(layout, outputs[layout.features :], codes), np.array([])


def _elbo(
    graph: DetectorGraph, inputs: np.ndarray, values: np.ndarray, present: np.ndarray, codes: list[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layout, network, width = graph.features.layout, graph.score.model.network, graph.features.layout.features
    assert isinstance(graph.score, NegativeElbo)
    mean, log_variance = np.split(_run(network.encoder, inputs), 2)
    log_variance = np.clip(log_variance, -7, 7)
    by_feature, by_category = [], []
    for noise in graph.score.noise.double().numpy():
        outputs = _run(network.decoder, mean + np.exp(log_variance / 2) * noise)
        spread = np.clip(outputs[width : 2 * width], -7, 7)
        squared = (values - outputs[:width]) ** 2 / np.exp(spread)
        by_feature.append(0.5 * (squared + spread + math.log(2 * math.pi)) * present)
        by_category.append(_surprises(layout, outputs[2 * width :], codes))
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
    return np.mean(by_feature, axis=0), np.mean(by_category, axis=0), np.array([divergence])
