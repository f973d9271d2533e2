"""The mathematics of single parts, against oracles that share nothing with them: autograd, distributions, PCA, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from scipy.special import logit, softmax
from sklearn.decomposition import PCA
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal
from torch.distributions import kl_divergence as divergence_of
from torch.func import jacrev, vmap

from detector.columns import encode
from tests.tables import normal_rows
from tests.training.conftest import BERNOULLI, Case, cells_of, learnt, made_once, table_of
from training import penalty, variants
from training import train as training
from training.features import Cells
from training.fit import ignore_progress
from training.graph import LEAST_EVIDENCE, DetectorGraph
from training.layout import build_layout
from training.likelihood import Reconstruction, bernoulli, surprise
from training.models import Autoencoder, Moment, VariationalAutoencoder
from training.networks import Dense, Shape, Tied, TopK
from training.networks.dense import ACTIVATIONS
from training.penalty import Gaussian, jacobian_norm
from training.recipe import Recipe
from training.scores import WhitenedResidual
from training.settings import from_texts

ROWS, INPUTS, LATENT = 6, 5, 4
KINDS = [Dense, Tied]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=generator(seed), dtype=torch.float64)


def network_of(kind: type[Dense | Tied], hidden: tuple[int, ...], activation: str) -> Dense | Tied:
    """Give a network in float64 with random weights and biases; its outputs mirror its inputs."""
    shape = Shape(INPUTS, hidden, LATENT, LATENT, INPUTS, activation, activation)
    made: Dense | Tied = (Dense(shape) if kind is Dense else Tied(shape, torch.arange(INPUTS))).double()
    for place, parameter in enumerate(made.parameters()):
        nn.init.constant_(parameter, 0.0)
        parameter.data += 0.6 * normal(*parameter.shape, seed=place)
    return made


def matrix_of(graph: DetectorGraph, frame: pl.DataFrame) -> np.ndarray:
    return encode(frame, graph.features.layout.columns, np.arange(frame.height)).matrix


def outputs_of(graph: DetectorGraph, matrix: np.ndarray) -> list[np.ndarray]:
    """Give score, contribution, expected and latent, as the graph has them before it is exported."""
    with torch.no_grad():
        return [part.numpy() for part in graph(torch.from_numpy(matrix))]


def true_norm(network: Dense | Tied, inputs: Tensor) -> Tensor:
    """Give the squared Frobenius norm of the whole Jacobian, row by row, by autograd."""
    whole: Tensor = vmap(jacrev(network.encode))(inputs)
    return whole.square().sum(dim=(1, 2))


def encoder_weights(network: Dense | Tied) -> list[Tensor]:
    parts = network.encoder if isinstance(network, Dense) else network.layers
    return [part.weight for part in parts if isinstance(part, nn.Linear)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_contractive_penalty_of_one_layer_is_the_jacobians_norm(kind: type[Dense], activation: str) -> None:
    network, inputs = network_of(kind, (), activation), normal(ROWS, INPUTS, seed=9)
    found, wanted = jacobian_norm(network, inputs, generator()), true_norm(network, inputs)
    torch.testing.assert_close(found, wanted)
    assert wanted.min() > 0 or activation == "relu"
    slopes = [torch.autograd.grad(norm.sum(), encoder_weights(network)) for norm in (found, wanted)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("activation", ["silu", "sigmoid", "tanh"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_contractive_penalty_of_two_layers_is_unbiased_and_so_is_its_gradient(kind: type[Dense], activation: str) -> None:
    draws = 4000
    network, inputs = network_of(kind, (7,), activation), normal(ROWS, INPUTS, seed=9)
    estimates = jacobian_norm(network, inputs.repeat_interleave(draws, dim=0), generator()).unflatten(0, (ROWS, draws))
    wanted = true_norm(network, inputs)
    error = estimates.std(dim=1) / draws**0.5
    assert error.min() > 0
    assert torch.all((estimates.mean(dim=1) - wanted).abs() < 4 * error)
    found_slope, wanted_slope = (
        torch.cat([part.flatten() for part in torch.autograd.grad(norm, encoder_weights(network))])
        for norm in (estimates.mean(), wanted.mean())
    )
    assert torch.nn.functional.cosine_similarity(found_slope, wanted_slope, dim=0) > 0.999
    assert abs(float(found_slope.norm() / wanted_slope.norm()) - 1) < 0.03


def test_the_divergence_from_the_prior_is_that_of_distributions() -> None:
    mean, log_variance = normal(50, LATENT), 2 * normal(50, LATENT, seed=1)
    code = Independent(Normal(mean, torch.exp(log_variance / 2)), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(penalty.kl_divergence(Gaussian(mean, log_variance)), divergence_of(code, prior))


@pytest.mark.parametrize("target", [0.01, 0.05, 0.5])
def test_the_divergence_of_activations_is_that_of_coins(target: float) -> None:
    code = torch.sigmoid(3 * normal(ROWS, LATENT)).requires_grad_()
    found = penalty.Rest(target, 0.7)(network_of(Dense, (), "sigmoid"), normal(ROWS, INPUTS), code, generator())
    coins = divergence_of(Bernoulli(torch.tensor(target, dtype=torch.float64)), Bernoulli(code.mean(dim=0)))
    torch.testing.assert_close(found, (0.7 * coins.sum()).expand(ROWS))
    torch.testing.assert_close(*(torch.autograd.grad(each, code)[0] for each in (found.mean(), 0.7 * coins.sum())))


@pytest.mark.parametrize("power", [1, 2])
def test_activity_is_the_norm_of_codes(power: int) -> None:
    code = normal(ROWS, LATENT)
    found = penalty.Activity(power, 0.3)(network_of(Dense, (), "relu"), normal(ROWS, INPUTS), code, generator())
    torch.testing.assert_close(found, 0.3 * torch.linalg.vector_norm(code, ord=power, dim=1) ** power)


@pytest.mark.parametrize("hidden", [(), (7,), (7, 3)])
@pytest.mark.parametrize("activation", ["sigmoid", "silu"])
def test_tied_gradients_are_the_sum_of_an_untied_copys(hidden: tuple[int, ...], activation: str) -> None:
    shape = Shape(INPUTS, hidden, LATENT, LATENT, INPUTS, activation)
    mirrored = torch.tensor([0, 1, 4])
    tied, untied = Tied(shape, mirrored).double(), Dense(shape).double()
    encoder, decoder = (
        [part for part in half if isinstance(part, nn.Linear)] for half in (untied.encoder, reversed(untied.decoder))
    )
    for layer, bias, down, up in zip(tied.layers, tied.biases, encoder, decoder, strict=True):
        down.load_state_dict(layer.state_dict())
        nn.init.normal_(bias)
        up.load_state_dict({"weight": layer.get_parameter("weight").t(), "bias": bias})
    inputs = normal(ROWS, INPUTS)
    for network, kept in ((tied, slice(None)), (untied, mirrored)):
        rebuilt = network.decode(network.encode(inputs))[:, kept]
        (rebuilt - inputs[:, mirrored]).square().sum().backward()
    for layer, down, up in zip(tied.layers, encoder, decoder, strict=True):
        torch.testing.assert_close(layer.get_parameter("weight").grad, down.weight.grad + up.weight.grad.t())


@given(st.data())
def test_top_k_keeps_exactly_k_of_the_largest(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 12))
    k = data.draw(st.integers(1, width))
    several = st.sampled_from([-2.0, -1.0, 1.0, 2.0])  # so few that there are ties, and none is what silence looks like
    code = torch.tensor(data.draw(st.lists(st.lists(several, min_size=width, max_size=width), min_size=rows, max_size=rows)))
    kept = TopK(k)(code.requires_grad_())
    assert kept.shape == code.shape
    assert torch.all((kept != 0).sum(dim=1) == k)
    assert torch.all((kept == 0) | (kept == code))
    torch.testing.assert_close(kept.sort(dim=1, descending=True).values.sum(dim=1), code.sort(dim=1).values[:, -k:].sum(dim=1))
    kept.sum().backward()
    assert code.grad is not None
    assert torch.equal(code.grad, (kept != 0).float())


def test_a_trained_top_k_code_has_k_activations_at_most() -> None:
    graph = learnt(Case("sparse", (("driver", "top-k"), ("k", "3"))))
    active = (outputs_of(graph, matrix_of(graph, normal_rows(100, seed=1)))[3] != 0).sum(axis=1)
    assert active.max() == 3
    assert np.mean(active) > 2


def test_errors_below_the_threshold_teach_nothing_and_the_score_uses_all() -> None:
    features, cells = cells_of(normal_rows(60))
    width, codes = features.layout.features, sum(features.layout.codes)
    mean, logits = normal(60, width).float().requires_grad_(), normal(60, codes, seed=1).float().requires_grad_()
    rebuilt = Reconstruction(mean, logits)
    errors = 0.5 * (cells.values - mean.detach()) ** 2
    ignored = float(errors.median())
    surprise(cells, rebuilt, features, ignored).sum().backward()
    assert mean.grad is not None
    assert logits.grad is not None
    small = (errors <= ignored) | (features.presence(cells) == 0)
    assert torch.all(mean.grad[small] == 0)
    assert torch.all(mean.grad[~small] != 0)
    for place, (part, slope) in enumerate(
        zip(features.by_category(logits.detach()), features.by_category(logits.grad), strict=True)
    ):
        known = cells.codes[:, place] >= 0
        lost = -Categorical(logits=part).log_prob(cells.codes[:, place].clamp(min=0).long())
        assert torch.equal((slope != 0).any(dim=1), known & (lost > ignored))

    network = Dense(Shape(features.width, (), LATENT, LATENT, features.outputs))
    deaf, all_ears = (Autoencoder(features, network, LATENT, ignored=ignored) for ignored in (1e6, 0.0))
    assert float(deaf.loss(cells, cells, Moment(1.0, generator())).detach().abs().max()) == 0
    with torch.no_grad():
        found, wanted = (WhitenedResidual(model, torch.eye(width, dtype=torch.float64))(cells) for model in (deaf, all_ears))
    assert found.features.sum() > 0
    assert torch.equal(found.features, wanted.features)
    assert torch.equal(found.categories, wanted.categories)


def test_a_linear_one_is_principal_component_analysis() -> None:
    columns, latent, rows = 8, 3, 2000
    random = np.random.default_rng(0)
    loadings = 2.5 * np.linalg.qr(random.normal(size=(columns, latent)))[0].T
    values = random.normal(size=(rows, latent)) @ loadings + 0.7 * random.normal(size=(rows, columns))
    material = training.prepare(table_of(pl.DataFrame(values, [f"x{place}" for place in range(columns)])), Recipe())
    matrix = material.matrix[material.split.training]
    plan = variants.plan("plain", from_texts(["sizes=none", f"latent={latent}"]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layout = build_layout(matrix, material.columns)
        graph = training.learn(layout, material, plan, 0, torch.device("cpu"), ignore_progress).graph
    model = graph.score.model
    assert isinstance(model, Autoencoder)
    cells = graph.features(torch.from_numpy(matrix))
    with torch.no_grad():
        rebuilt = model.decode(model.encode(cells)).mean.double().numpy()
    scaled = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    oracle = PCA(latent).fit(scaled)
    least = np.mean((scaled - oracle.inverse_transform(oracle.transform(scaled))) ** 2)
    assert 1 <= np.mean((scaled - rebuilt) ** 2) / least < 1.01
    assert model.network.decoder is not None
    decoder = next(part for part in model.network.decoder if isinstance(part, nn.Linear))
    angles = subspace_angles(decoder.weight.detach().double().numpy(), oracle.components_.T)
    assert np.degrees(angles).max() < 3


def test_the_elbo_is_that_of_4096_draws(bundles: Path) -> None:
    draws, rows = 4096, 12
    case = Case("variational")
    made, graph = made_once(case, bundles), learnt(case)
    frame = normal_rows(rows, seed=3, holes=0.0)
    matrix = encode(frame, made.scorer.columns, np.arange(rows)).matrix
    model = graph.score.model
    assert isinstance(model, VariationalAutoencoder)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        surprises = _joint_surprise(model, graph.features(torch.from_numpy(matrix)), draws)
    there = -np.log1p([-column.missing_rate for column in made.scorer.columns]).sum()
    wanted, spread = surprises.mean(dim=0).numpy() + there, surprises.std(dim=0).numpy()
    off = (made.scorer.graph.scores(matrix) - wanted) / spread  # in deviations of one draw
    assert np.abs(off).max() < 4 * (1 / 16 + 1 / draws) ** 0.5
    assert abs(off.mean()) < 4 * (1 / 16 + 1 / draws) ** 0.5 / rows**0.5


def _joint_surprise(model: VariationalAutoencoder, cells: Cells, draws: int) -> Tensor:
    """Give log q(z|x) - log p(z) - log p(x|z) for draws of z, `float64[draws, rows]`."""
    features = model.features
    mean, log_variance = model.network.encode(features.inputs(cells)).double().chunk(2, dim=-1)
    posterior = Independent(Normal(mean, torch.exp(log_variance / 2)), 1)
    prior = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    latent = posterior.sample((draws,))
    outputs = model.network.decode(latent.float()).double()
    width = features.layout.features
    deviation = torch.exp(outputs[..., width : 2 * width].clamp(-7, 7) / 2)
    likelihoods: list[Distribution] = [Independent(Normal(outputs[..., :width], deviation), 1)]
    found: list[Tensor] = [cells.values.double()]
    for place, part in enumerate(outputs[..., 2 * width :].split(list(features.layout.codes), dim=-1)):
        likelihoods.append(Categorical(logits=part))
        found.append(cells.codes[:, place])
    of_row = torch.stack([each.log_prob(value) for each, value in zip(likelihoods, found, strict=True)]).sum(dim=0)
    surprise: Tensor = posterior.log_prob(latent) - prior.log_prob(latent) - of_row
    return surprise


def test_the_reconstruction_probability_is_the_elbo_without_the_divergence() -> None:
    whole, part = (learnt(Case("variational", extra)) for extra in ((), (("score", "probability"),)))
    matrix = matrix_of(whole, normal_rows(50, seed=3))
    score, contribution, *_ = outputs_of(whole, matrix)
    np.testing.assert_allclose(outputs_of(part, matrix)[0], score - contribution[:, -1], rtol=1e-9)


def test_mse_is_the_mean_over_columns_of_squared_errors() -> None:
    graph = learnt(Case("plain", (("score", "mse"),)))
    layout = graph.features.layout
    columns = layout.columns
    assert graph.score.unit == "squared error"
    matrix = matrix_of(graph, normal_rows(200, seed=3))
    matrix[:5, [column.name for column in columns].index("slots")] = 9
    score, contribution, expected, _ = outputs_of(graph, matrix)
    by_hand = np.zeros_like(contribution)
    for place, scaling in zip(layout.numbers, layout.scalings, strict=True):
        error = scaling(matrix[:, place]) - scaling(expected[:, place])
        inside = (expected[:, place] > columns[place].lowest) & (expected[:, place] < columns[place].highest)
        assert inside.mean() > 0.8
        by_hand[:, place] = np.where(inside, np.nan_to_num(error**2 / len(columns)), contribution[:, place])
    for place, terms in _briers(graph, matrix).items():
        by_hand[:, place] = terms / len(columns)
    for place in layout.dates:
        by_hand[:, place] = contribution[:, place]
    for place, value in zip(layout.constants, layout.constant_values, strict=True):
        by_hand[:, place] = (matrix[:, place] != value) * LEAST_EVIDENCE / len(columns)
    np.testing.assert_allclose(contribution, by_hand, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(score, by_hand.sum(axis=1), rtol=1e-4)


def _briers(graph: DetectorGraph, matrix: np.ndarray) -> dict[int, np.ndarray]:
    """Give the squared errors of each category's probabilities (Brier 1950)."""
    model, layout = graph.score.model, graph.features.layout
    assert isinstance(model, Autoencoder)
    with torch.no_grad():
        logits = model.decode(model.encode(graph.features(torch.from_numpy(matrix)))).logits.double().numpy()
    parts = np.split(logits, np.cumsum(layout.codes)[:-1], axis=1)
    errors = {}
    for place, part, codes in zip(layout.categories, parts, layout.codes, strict=True):
        hot = np.arange(codes) == matrix[:, [place]]
        errors[place] = np.nan_to_num(((hot - softmax(part, axis=1)) ** 2).sum(axis=1)) * ~np.isnan(matrix[:, place])
    return errors


