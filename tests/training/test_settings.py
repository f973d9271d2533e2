"""Every value of every setting trains, is exported with its proof, and tells anomalies from normal rows."""

from __future__ import annotations

from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from detector.errors import SettingError
from detector.images import ImageSpec
from detector.scorer import Scorer
from tests.tables import planted_shares, shares
from tests.training.conftest import OF_ROWS, Case, table_of
from training import fit, variants
from training import train as training
from training.recipe import Recipe
from training.settings import VariantSettings, as_plain

STEPS, ROWS, RATE = 150, 300, 0.1
CHANCE = 0.7  # an AUROC that chance does not reach with so many rows

# Several settings at a time, where one has no say in what another does; the likelihood of most is the one whose graph is
# written fastest.
CASES = [
    "plain score=mse activation=relu sizes=none",
    "stacked score=mse activation=sigmoid sizes=64",
    "stacked likelihood=bernoulli activation=relu",
    "tied score=mse activation=tanh",
    "denoising likelihood=bernoulli corruption=gaussian activation=tanh",
    "denoising likelihood=bernoulli corruption=masking activation=sigmoid sizes=32",
    "denoising likelihood=bernoulli corruption=salt-and-pepper activation=relu",
    "denoising score=mse corruption=dropout",
    "sparse likelihood=bernoulli driver=l2 activation=tanh",
    "sparse likelihood=bernoulli driver=kl activation=relu",
    "sparse likelihood=bernoulli driver=top-k k=3 activation=sigmoid sizes=32",
    "sparse score=mse driver=error-threshold",
    "dropout score=mse rate=0.3 activation=relu",
    "contractive likelihood=bernoulli tied=false sizes=64 activation=relu",
    "contractive score=mse sizes=32 activation=silu",
    "contractive likelihood=bernoulli tied=false activation=tanh",
    "variational likelihood=bernoulli score=probability beta=0.5 activation=tanh",
    "adversarial likelihood=bernoulli prior=uniform join=true activation=tanh",
    "adversarial score=mse discriminator=data join=true activation=relu",
]


def case_of(text: str) -> Case:
    variant, *settings = text.split()
    return Case(variant, tuple((key, value) for key, _, value in (each.partition("=") for each in settings)))


def choices(kind: type[VariantSettings]) -> dict[str, set[str]]:
    """Give the values of settings that have but a few."""
    hints = {key: get_args(hint)[0] for key, hint in get_type_hints(kind, include_extras=True).items() if get_args(hint)}
    few = {key: set(get_args(hint)) for key, hint in hints.items() if get_origin(hint) is not tuple and get_args(hint)}
    return few | {key: {"true", "false"} for key, hint in hints.items() if hint is bool}


def test_every_value_is_proven_of_a_variant_of_its_own() -> None:
    usual = choices(variants.of.PointSettings)
    proven = {(name, setting) for name, settings, _ in map(case_of, CASES) for setting in settings}
    for name in OF_ROWS:
        row = variants.VARIANTS[name]
        defaults = {(key, str(value).lower()) for key, value in as_plain(row.settings()).items()}
        own = {(key, value) for key, few in choices(row.settings).items() if usual.get(key) != few for value in few}
        assert own - defaults <= {setting for variant, setting in proven if variant == name}, name
    shared = {(key, value) for key, few in usual.items() for value in few}
    assert shared - {("activation", "silu"), ("likelihood", "gaussian"), ("score", "whitened")} <= {one for _, one in proven}


@pytest.mark.parametrize(
    "text",
    [
        "patches",
        "none likelihood=bernoulli",
        *(pytest.param(text, marks=pytest.mark.long) for text in ("gaussian level=0.5", "none light=linear")),
    ],
)
def test_images_are_learnt_under_every_setting(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", STEPS)
    case = Case(
        "convolutional", case_of(f"convolutional sizes=8 components=8 corruption={text}").settings, ImageSpec(width=16, height=16)
    )
    trained = training.train(case.table(), tmp_path / "case", case.recipe)
    scorer = Scorer.open(trained.folder, "cpu")
    scores = [scorer.score(rows, explain="none").score for rows in (case.normal(200, seed=1), case.odd())]
    assert np.median(scores[0]) < 16 * 16  # bytes are no values outside [0, 1]
    assert roc_auc_score(np.repeat([0, 1], [len(part) for part in scores]), np.concatenate(scores)) > CHANCE


@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=[pytest.mark.long] if place % 4 else []) for place, text in enumerate(CASES)]
)
def test_it_trains_and_tells_anomalies(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", STEPS)
    case = case_of(text)
    recipe = Recipe(variant=case.variant, settings=dict(case.settings), false_alarm_rate=RATE)
    trained = training.train(table_of(shares(ROWS)), tmp_path / "case", recipe)
    kept = {key: str(value).lower() for key, value in trained.manifest.settings.items()}
    assert kept.items() >= dict(case.settings).items()
    assert all(proof.largest_difference <= proof.tolerance for proof in trained.manifest.parity)
    scorer = Scorer.open(trained.folder, "cpu")
    normal, odd = (scorer.score(rows, explain="none").score for rows in (shares(ROWS, seed=1), planted_shares()))
    assert roc_auc_score(np.repeat([0, 1], [len(normal), len(odd)]), np.concatenate([normal, odd])) > CHANCE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sparse driver=top-k latent=4 k=9", "k=9 activations cannot be kept of latent=4"),
        ("plain likelihood=bernoulli", "dates are none"),
    ],
    ids=["k", "dates"],
)
def test_settings_that_do_not_fit_the_table(text: str, says: str, tmp_path: Path) -> None:
    case = case_of(text)
    frame = shares(ROWS).with_columns(at=pl.date_range(pl.date(2026, 1, 1), pl.date(2026, 10, 27)))
    with pytest.raises(SettingError, match=says):
        training.train(table_of(frame), tmp_path / "case", Recipe(variant=case.variant, settings=dict(case.settings)))
