"""What every variant keeps under every likelihood: one suite over the whole table.

What makes one variant differ from the next is tested elsewhere: `test_mathematics`, `test_corruption`.
"""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from detector import bundle
from detector.columns import as_frame, encode
from detector.decision import TOLERANCE
from detector.decoder import WITH_PRIOR, Decoder, NoiseSource
from detector.errors import SettingError
from tests.tables import ROWS, normal_rows, with_holes
from tests.training import oracle
from tests.training.conftest import Case, Made, learnt, made_once, make
from training import weights
from training.export import torch_scores
from training.variants import DEFAULT


def scores(made: Made, frame: pl.DataFrame) -> np.ndarray:
    return made.scorer.score(frame, explain="none").score


def matrix_of(made: Made, frame: pl.DataFrame) -> np.ndarray:
    return encode(frame, made.scorer.columns, np.arange(frame.height)).matrix


def assert_close(found: np.ndarray, wanted: np.ndarray, made: Made | None = None) -> None:
    """Compare within the tolerance of the bundle's own proof."""
    tolerance = made.scorer.manifest.parity[0].tolerance if made else TOLERANCE
    assert np.all(np.abs(found - wanted) <= tolerance * np.maximum(1.0, np.abs(wanted)))


def test_tells_planted_anomalies_from_fresh_normal_rows(made: Made) -> None:
    normal, odd = scores(made, made.case.normal(seed=1)), scores(made, made.case.odd())
    labels = np.repeat([False, True], [len(normal), len(odd)])
    assert roc_auc_score(labels, np.concatenate([normal, odd])) > 0.9


def test_contributions_sum_to_the_score(made: Made) -> None:
    outputs = made.scorer.graph.explain(matrix_of(made, pl.concat([made.case.normal(seed=1), made.case.odd()])))
    image = made.case.image
    places = image.width * image.height if image else len(made.scorer.columns)
    assert outputs.contribution.shape[1] == places + len(made.scorer.manifest.score.extra_terms)
    assert_close(outputs.contribution.sum(axis=1), outputs.score)