@given(st.floats(-3, 4), st.floats(-30, 30))
def test_a_cross_entropy_is_never_a_bonus(value: float, log_odds: float) -> None:
    found = bernoulli(torch.tensor(value, dtype=torch.float64), torch.tensor(log_odds, dtype=torch.float64))
    assert found >= -1e-12
    rebuilt_better = bernoulli(torch.tensor(value, dtype=torch.float64), torch.tensor(40.0 if value > 0.5 else -40.0))
    if not 0 < value < 1:
        assert rebuilt_better < 1e-12


@pytest.mark.parametrize("grey", [0.01, 0.3, 0.5, 0.99])
def test_a_perfect_grey_scores_nothing(grey: float) -> None:
    values = torch.tensor([grey], dtype=torch.float64)
    found = bernoulli(values, torch.from_numpy(logit([grey])))
    assert abs(float(found)) < 1e-12
    coins = divergence_of(Bernoulli(values), Bernoulli(torch.tensor([0.2], dtype=torch.float64)))
    torch.testing.assert_close(bernoulli(values, torch.from_numpy(logit([0.2]))), coins)


@pytest.mark.parametrize("variant", ["plain", "variational"])
def test_a_value_outside_adds_a_named_term(variant: str, bundles: Path) -> None:
    made = made_once(Case(variant, (BERNOULLI,)), bundles)
    place = len(made.scorer.columns) + made.scorer.manifest.score.extra_terms.index("outside [0, 1]")
    matrix = np.repeat(encode(made.case.normal(1, seed=3), made.scorer.columns, np.arange(1)).matrix, 6, axis=0)
    matrix[:, 0] = [0.0, 1.0, -0.02, 1.02, -5.0, 1e6]
    term = made.scorer.graph.explain(matrix).contribution[:, place]
    np.testing.assert_allclose(term[:5], [0, 0, 2, 2, 0.5 * 500**2], rtol=1e-5)
    scores = made.scorer.graph.scores(matrix)
    assert scores[2] > scores[0]
    assert scores[3] > scores[1]
    assert scores[5] > scores[4] > scores[2]
