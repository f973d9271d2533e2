"""The score of an image once more, in plain numpy and float64: what the exported graph must agree with.

Written from the definitions, with the trained weights as its only input from the implementation; see `oracle`.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import rel_entr
from torch import nn

from training.image_model import POWER, WINDOWS, ImageGraph, RegionalResidual
from training.pixels import FARTHEST, Pixels
from training.scores import MeanSquaredError


def score(graph: ImageGraph, row: np.ndarray) -> tuple[float, np.ndarray]:
    """Score one image, `float64[pixels]`; gives the score and each position's contribution, `[positions]`."""
    features = graph.features
    there = ~np.isnan(row)
    scaling = features.scaling
    values = np.clip(scaling(np.where(there, row, scaling.centre)), -FARTHEST, FARTHEST)
    outputs = _rebuilt(graph, values * there)
    if isinstance(graph.score, RegionalResidual):
        contribution = _regional(graph.score, ((values - outputs) * there).reshape(features.image.shape))
    elif isinstance(graph.score, MeanSquaredError):
        contribution = _by_position(features, (values - outputs) ** 2 * there / len(row))
    else:
        found, odds = np.clip(values, 0, 1), outputs
        terms = rel_entr(found, 1 / (1 + np.exp(-odds))) + rel_entr(1 - found, 1 / (1 + np.exp(odds)))
        beyond = np.maximum(0, values - 1) + np.maximum(0, -values)
        contribution = _by_position(features, (terms + 0.5 * (beyond / 0.01) ** 2) * there)
    return float(contribution.sum()), contribution


def _by_position(features: Pixels, terms: np.ndarray) -> np.ndarray:
    return terms.reshape(features.image.shape).sum(axis=0).ravel()


def _regional(score: RegionalResidual, residual: np.ndarray) -> np.ndarray:
    _, height, width = residual.shape
    weights = score.precision.double().numpy().reshape(len(WINDOWS), height, width)
    total = np.zeros((height, width))
    for size, weight in zip(WINDOWS, weights, strict=True):
        reach = size // 2
        energy = np.zeros((height, width))
        for y in range(height):
            for x in range(width):
                window = residual[:, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
                energy[y, x] = (window.mean(axis=(1, 2)) ** 2).mean() * weight[y, x]
        powers = energy**POWER
        total += powers.mean() ** (1 / POWER) * powers / powers.sum() / len(WINDOWS)
    return total.ravel()


def _rebuilt(graph: ImageGraph, inputs: np.ndarray) -> np.ndarray:
    network = graph.score.model.network
    components, mean = _numbers(network.components), _numbers(network.mean)
    linear = (inputs - mean) @ components.T @ components + mean
    image = (inputs - linear).reshape(graph.features.image.shape)
    for layer in network.down[:-1]:
        image = _silu(_convolved(layer, image))
    image = _convolved(network.down[-1], image)
    for place, (layer, (height, width)) in enumerate(zip(network.up, network.sides[-2::-1], strict=True)):
        folded = _convolved(layer, image)
        channels, low, across = folded.shape
        squares = folded.reshape(channels // 4, 2, 2, low, across)
        image = squares.transpose(0, 3, 1, 4, 2).reshape(channels // 4, 2 * low, 2 * across)[:, :height, :width]
        image = _silu(image) if place + 1 < len(network.up) else image
    return linear + image.ravel()


def _silu(values: np.ndarray) -> np.ndarray:
    return values / (1 + np.exp(-values))


def _convolved(layer: nn.Module, image: np.ndarray) -> np.ndarray:
    assert isinstance(layer, nn.Conv2d)
    weight, stride = _numbers(layer.weight), layer.stride[0]
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(weight), -(-height // stride), -(-width // stride)))
    for down in range(3):
        for across in range(3):
            some = padded[:, down : down + height : stride, across : across + width : stride]
            total += np.tensordot(weight[:, :, down, across], some, axes=1)
    return total + _numbers(layer.bias)[:, None, None]


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
