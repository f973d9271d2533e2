"""A linear autoencoder is principal component analysis; a trained top-k code is sparse."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA
from torch import nn

from tests.tables import normal_rows
from tests.training.conftest import table_of
from training import fit
from training.models import Autoencoder
from training.recipe import Recipe
from training.settings import from_texts
from training.train import fit_detector, prepare


def test_a_trained_top_k_code_has_at_most_k_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", 60)
    graph = fit_detector(table_of(normal_rows(200)), Recipe(variant="sparse", settings={"driver": "top-k", "k": "3"})).graph
    matrix = prepare(table_of(normal_rows(100, seed=1)), Recipe()).proof_examples()
    with torch.no_grad():
        active = (graph(torch.from_numpy(matrix))[3] != 0).sum(dim=1)
    assert active.max() == 3
    assert active.double().mean() > 2


def test_a_linear_autoencoder_is_principal_component_analysis() -> None:
    columns, latent, rows = 8, 3, 2000
    random = np.random.default_rng(0)
    loadings = 2.5 * np.linalg.qr(random.normal(size=(columns, latent)))[0].T
    values = random.normal(size=(rows, latent)) @ loadings + 0.7 * random.normal(size=(rows, columns))
    table = table_of(pl.DataFrame(values, [f"x{index}" for index in range(columns)]))
    recipe = Recipe(variant="plain", settings=from_texts(["sizes=none", f"latent={latent}"]))
    graph = fit_detector(table, recipe).graph
    model = graph.score.model
    assert isinstance(model, Autoencoder)
    data = prepare(table, recipe)
    matrix = data.matrix[data.split.training]
    cells = graph.features(torch.from_numpy(matrix))
    with torch.no_grad():
        mean = model.decode(model.encode(cells)).mean.double().numpy()
    scaled = (matrix - matrix.mean(axis=0)) / matrix.std(axis=0)
    oracle = PCA(latent).fit(scaled)
    smallest = np.mean((scaled - oracle.inverse_transform(oracle.transform(scaled))) ** 2)
    assert 1 <= np.mean((scaled - mean) ** 2) / smallest < 1.01
    assert model.network.decoder is not None
    decoder = next(part for part in model.network.decoder if isinstance(part, nn.Linear))
    angles = subspace_angles(decoder.weight.detach().double().numpy(), oracle.components_.T)
    assert np.degrees(angles).max() < 3
