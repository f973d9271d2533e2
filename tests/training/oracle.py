"""The score in plain numpy and float64, which the exported graph must agree with.

It follows the definitions, row by row, and uses only the trained weights of the implementation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from scipy.special import logsumexp, rel_entr, softmax
from torch import nn

from tests.training import image_oracle
from training.fused_scores import HybridScore, MemoryScore
from training.graph import DetectorGraph
from training.image_model import ImageGraph
from training.layout import FeatureLayout
from training.networks import Dense, Memory, Tied, TopK
from training.scores import LikelihoodScore, NegativeElbo, RowScore, WhitenedResidual

DAY, WEEK, MONDAY = 86_400, 604_800, 345_600


def score(graph: DetectorGraph, row: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the score of a row, `float64[columns]`, and the contribution of each column and extra term."""
    if isinstance(graph, ImageGraph):
        return image_oracle.score(graph, row)
    layout, in_nats, is_fused = graph.features.layout, graph.score.unit == "nats", graph.score.unit == "points"
    values, present = _features(layout, row)
    codes = [row[index] for index in layout.categories]
    flags = [0.0 if np.isnan(row[index]) else 1.0 for index in layout.modelled]
    inputs = np.concatenate([3 * np.arcsinh(values / 3) * present, flags, *_one_hots(layout, codes)])
    by_feature, by_category, extra = PARTS[type(graph.score)](graph, inputs, values, present, codes)
    if graph.score.model.bernoulli:
        excess = np.maximum(0, values - 1) + np.maximum(0, -values)
        extra = np.append((0.5 * (excess / 0.01) ** 2 * present).sum(), extra)
    numbers = len(layout.numbers)
    by_column = np.zeros(len(layout.columns))
    by_column[list(layout.numbers)] = by_feature[:numbers]
    for i, index in enumerate(layout.dates):
        by_column[index] = by_feature[numbers + 4 * i : numbers + 4 * i + 4].sum()
    for i, index in enumerate(layout.categories):
        is_unseen = codes[i] == layout.code_counts[i]
        by_column[index] = by_category[i] + (_never_seen(layout, i) if is_unseen else 0.0)
    for index, value in zip(layout.constants, layout.constant_values, strict=True):
        evidence = math.log(layout.rows + 2) if is_fused else max(layout.rows, 1000) / 2
        by_column[index] = evidence if not np.isnan(row[index]) and row[index] != value else 0.0
    for index, column in enumerate(layout.columns):
        rate = column.missing_rate
        surprise = -math.log(rate) if np.isnan(row[index]) else -math.log(1 - rate)
        by_column[index] += max(0.0, surprise - math.log(20)) if is_fused else in_nats * surprise
    contribution = np.append(by_column, extra)
    return float(contribution.sum()), contribution