def test_the_graph_agrees_with_the_oracle(made: Made) -> None:
    rows = 4 if made.case.image else 40  # an image takes the oracle a second
    frame = pl.concat([made.case.normal(rows, seed=2), made.case.odd()[: rows // 4]])
    if not made.case.image:
        frame = pl.concat([frame, frame.with_columns(machine=pl.lit("unheard of"))])
    matrix = matrix_of(made, frame)
    matrix[: rows // 2, 0], matrix[rows // 4 : rows, -1] = 1.5, 7.0  # far from what was seen, and a constant that changed
    outputs, graph = made.scorer.graph.explain(matrix), learnt(made.case)
    expected = [oracle.score(graph, row) for row in matrix]
    assert_close(outputs.score, np.array([score for score, _ in expected]), made)
    for found, (score, wanted) in zip(outputs.contribution, expected, strict=True):
        assert np.abs(found - wanted).max() <= made.scorer.manifest.parity[0].tolerance * max(
            1.0, abs(score), np.abs(wanted).max()
        )


def test_the_same_seed_gives_the_same_weights(made: Made) -> None:
    again = copy.deepcopy(learnt(made.case))
    if made.scorer.manifest.settings["precision"] == "float64":
        again = again.in_float64()
    assert weights.to_bytes(again) == (made.folder / "weights.safetensors").read_bytes()


def test_the_same_seed_gives_the_same_bytes(bundles: Path, tmp_path: Path) -> None:
    case = Case(DEFAULT)
    once, again = made_once(case, bundles).folder, make(case, tmp_path / "again")
    for name in ("model.onnx", "calibration.npy", "decoder.onnx", "weights.safetensors"):
        assert (again / name).read_bytes() == (once / name).read_bytes()


def test_a_row_scores_the_same_alone_and_in_a_batch(made: Made) -> None:
    frame = pl.concat([made.case.normal(5 if made.case.image else 50, seed=3), made.case.odd()[:10]])
    together = scores(made, frame)
    alone = np.concatenate([scores(made, frame[row]) for row in range(frame.height)])
    assert_close(alone, together, made)


def test_the_same_call_gives_the_same_score(made: Made) -> None:
    frame = made.case.normal(50, seed=3)
    assert np.array_equal(scores(made, frame), scores(made, frame))


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_holes_hardly_move_the_scores_of_observed_cells(mixed: Made, share: float) -> None:
    whole = normal_rows(ROWS, seed=4, holes=0.0)
    holed = with_holes(whole, share)
    medians = [np.median(_without_missingness(mixed, frame)) for frame in (whole, holed)]
    assert medians[1] < medians[0] + 0.35 * abs(medians[0]) + 1.0


def test_a_missing_number_contributes_only_that_it_is_missing(mixed: Made) -> None:
    frame = normal_rows(20, seed=5, holes=0.0).with_columns(pl.lit(None, pl.Float64).alias("flow"))
    place = [column.name for column in mixed.scorer.columns].index("flow")
    outputs = mixed.scorer.graph.explain(matrix_of(mixed, frame))
    surprise = -np.log(mixed.scorer.columns[place].missing_rate)
    assert_close(outputs.contribution[:, place], np.full(20, surprise))


@pytest.mark.parametrize(("column", "value"), [("firmware", "7.2"), ("slots", 9)])
def test_a_change_in_a_constant_column_is_an_anomaly(mixed: Made, column: str, value: object) -> None:
    changed = normal_rows(50, seed=6).with_columns(pl.lit(value).alias(column))
    verdicts = mixed.scorer.score(changed)
    assert verdicts.is_anomaly.all()
    assert set(verdicts.reasons.filter(pl.col("rank") == 1)["column"]) == {column}


def test_an_unseen_category_is_scored_as_surprising(mixed: Made) -> None:
    frame = normal_rows(200, seed=6, holes=0.0)
    outputs = [
        mixed.scorer.graph.explain(matrix_of(mixed, each)) for each in (frame, frame.with_columns(machine=pl.lit("crane")))
    ]
    place = [column.name for column in mixed.scorer.columns].index("machine")
    seen, unseen = (output.contribution[:, place] for output in outputs)
    assert np.all(unseen > 5)
    assert np.median(seen) < 2


def test_expected_values_are_in_the_users_units(mixed: Made) -> None:
    frame = normal_rows(300, seed=8, holes=0.0)
    expected = dict(
        zip((c.name for c in mixed.scorer.columns), mixed.scorer.graph.explain(matrix_of(mixed, frame)).expected.T, strict=True)
    )
    assert np.corrcoef(expected["temperature"], frame["temperature"])[0, 1] > 0.9
    assert np.all(np.abs(expected["serial"] - 1e9) < 10)
    assert np.all(expected["slots"] == 8)
    hours = expected["at"] % 86_400 / 3600
    assert np.mean((hours > 7) & (hours < 17)) > 0.95


def test_absurd_values_have_finite_scores(made: Made) -> None:
    worst = [1e308, -1e308, 0.0, np.nan, 1e-308]
    matrix = np.array([[value] * len(made.scorer.columns) for value in worst])
    outputs = made.scorer.graph.explain(matrix)
    assert np.isfinite(outputs.score).all()
    assert np.isfinite(outputs.contribution).all()


def test_the_file_says_nothing_of_the_machine_it_was_made_on(made: Made) -> None:
    home = str(Path(__file__).parents[2]).encode()
    for path in made.folder.iterdir():
        assert home not in path.read_bytes()
        assert b"site-packages" not in path.read_bytes()


def test_the_parity_proof_is_in_the_manifest(made: Made) -> None:
    proofs = made.scorer.manifest.parity
    assert [proof.file for proof in proofs] == ["model.onnx", "decoder.onnx"]
    for proof in proofs:
        assert proof.rows == made.scorer.manifest.training.rows.calibration
        assert 0 < proof.largest_difference <= proof.tolerance
        assert proof.verdicts_that_differ == 0


def test_the_weights_give_the_bundles_scores(made: Made) -> None:
    frame = pl.concat([made.case.normal(200, seed=2), made.case.odd()])
    loaded = weights.load(bundle.read(made.folder))
    assert_close(torch_scores(loaded, matrix_of(made, frame)), scores(made, frame), made)
    assert weights.to_bytes(loaded) == (made.folder / bundle.WEIGHTS).read_bytes()


def test_a_code_decodes_to_what_the_graph_expects(made: Made) -> None:
    matrix = matrix_of(made, made.case.normal(50, seed=3))
    matrix = matrix[~np.isnan(matrix).any(axis=1)]
    found = Decoder.open(made.folder, "cpu").decode(made.scorer.graph.latent(matrix))
    expected = made.scorer.graph.explain(matrix).expected
    for place, column in enumerate(made.scorer.columns):
        one, other = found[:, place], expected[:, place]
        if made.case.variant == "variational":  # a mean over codes near this one
            assert (
                column.kind != "number" or np.ptp(other) <= 0.1 * np.ptp(matrix[:, place]) or np.corrcoef(one, other)[0, 1] > 0.9
            )
        elif column.kind == "date":
            assert np.abs(np.remainder(one - other + 43_200, 86_400) - 43_200).max() < 1
            assert np.all(np.abs(one - column.highest) <= 7 * 86_400)
        else:
            assert np.allclose(one, other, rtol=1e-5)


def test_noise_draws_what_the_decoder_leaves_open(tabular: Made) -> None:
    made = tabular
    graph, opened = weights.load(bundle.read(made.folder)), Decoder.open(made.folder, "cpu")
    layout, rows = graph.features.layout, 4000
    code = made.scorer.graph.latent(matrix_of(made, made.case.normal(1, seed=3)))
    with torch.no_grad():
        rebuilt = graph.score.model.decode(torch.from_numpy(code))
    noise = NoiseSource(layout.features, sum(layout.codes), np.random.SeedSequence(0)).draw(rows)
    drawn = opened.graph.decode(np.repeat(code, rows, axis=0), noise)
    for place, logits in zip(layout.categories, graph.features.by_category(rebuilt.logits), strict=True):
        shares = np.bincount(drawn[:, place].astype(int), minlength=logits.shape[1]) / rows
        assert np.abs(shares - torch.softmax(logits, dim=1)[0].numpy()).max() < 0.04
    for at, place in enumerate(layout.numbers):
        column = layout.columns[place]
        inside = (drawn[:, place] > column.lowest) & (drawn[:, place] < column.highest)  # what is drawn stays within
        if not inside.all():
            continue
        spread = layout.scalings[at](drawn[:, place]).std()
        if made.case.is_bernoulli:
            assert spread < 1e-12
        elif rebuilt.log_variance is not None:
            assert spread == pytest.approx(float(torch.exp(0.5 * rebuilt.log_variance[0, at])), rel=0.05)
        else:
            precision = graph.score.get_buffer("precision").numpy()
            assert spread == pytest.approx(np.linalg.inv(precision)[at, at] ** 0.5, rel=0.05)


def test_variants_with_a_prior_generate_rows_like_the_normal_ones(made: Made) -> None:
    decoder = Decoder.open(made.folder, "cpu")
    if made.case.variant not in WITH_PRIOR:
        assert decoder.manifest.prior is None
        with pytest.raises(SettingError, match="--variant variational or --variant adversarial"):
            decoder.generate(10)
        return
    rows = as_frame(np.concatenate(list(decoder.generate(5000))), decoder.columns)
    assert rows[:100].equals(as_frame(next(decoder.generate(100)), decoder.columns))
    normal = made.case.normal(2000, seed=1)
    first, second = ("load", "free") if made.case.is_bernoulli else ("temperature", "flow")
    assert np.corrcoef(rows[first], rows[second])[0, 1] < -0.5  # as in the normal rows
    assert abs(rows[first].mean() - normal[first].mean()) < normal[first].std()
    assert set(rows["machine"]) <= set(normal["machine"])
    assert scores(made, rows).mean() < scores(made, made.case.odd()).mean()


def _without_missingness(made: Made, frame: pl.DataFrame) -> np.ndarray:
    """Give scores less what they say about cells being there or not."""
    matrix = matrix_of(made, frame)
    rates = np.array([column.missing_rate for column in made.scorer.columns])
    return made.scorer.graph.scores(matrix) + np.where(np.isnan(matrix), np.log(rates), np.log1p(-rates)).sum(axis=1)
