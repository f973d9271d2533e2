"""Codes decode to what the graph expects; noise draws by the decoder's distribution; priors generate normal rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from detector.columns import as_frame
from detector.decoder import WITH_PRIOR, Decoder, NoiseSource
from detector.errors import SettingError
from tests.training.conftest import TrainedCase
from training.fused_scores import MemoryScore


def test_a_code_decodes_to_what_the_graph_expects(trained: TrainedCase) -> None:
    matrix = trained.matrix(trained.case.normal(50, seed=3))
    matrix = matrix[~np.isnan(matrix).any(axis=1)]
    decoded = Decoder.open(trained.folder, "cpu").decode(trained.scorer.graph.latent(matrix))
    expected = trained.scorer.graph.explain(matrix).expected
    for index, column in enumerate(trained.scorer.columns):
        found, wanted = decoded[:, index], expected[:, index]
        if trained.case.variant == "variational":  # expected is a mean over codes near this one
            is_flat = np.ptp(wanted) <= 0.1 * np.ptp(matrix[:, index])
            assert column.kind != "number" or is_flat or np.corrcoef(found, wanted)[0, 1] > 0.9
        elif column.kind == "date":
            assert np.abs(np.remainder(found - wanted + 43_200, 86_400) - 43_200).max() < 1
            assert np.all(np.abs(found - column.highest) <= 7 * 86_400)
        else:
            assert np.allclose(found, wanted, rtol=1e-5)


def test_noise_draws_by_the_decoders_distribution(tabular: TrainedCase) -> None:
    graph, decoder = tabular.graph, Decoder.open(tabular.folder, "cpu")
    layout, rows = graph.features.layout, 4000
    code = tabular.scorer.graph.latent(tabular.matrix(tabular.case.normal(1, seed=3)))
    with torch.no_grad():
        reconstruction = graph.score.model.decode(torch.from_numpy(code))
    noise = NoiseSource(layout.feature_count, sum(layout.code_counts), np.random.SeedSequence(0)).draw(rows)
    drawn = decoder.graph.decode(np.repeat(code, rows, axis=0), noise)
    for index, logits in zip(layout.categories, graph.features.by_category(reconstruction.logits), strict=True):
        shares = np.bincount(drawn[:, index].astype(int), minlength=logits.shape[1]) / rows
        assert np.abs(shares - torch.softmax(logits, dim=1)[0].numpy()).max() < 0.04
    for number, index in enumerate(layout.numbers):
        column = layout.columns[index]
        is_inside = (drawn[:, index] > column.lowest) & (drawn[:, index] < column.highest)  # draws are clipped to the range
        if not is_inside.all():
            continue
        spread = layout.scalings[number](drawn[:, index]).std()
        if tabular.case.is_bernoulli:
            assert spread < 1e-12
        elif reconstruction.log_variance is not None:
            assert spread == pytest.approx(float(torch.exp(0.5 * reconstruction.log_variance[0, number])), rel=0.05)
        elif not isinstance(graph.score, MemoryScore):
            precision = graph.score.get_buffer("precision").numpy()
            assert spread == pytest.approx(np.linalg.inv(precision)[number, number] ** 0.5, rel=0.05)


def test_variants_with_a_prior_generate_rows_like_the_normal_ones(trained: TrainedCase) -> None:
    decoder = Decoder.open(trained.folder, "cpu")
    if trained.case.variant not in WITH_PRIOR:
        assert decoder.manifest.prior is None
        with pytest.raises(SettingError, match="--variant variational or --variant adversarial"):
            decoder.generate(10)
        return
    rows = as_frame(np.concatenate(list(decoder.generate(5000))), decoder.columns)
    assert rows[:100].equals(as_frame(next(decoder.generate(100)), decoder.columns))
    normal = trained.case.normal(2000, seed=1)
    first, second = ("load", "free") if trained.case.is_bernoulli else ("temperature", "flow")
    assert np.corrcoef(rows[first], rows[second])[0, 1] < -0.5  # as in the normal rows
    assert abs(rows[first].mean() - normal[first].mean()) < normal[first].std()
    assert set(rows["machine"]) <= set(normal["machine"])
    assert trained.scores(rows).mean() < trained.scores(trained.case.anomalies()).mean()
