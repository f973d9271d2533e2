"""Scores against sampling, each other and a computation by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal

from tests.tables import normal_rows
from tests.training.conftest import BERNOULLI, LONG, Case, TrainedCase, train_once
from training.assembly import build_graph
from training.features import Cells
from training.graph import DetectorGraph
from training.models import Autoencoder, VariationalAutoencoder
from training.rare_events import MIN_EVIDENCE
from training.scores import MeanSquaredError, NegativeElbo, RowScore, sobol_normal


def with_score(graph: DetectorGraph, score: RowScore) -> DetectorGraph:
    """Return the same model under another score."""
    return build_graph(graph.features, score).eval()


def outputs_of(graph: DetectorGraph, matrix: np.ndarray) -> list[np.ndarray]:
    """Return score, contribution, expected and latent of the torch module."""
    with torch.no_grad():
        return [part.numpy() for part in graph(torch.from_numpy(matrix))]


def test_the_elbo_is_close_to_that_of_4096_draws(variational: TrainedCase) -> None:
    draws, rows = 4096, 12
    graph = variational.graph
    matrix = variational.matrix(normal_rows(rows, seed=3, holes=0.0))
    model = graph.score.model
    assert isinstance(model, VariationalAutoencoder)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = _joint_loss(model, graph.features(torch.from_numpy(matrix)), draws)
    presence = -np.log1p([-column.missing_rate for column in variational.scorer.columns]).sum()
    expected, spread = losses.mean(dim=0).numpy() + presence, losses.std(dim=0).numpy()
    error = (variational.scorer.graph.scores(matrix) - expected) / spread  # in deviations of one draw
    assert np.abs(error).max() < 4 * (1 / 16 + 1 / draws) ** 0.5
    assert abs(error.mean()) < 4 * (1 / 16 + 1 / draws) ** 0.5 / rows**0.5


def _joint_loss(model: VariationalAutoencoder, cells: Cells, draws: int) -> Tensor:
    """Return log q(z|x) - log p(z) - log p(x|z) for draws of z, `float64[draws, rows]`."""
    features = model.features
    mean, log_variance = model.network.encode(features.inputs(cells)).double().chunk(2, dim=-1)
    posterior = Independent(Normal(mean, torch.exp(log_variance / 2)), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    latent = posterior.sample((draws,))
    outputs = model.network.decode(latent.float()).double()
    width = features.layout.feature_count
    deviation = torch.exp(outputs[..., width : 2 * width].clamp(-7, 7) / 2)
    likelihoods: list[Distribution] = [Independent(Normal(outputs[..., :width], deviation), 1)]
    found: list[Tensor] = [cells.values.double()]
    for category, logits in enumerate(outputs[..., 2 * width :].split(list(features.layout.code_counts), dim=-1)):
        likelihoods.append(Categorical(logits=logits))
        found.append(cells.codes[:, category])
    log_likelihood = torch.stack([each.log_prob(value) for each, value in zip(likelihoods, found, strict=True)]).sum(dim=0)
    loss: Tensor = posterior.log_prob(latent) - prior.log_prob(latent) - log_likelihood
    return loss


def test_the_reconstruction_probability_is_the_elbo_without_the_divergence(variational: TrainedCase) -> None:
    graph = variational.graph
    model = graph.score.model
    assert isinstance(model, VariationalAutoencoder)
    matrix = variational.matrix(normal_rows(50, seed=3))
    score, contribution, *_ = outputs_of(graph, matrix)
    probability = with_score(graph, NegativeElbo(model, 0, divergence=False))
    assert probability.score.extra_terms == ()
    np.testing.assert_allclose(outputs_of(probability, matrix)[0], score - contribution[:, -1], rtol=1e-9)


def test_mse_is_the_mean_squared_error_over_columns(plain: TrainedCase) -> None:
    model = plain.graph.score.model
    assert isinstance(model, Autoencoder)
    graph = with_score(plain.graph, MeanSquaredError(model))
    layout = graph.features.layout
    columns = layout.columns
    assert graph.score.unit == "squared error"
    matrix = plain.matrix(normal_rows(200, seed=3))
    matrix[:5, [column.name for column in columns].index("slots")] = 9
    score, contribution, expected, _ = outputs_of(graph, matrix)
    by_hand = np.zeros_like(contribution)
    for index, scaling in zip(layout.numbers, layout.scalings, strict=True):
        error = scaling(matrix[:, index]) - scaling(expected[:, index])
        is_inside = (expected[:, index] > columns[index].lowest) & (expected[:, index] < columns[index].highest)
        assert is_inside.mean() > 0.8
        by_hand[:, index] = np.where(is_inside, np.nan_to_num(error**2 / len(columns)), contribution[:, index])
    for index, terms in _brier_scores(graph, matrix).items():
        by_hand[:, index] = terms / len(columns)
    for index in layout.dates:
        by_hand[:, index] = contribution[:, index]
    for index, value in zip(layout.constants, layout.constant_values, strict=True):
        by_hand[:, index] = (matrix[:, index] != value) * MIN_EVIDENCE / len(columns)
    np.testing.assert_allclose(contribution, by_hand, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(score, by_hand.sum(axis=1), rtol=1e-4)


def _brier_scores(graph: DetectorGraph, matrix: np.ndarray) -> dict[int, np.ndarray]:
    """Return the squared errors of each category's probabilities (Brier 1950)."""
    model, layout = graph.score.model, graph.features.layout
    assert isinstance(model, Autoencoder)
    with torch.no_grad():
        logits = model.decode(model.encode(graph.features(torch.from_numpy(matrix)))).logits.double().numpy()
    parts = np.split(logits, np.cumsum(layout.code_counts)[:-1], axis=1)
    errors = {}
    for index, part, count in zip(layout.categories, parts, layout.code_counts, strict=True):
        one_hot = np.arange(count) == matrix[:, [index]]
        errors[index] = np.nan_to_num(((one_hot - softmax(part, axis=1)) ** 2).sum(axis=1)) * ~np.isnan(matrix[:, index])
    return errors


@pytest.mark.parametrize("variant", [pytest.param(name, marks=LONG) for name in ("plain", "variational")])
def test_a_value_outside_0_to_1_adds_a_named_term(variant: str, bundles: Path) -> None:
    trained = train_once(Case(variant, (BERNOULLI,)), bundles)
    index = len(trained.scorer.columns) + trained.scorer.manifest.score.extra_terms.index("outside [0, 1]")
    matrix = np.repeat(trained.matrix(trained.case.normal(1, seed=3)), 6, axis=0)
    matrix[:, 0] = [0.0, 1.0, -0.02, 1.02, -5.0, 1e6]
    term = trained.scorer.graph.explain(matrix).contribution[:, index]
    np.testing.assert_allclose(term[:5], [0, 0, 2, 2, 0.5 * 500**2], rtol=1e-5)
    scores = trained.scorer.graph.scores(matrix)
    assert scores[2] > scores[0]
    assert scores[3] > scores[1]
    assert scores[5] > scores[4] > scores[2]


def test_the_latents_of_a_score_are_fixed_and_evenly_spread() -> None:
    first, again, other = (sobol_normal(16, 5, seed).numpy() for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.abs(first.mean(axis=0)).max() < 0.2
    assert np.abs(first.std(axis=0) - 1).max() < 0.25
