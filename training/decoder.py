"""The decoder as one module: codes and noise in, rows in the user's units out; its export and its proof.

Exported as `decoder.onnx`, which `detector.decoder` runs.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from detector import bundle
from detector.decoder import LATENT, NOISE, OUTPUT, DecoderSession, NoiseSource
from detector.errors import TrainingError
from detector.graph import Device
from detector.manifest import Parity, Prior
from training.adversarial import AdversarialAutoencoder
from training.export import EXAMPLE_ROWS, GraphPart
from training.features import DAY
from training.graph import DetectorGraph
from training.layout import DATE_FEATURES, FeatureLayout
from training.models import VariationalAutoencoder

TOLERANCE = 1e-4  # standard deviations: no verdict depends on decoded rows
MAX_PROOF_ROWS = 1024


class DecoderGraph(nn.Module):
    """Draws a row from the decoder's distribution for a code; with noise 0, the most likely row.

    Numbers are mean + spread x noise. The spread is the learned deviation of a variational decoder, the deviation of the
    residuals on held-out rows of a point decoder, and 0 under a Bernoulli likelihood. Categories are the argmax of
    logit + noise: with Gumbel noise, a draw by their probabilities (Gumbel 1954).
    """

    def __init__(self, graph: DetectorGraph, covariance: np.ndarray) -> None:
        """Use the model of a trained graph; `covariance` is that of its residuals, or a vector of their variances."""
        super().__init__()
        layout = graph.features.layout
        self.features = graph.features
        self.model = graph.score.model
        self.widths = [layout.feature_count, sum(layout.code_counts)]
        self.spread = nn.Buffer(
            torch.tensor(np.sqrt(covariance if covariance.ndim == 1 else np.diagonal(covariance))), persistent=False
        )
        # The waves determine the time of the week, not the year: decoded dates are near the last one of training.
        dates = [(column.highest or 0.0) if index in layout.dates else 0.0 for index, column in enumerate(layout.columns)]
        self.anchor = nn.Buffer(torch.tensor(dates, dtype=torch.float64), persistent=False)

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Return rows, `float64[rows, columns]`, from `float64[rows, latent]` and `float64[rows, features + all codes]`."""
        values, logits = self.drawn(latent, noise)
        return self.features.expected(self.anchor.expand(latent.shape[0], -1), values, logits)

    def drawn(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return scaled values, `float64[rows, features]`, and noisy logits, `float64[rows, all codes]`."""
        reconstruction = self.model.decode(latent.to(self.features.real))
        values, logits = reconstruction.mean.double(), reconstruction.logits.double()
        by_feature, by_code = noise.split(self.widths, dim=1)
        if reconstruction.log_variance is not None:
            values = values + torch.exp(0.5 * reconstruction.log_variance.double()) * by_feature
        elif reconstruction.log_odds is None:
            values = values + self.spread * by_feature
        return values, logits + by_code


def prior_of(model: nn.Module) -> Prior | None:
    """Return the prior that training drove the model's codes towards, if any."""
    if isinstance(model, VariationalAutoencoder):
        return "normal"
    if isinstance(model, AdversarialAutoencoder):
        return "normal" if model.prior == "gaussian" else "uniform"
    return None


def part_of(graph: DecoderGraph) -> GraphPart:
    """Return what is to be exported."""
    latents, noise = graph.model.latent, sum(graph.widths)
    example = (
        torch.zeros(EXAMPLE_ROWS, latents, dtype=torch.float64),
        torch.zeros(EXAMPLE_ROWS, noise, dtype=torch.float64),
    )
    return GraphPart(graph, example, [LATENT, NOISE], [OUTPUT], rows="codes")


def prove(graph: DecoderGraph, model: bytes, codes: np.ndarray, seed: int, device: Device) -> Parity:
    """Compare torch with ONNX Runtime on codes of rows, `[rows, latent]`, under noise.

    Numbers are compared in standard deviations and dates by time of day (the day itself is rounded); a category from
    ONNX Runtime must have the largest logit.

    Raises:
        TrainingError: they disagree.
    """
    opened = DecoderSession(model, device)
    codes = codes.astype(np.float64)
    noise = NoiseSource(graph.widths[0], graph.widths[1], np.random.SeedSequence(seed)).draw(len(codes))
    served = opened.decode(codes, noise)
    with torch.no_grad():
        latent, drawn = torch.from_numpy(codes), torch.from_numpy(noise)
        values, logits = (part.numpy() for part in graph.drawn(latent, drawn))
        trained = graph(latent, drawn).numpy()
    layout = graph.features.layout
    difference = _largest_difference(layout, trained, served, values)
    wrong_categories = int((_category_gap(layout, served, logits) > TOLERANCE).sum())
    if not (difference <= TOLERANCE and wrong_categories == 0):
        raise TrainingError(
            f"the exported {bundle.DECODER} is not the trained network on {opened.provider}: numbers differ by up to "
            f"{difference:.2g} (allowed {TOLERANCE:g}), {wrong_categories} categories differ; nothing was written"
        )
    return Parity(len(codes), opened.provider, difference, TOLERANCE, wrong_categories, opened.nodes_on_cpu, bundle.DECODER)


def _largest_difference(layout: FeatureLayout, trained: np.ndarray, served: np.ndarray, values: np.ndarray) -> float:
    """Return the largest difference between numbers and dates of two matrices."""
    differences = [np.zeros(1)]
    for index, scaling in zip(layout.numbers, layout.scalings, strict=True):
        by_torch, by_onnx = scaling(trained[:, index]), scaling(served[:, index])
        differences.append(np.abs(by_torch - by_onnx) / np.maximum(1.0, np.abs(by_torch)))
    waves = values[:, len(layout.numbers) :].reshape(len(values), -1, DATE_FEATURES)
    for date, index in enumerate(layout.dates):
        seconds = np.remainder(served[:, index] - trained[:, index] + DAY / 2, DAY) - DAY / 2
        differences.append(2 * np.pi * np.abs(seconds) / DAY * np.minimum(1.0, np.hypot(waves[:, date, 0], waves[:, date, 1])))
    constants = list(layout.constants)
    differences.append(np.abs(trained[:, constants] - served[:, constants]).ravel())
    return float(np.concatenate(differences).max())


def _category_gap(layout: FeatureLayout, served: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Return the gap between each category's largest logit and that of the code served, relative to max(1, |largest|)."""
    parts = np.split(logits, np.cumsum(layout.code_counts)[:-1], axis=1) if layout.code_counts else []
    gaps = [np.zeros(1)]
    for index, part in zip(layout.categories, parts, strict=True):
        largest = part.max(axis=1)
        chosen = np.take_along_axis(part, served[:, [index]].astype(int), axis=1)[:, 0]
        gaps.append((largest - chosen) / np.maximum(1.0, np.abs(largest)))
    return np.concatenate(gaps)
