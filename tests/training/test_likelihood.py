"""Losses against torch's distributions; errors below a threshold have no gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logit
from torch.distributions import Bernoulli, Categorical
from torch.distributions import kl_divergence as torch_divergence

from tests.tables import normal_rows
from tests.training.conftest import cells_of
from tests.training.tensors import LATENT, generator, normal
from training.likelihood import Reconstruction, bernoulli_loss, row_loss
from training.models import Autoencoder, StepContext
from training.networks import Dense, Shape
from training.scores import WhitenedResidual


def test_errors_below_the_threshold_have_no_gradient_and_are_part_of_the_score() -> None:
    features, cells = cells_of(normal_rows(60))
    width, codes = features.layout.feature_count, sum(features.layout.code_counts)
    mean, logits = normal(60, width).float().requires_grad_(), normal(60, codes, seed=1).float().requires_grad_()
    errors = 0.5 * (cells.values - mean.detach()) ** 2
    min_error = float(errors.median())
    row_loss(cells, Reconstruction(mean, logits), features, min_error).sum().backward()
    assert mean.grad is not None
    assert logits.grad is not None
    small = (errors <= min_error) | (features.presence(cells) == 0)
    assert torch.all(mean.grad[small] == 0)
    assert torch.all(mean.grad[~small] != 0)
    by_category = zip(features.by_category(logits.detach()), features.by_category(logits.grad), strict=True)
    for category, (part, slope) in enumerate(by_category):
        known = cells.codes[:, category] >= 0
        loss = -Categorical(logits=part).log_prob(cells.codes[:, category].clamp(min=0).long())
        assert torch.equal((slope != 0).any(dim=1), known & (loss > min_error))

    network = Dense(Shape(features.width, (), LATENT, LATENT, features.outputs))
    models = [Autoencoder(features, network, LATENT, min_error=each) for each in (1e6, 0.0)]
    assert float(models[0].loss(cells, cells, StepContext(1.0, generator())).detach().abs().max()) == 0
    with torch.no_grad():
        found, expected = (WhitenedResidual(model, torch.eye(width, dtype=torch.float64))(cells) for model in models)
    assert found.features.sum() > 0
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.categories, expected.categories)


@given(st.floats(-3, 4), st.floats(-30, 30))
def test_a_bernoulli_loss_is_never_negative(value: float, log_odds: float) -> None:
    found = bernoulli_loss(torch.tensor(value, dtype=torch.float64), torch.tensor(log_odds, dtype=torch.float64))
    assert found >= -1e-12
    certain = bernoulli_loss(torch.tensor(value, dtype=torch.float64), torch.tensor(40.0 if value > 0.5 else -40.0))
    if not 0 < value < 1:
        assert certain < 1e-12


@pytest.mark.parametrize("value", [0.01, 0.3, 0.5, 0.99])
def test_a_perfect_reconstruction_has_no_loss(value: float) -> None:
    values = torch.tensor([value], dtype=torch.float64)
    found = bernoulli_loss(values, torch.from_numpy(logit([value])))
    assert abs(float(found)) < 1e-12
    expected = torch_divergence(Bernoulli(values), Bernoulli(torch.tensor([0.2], dtype=torch.float64)))
    torch.testing.assert_close(bernoulli_loss(values, torch.from_numpy(logit([0.2]))), expected)