def _features(layout: FeatureLayout, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values = [scaling(row[index]) for index, scaling in zip(layout.numbers, layout.scalings, strict=True)]
    for index in layout.dates:
        for seconds, period in ((row[index], DAY), (row[index] - MONDAY, WEEK)):
            angle = 2 * math.pi * (seconds % period) / period
            values += [math.sin(angle), math.cos(angle)]
    features = np.array(values)
    present = ~np.isnan(features)
    return np.where(present, features, 0.0), present.astype(float)


def _one_hots(layout: FeatureLayout, codes: list[float]) -> list[np.ndarray]:
    return [(np.arange(size) == code).astype(float) for size, code in zip(layout.code_counts, codes, strict=True)]


ACTIVATIONS = {
    nn.SiLU: lambda x: x / (1 + np.exp(-x)),
    nn.Sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    nn.Tanh: np.tanh,
    nn.ReLU: lambda x: np.maximum(0, x),
    nn.Identity: lambda x: x,
    nn.Dropout: lambda x: x,
}


def _run(modules: Iterable[nn.Module], inputs: np.ndarray) -> np.ndarray:
    for module in modules:
        if isinstance(module, nn.Linear):
            inputs = _to_numpy(module.weight) @ inputs + _to_numpy(module.bias)
        elif isinstance(module, TopK):
            inputs = np.where(inputs >= np.sort(inputs)[-module.k], inputs, 0)
        else:
            inputs = ACTIVATIONS[type(module)](inputs)
    return inputs


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def _encode(network: Dense | Tied, inputs: np.ndarray) -> np.ndarray:
    if isinstance(network, Dense):
        return _run(network.encoder, inputs)
    *hidden, last = network.layers
    return _run([*(part for layer in hidden for part in (layer, network.activation)), last, network.code_activation], inputs)


def _decode(network: Dense | Tied, latent: np.ndarray) -> np.ndarray:
    if isinstance(network, Dense):
        return _run(network.decoder, latent)
    for layer, bias in reversed(list(zip(network.layers, network.biases, strict=True))):
        latent = _to_numpy(layer.weight).T @ latent + _to_numpy(bias)
        latent = latent if layer is network.layers[0] else _run([network.activation], latent)
    return latent[network.mirrored.numpy()]


def _category_losses(layout: FeatureLayout, logits: np.ndarray, codes: list[float]) -> np.ndarray:
    found, start = [], 0
    for size, code in zip(layout.code_counts, codes, strict=True):
        part = logits[start : start + size]
        start += size
        known = not np.isnan(code) and code < size
        found.append(math.log(np.exp(part - part.max()).sum()) + part.max() - part[int(code)] if known else 0.0)
    return np.array(found)


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _whitened(graph: DetectorGraph, inputs: np.ndarray, values: np.ndarray, present: np.ndarray, codes: list[float]) -> Parts:
    layout, network = graph.features.layout, graph.score.model.network
    outputs = _decode(network, _encode(network, inputs))
    known = np.flatnonzero(present)
    residual = (values - outputs[: layout.feature_count])[known]
    covariance = np.linalg.inv(graph.score.precision.numpy())
    contribution = np.zeros(layout.feature_count)
    contribution[known] = 0.5 * residual * np.linalg.solve(covariance[np.ix_(known, known)], residual)
    return contribution, _category_losses(layout, outputs[layout.feature_count :], codes), np.array([])


def _cross_entropy(
    graph: DetectorGraph, inputs: np.ndarray, values: np.ndarray, present: np.ndarray, codes: list[float]
) -> Parts:
    layout, network = graph.features.layout, graph.score.model.network
    outputs = _decode(network, _encode(network, inputs))
    terms = _bernoulli(values, outputs[: layout.feature_count]) * present
    return terms, _category_losses(layout, outputs[layout.feature_count :], codes), np.array([])


def _elbo(graph: DetectorGraph, inputs: np.ndarray, values: np.ndarray, present: np.ndarray, codes: list[float]) -> Parts:
    layout, network, width = graph.features.layout, graph.score.model.network, graph.features.layout.feature_count
    assert isinstance(graph.score, NegativeElbo)
    mean, log_variance = np.split(_encode(network, inputs), 2)
    log_variance = np.clip(log_variance, -7, 7)
    by_feature, by_category = [], []
    for noise in _to_numpy(graph.score.noise):
        outputs = _decode(network, mean + np.exp(log_variance / 2) * noise)
        if graph.score.model.bernoulli:
            by_feature.append(_bernoulli(values, outputs[:width]) * present)
            by_category.append(_category_losses(layout, outputs[width:], codes))
            continue
        spread = np.clip(outputs[width : 2 * width], -7, 7)
        squared = (values - outputs[:width]) ** 2 / np.exp(spread)
        by_feature.append(0.5 * (squared + spread + math.log(2 * math.pi)) * present)
        by_category.append(_category_losses(layout, outputs[2 * width :], codes))
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
    return np.mean(by_feature, axis=0), np.mean(by_category, axis=0), np.array([divergence])


def _bernoulli(values: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Return the Kullback-Leibler divergence of Bernoulli distributions: the cross-entropy minus its minimum."""
    found, odds = np.clip(values, 0, 1), np.asarray(log_odds, dtype=float)
    return rel_entr(found, 1 / (1 + np.exp(-odds))) + rel_entr(1 - found, 1 / (1 + np.exp(odds)))


def _memory(graph: DetectorGraph, inputs: np.ndarray, _values: np.ndarray, present: np.ndarray, codes: list[float]) -> Parts:
    assert isinstance(graph.score, MemoryScore)
    network = graph.score.model.network
    parts = _memory_parts(graph.features.layout, network, inputs, present, codes)
    return _fused([part for name, part in parts.items() if graph.score.parts in {"both", name}])


def _hybrid(graph: DetectorGraph, inputs: np.ndarray, values: np.ndarray, present: np.ndarray, codes: list[float]) -> Parts:
    assert isinstance(graph.score, HybridScore)
    parts = _memory_parts(graph.features.layout, graph.score.model.memory, inputs, present, codes)
    by_feature, by_category, _ = _whitened(graph, inputs, values, present, codes)
    return _fused([*parts.values(), (by_feature, by_category, 0.0, _to_numpy(graph.score.residual_quantiles))])


MemoryPart = tuple[np.ndarray, np.ndarray, float, np.ndarray]


def _memory_parts(
    layout: FeatureLayout, memory: Memory, inputs: np.ndarray, present: np.ndarray, codes: list[float]
) -> dict[str, MemoryPart]:
    features = layout.feature_count
    plain = np.concatenate([inputs[:features], *_one_hots(layout, codes)])
    known = np.concatenate(
        [present, *(np.full(size, not np.isnan(c)) for size, c in zip(layout.code_counts, codes, strict=True))]
    )
    values = np.clip((plain - _to_numpy(memory.centre)) / _to_numpy(memory.spread), -20, 20)
    likeness, bandwidths = [], _to_numpy(memory.bandwidth)
    for prototype, weight, bandwidth in zip(_to_numpy(memory.prototypes), _to_numpy(memory.log_weight), bandwidths, strict=True):
        squared = ((values - prototype) ** 2 * known).sum()
        likeness.append(weight - known.sum() / 2 * math.log(bandwidth) - squared / (2 * bandwidth))
    attention = softmax(likeness)
    mean = attention @ _to_numpy(memory.prototypes)
    squared = (values - mean) ** 2 * known
    crowd = 0.5 * (attention / bandwidths).sum() * squared
    crowd_quantiles, usual = _to_numpy(memory.crowd_quantiles), _to_numpy(memory.usual_recall)
    density = -logsumexp(likeness) + (1 - known).sum() * crowd_quantiles[0] / len(values)
    return {
        "crowd": (*_by_column(layout, crowd), density - crowd.sum(), crowd_quantiles),
        "recall": (*_by_column(layout, squared), ((1 - known) * usual).sum(), _to_numpy(memory.recall_quantiles)),
    }


def _by_column(layout: FeatureLayout, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    by_feature, codes = np.split(values, [layout.feature_count])
    return by_feature, np.array([part.sum() for part in np.split(codes, np.cumsum(layout.code_counts)[:-1])])


def _fused(parts: list[MemoryPart]) -> Parts:
    by_feature, by_category, rest = 0.0, 0.0, 0.0
    for features, categories, other, (median, high) in parts:
        above = (features.sum() + categories.sum() + other - median) / (high - median)
        factor = (math.log1p(above) / above if above > 1e-9 else 1.0) / (high - median)
        by_feature, by_category = by_feature + features * factor, by_category + categories * factor
        rest += (other - median) * factor
    return by_feature, by_category, np.array([rest])


PARTS: dict[type[RowScore], Callable[..., Parts]] = {
    WhitenedResidual: _whitened,
    LikelihoodScore: _cross_entropy,
    NegativeElbo: _elbo,
    MemoryScore: _memory,
    HybridScore: _hybrid,
}


def _never_seen(layout: FeatureLayout, category: int) -> float:
    """Return what a new value costs: where training saw every value at least five times, as much as a constant that changes."""
    return max(layout.rows, 1000) / 2 if layout.closed[category] else math.log(layout.rows + 2)
