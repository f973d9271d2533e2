"""The way back as one module: codes and noise in, rows in the user's units out; and the proof of its graph.

Exported like the graph that scores, as `decoder.onnx`; `detector.decoder` feeds it.
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
from training import export
from training.adversarial import AdversarialAutoencoder
from training.features import DAY
from training.graph import DetectorGraph
from training.layout import DATE_FEATURES, Layout
from training.models import Model, VariationalAutoencoder

TOLERANCE = 1e-4  # standard deviations: rows are for people to read, no verdict hangs on them
PROVED = 1024  # rows of the proof


class DecoderGraph(nn.Module):
    """Draws a row from what the decoder makes of a code; noise of 0 gives the most likely one.

    Numbers are mean + spread x noise, where the spread is the learned deviation of a variational decoder, that of the
    residuals on held-out rows of a point one, and 0 under a Bernoulli likelihood, whose means are the values themselves.
    Categories are the largest of logit + noise: with Gumbel noise a draw by their probabilities (Gumbel 1954).
    """

    def __init__(self, graph: DetectorGraph, covariance: np.ndarray) -> None:
        """Take the model of a trained graph and the covariance of its residuals, or their variances."""
        super().__init__()
        layout = graph.features.layout
        self.features = graph.features
        self.model = graph.score.model
        self.widths = [layout.features, sum(layout.codes)]
        self.spread = nn.Buffer(
            torch.tensor(np.sqrt(covariance if covariance.ndim == 1 else np.diagonal(covariance))), persistent=False
        )
        # A time of day and week says nothing of the year: dates come out near the last one of training.
        dates = [(column.highest or 0.0) if place in layout.dates else 0.0 for place, column in enumerate(layout.columns)]
        self.anchor = nn.Buffer(torch.tensor(dates, dtype=torch.float64), persistent=False)

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Give rows, `float64[rows, columns]`, from `float64[rows, latent]` and `float64[rows, features + all codes]`."""
        values, logits = self.drawn(latent, noise)
        return self.features.expected(self.anchor.expand(latent.shape[0], -1), values, logits)

    def drawn(self, latent: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Give scaled values, `float64[rows, features]`, and noisy logits, `float64[rows, all codes]`."""
        rebuilt = self.model.decode(latent.to(self.features.real))
        values, logits = rebuilt.mean.double(), rebuilt.logits.double()
        by_feature, by_code = noise.split(self.widths, dim=1)
        if rebuilt.log_variance is not None:
            values = values + torch.exp(0.5 * rebuilt.log_variance.double()) * by_feature
        elif rebuilt.log_odds is None:
            values = values + self.spread * by_feature
        return values, logits + by_code


def prior_of(model: Model) -> Prior | None:
    """Name the distribution that training drove the model's codes towards, if it did."""
    if isinstance(model, VariationalAutoencoder):
        return "normal"
    if isinstance(model, AdversarialAutoencoder):
        return "normal" if model.prior == "gaussian" else "uniform"
    return None


def to_onnx(graph: DecoderGraph) -> bytes:
    """Write the module as one ONNX file."""
    latents, noise = graph.model.latent, sum(graph.widths)
    example = (
        torch.zeros(export.EXAMPLE_ROWS, latents, dtype=torch.float64),
        torch.zeros(export.EXAMPLE_ROWS, noise, dtype=torch.float64),
    )
    return export.module_to_onnx(graph.cpu().eval(), example, [LATENT, NOISE], [OUTPUT])


def prove(graph: DecoderGraph, model: bytes, codes: np.ndarray, seed: int, device: Device) -> Parity:
    """Compare torch with ONNX Runtime on codes of rows, `[rows, latent]`, under noise.

    Numbers are compared as the network has them, in standard deviations; dates as their waves, by time of day (which
    days are nearest is rounded); of categories, the served one must be the largest.

    Raises:
        TrainingError: they disagree; there must be no bundle.
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
    apart = _apart(layout, trained, served, values)
    others = int((_regret(layout, served, logits) > TOLERANCE).sum())
    if not (apart <= TOLERANCE and others == 0):
        raise TrainingError(
            f"the exported {bundle.DECODER} is not the trained network on {opened.provider}: numbers differ by up to "
            f"{apart:.2g} (allowed {TOLERANCE:g}), {others} categories differ; nothing was written"
        )
    return Parity(len(codes), opened.provider, apart, TOLERANCE, others, opened.nodes_on_cpu, bundle.DECODER)


def _apart(layout: Layout, trained: np.ndarray, served: np.ndarray, values: np.ndarray) -> float:
    """Give how far numbers and dates of two matrices are apart at most."""
    apart = [np.zeros(1)]
    for place, scaling in zip(layout.numbers, layout.scalings, strict=True):
        one, other = scaling(trained[:, place]), scaling(served[:, place])
        apart.append(np.abs(one - other) / np.maximum(1.0, np.abs(one)))
    waves = values[:, len(layout.numbers) :].reshape(len(values), -1, DATE_FEATURES)
    for date, place in enumerate(layout.dates):
        off = np.remainder(served[:, place] - trained[:, place] + DAY / 2, DAY) - DAY / 2
        apart.append(2 * np.pi * np.abs(off) / DAY * np.minimum(1.0, np.hypot(waves[:, date, 0], waves[:, date, 1])))
    constant = list(layout.constants)
    apart.append(np.abs(trained[:, constant] - served[:, constant]).ravel())
    return float(np.concatenate(apart).max())


def _regret(layout: Layout, served: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Give by how much the served code of each category falls short of the largest, relative to max(1, |largest|)."""
    parts = np.split(logits, np.cumsum(layout.codes)[:-1], axis=1) if layout.codes else []
    short = [np.zeros(1)]
    for place, part in zip(layout.categories, parts, strict=True):
        largest = part.max(axis=1)
        chosen = np.take_along_axis(part, served[:, [place]].astype(int), axis=1)[:, 0]
        short.append((largest - chosen) / np.maximum(1.0, np.abs(largest)))
    return np.concatenate(short)
