"""The score of an image in plain numpy and float64, which the exported graph must agree with; see `oracle`."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import rel_entr
from torch import nn

from training.image_model import POWER, WINDOWS, ImageGraph, RegionalResidual
from training.pixels import MAX_SCALED, PixelFeatures
from training.scores import MeanSquaredError


def score(graph: ImageGraph, row: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the score of an image, `float64[pixels]`, and each position's contribution, `[positions]`."""
    features = graph.features
    present = ~np.isnan(row)
    scaling = features.scaling
    values = np.clip(scaling(np.where(present, row, scaling.centre)), -MAX_SCALED, MAX_SCALED)
    outputs = _reconstruct(graph, values * present)
    if isinstance(graph.score, RegionalResidual):
        contribution = _regional(graph.score, ((values - outputs) * present).reshape(features.image.shape))
    elif isinstance(graph.score, MeanSquaredError):
        contribution = _by_position(features, (values - outputs) ** 2 * present / len(row))
    else:
        found, odds = np.clip(values, 0, 1), outputs
        terms = rel_entr(found, 1 / (1 + np.exp(-odds))) + rel_entr(1 - found, 1 / (1 + np.exp(odds)))
        excess = np.maximum(0, values - 1) + np.maximum(0, -values)
        contribution = _by_position(features, (terms + 0.5 * (excess / 0.01) ** 2) * present)
    return float(contribution.sum()), contribution


def _by_position(features: PixelFeatures, terms: np.ndarray) -> np.ndarray:
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


def _reconstruct(graph: ImageGraph, inputs: np.ndarray) -> np.ndarray:
    network = graph.score.model.network
    components, mean = _to_numpy(network.components), _to_numpy(network.mean)
    linear = (inputs - mean) @ components.T @ components + mean
    image = (inputs - linear).reshape(graph.features.image.shape)
    for layer in network.down[:-1]:
        image = _silu(_convolve(layer, image))
    image = _convolve(network.down[-1], image)
    for index, (layer, (height, width)) in enumerate(zip(network.up, network.sides[-2::-1], strict=True)):
        folded = _convolve(layer, image)
        channels, low, across = folded.shape
        squares = folded.reshape(channels // 4, 2, 2, low, across)
        image = squares.transpose(0, 3, 1, 4, 2).reshape(channels // 4, 2 * low, 2 * across)[:, :height, :width]
        image = _silu(image) if index + 1 < len(network.up) else image
    return linear + image.ravel()


def _silu(values: np.ndarray) -> np.ndarray:
    return values / (1 + np.exp(-values))


def _convolve(layer: nn.Module, image: np.ndarray) -> np.ndarray:
    assert isinstance(layer, nn.Conv2d)
    weight, stride = _to_numpy(layer.weight), layer.stride[0]
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    total = np.zeros((len(weight), -(-height // stride), -(-width // stride)))
    for down in range(3):
        for across in range(3):
            some = padded[:, down : down + height : stride, across : across + width : stride]
            total += np.tensordot(weight[:, :, down, across], some, axes=1)
    return total + _to_numpy(layer.bias)[:, None, None]


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
