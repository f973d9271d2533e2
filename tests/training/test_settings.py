"""Every value of every setting trains, exports with its proof, and separates anomalies from normal rows."""

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
from tests.training.conftest import LONG, ROW_VARIANTS, Case, table_of
from training import fit, variants
from training import train as training
from training.recipe import Recipe
from training.settings import PointSettings, VariantSettings, as_plain

STEPS, ROWS, RATE = 150, 300, 0.1
MIN_AUROC = 0.7  # not reached by chance with so many rows

# Several settings at a time where they do not interact; most under the likelihood whose graph is exported fastest.
CASES = [
    "plain score=mse activation=relu sizes=none",
    "stacked score=mse activation=sigmoid sizes=64",
    "stacked likelihood=bernoulli activation=relu",
    "tied score=mse activation=tanh",
    "denoising likelihood=bernoulli corruption=gaussian activation=tanh",
    "denoising likelihood=bernoulli corruption=masking activation=sigmoid sizes=32",
    "denoising likelihood=bernoulli corruption=salt-and-pepper activation=relu",
    "denoising score=mse corruption=dropout",
    *(f"hybrid corruption={name} prototypes=64" for name in ("gaussian", "masking", "salt-and-pepper", "dropout")),
    "memory score=crowd",
    "memory score=recall prototypes=64",
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
SHORT = ("sparse likelihood=bernoulli driver=top-k",)


def case_of(text: str) -> Case:
    variant, *settings = text.split()
    return Case(variant, tuple((key, value) for key, _, value in (setting.partition("=") for setting in settings)))


def choices(kind: type[VariantSettings]) -> dict[str, set[str]]:
    """Return the values of settings that list them."""
    hints = {key: get_args(hint)[0] for key, hint in get_type_hints(kind, include_extras=True).items() if get_args(hint)}
    listed = {key: set(get_args(hint)) for key, hint in hints.items() if get_origin(hint) is not tuple and get_args(hint)}
    return listed | {key: {"true", "false"} for key, hint in hints.items() if hint is bool}


def test_the_cases_cover_every_value_of_every_setting() -> None:
    shared = choices(PointSettings)
    covered = {(name, setting) for name, settings, _ in map(case_of, CASES) for setting in settings}
    for name in ROW_VARIANTS:
        settings = variants.VARIANTS[name].settings
        defaults = {(key, str(value).lower()) for key, value in as_plain(settings()).items()}
        own = {(key, value) for key, values in choices(settings).items() if shared.get(key) != values for value in values}
        assert own - defaults <= {setting for variant, setting in covered if variant == name}, name
    shared_values = {(key, value) for key, values in shared.items() for value in values}
    defaults = {("activation", "silu"), ("likelihood", "gaussian"), ("score", "whitened")}
    assert shared_values - defaults <= {setting for _, setting in covered}


@pytest.mark.parametrize(
    "text",
    ["patches", "none likelihood=bernoulli", "gaussian level=0.5", "none light=linear"],
)
@pytest.mark.long
def test_settings_of_images(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", STEPS)
    settings = case_of(f"convolutional sizes=8 components=8 corruption={text}").settings
    case = Case("convolutional", settings, ImageSpec(width=16, height=16))
    folder = training.train(case.source(), tmp_path / "case", case.recipe).folder
    scorer = Scorer.open(folder, "cpu")
    normal, anomalies = (scorer.score(rows, explain="none").score for rows in (case.normal(200, seed=1), case.anomalies()))
    assert np.median(normal) < 16 * 16  # bytes are not outside [0, 1]
    labels = np.repeat([0, 1], [len(normal), len(anomalies)])
    assert roc_auc_score(labels, np.concatenate([normal, anomalies])) > MIN_AUROC


@pytest.mark.parametrize("text", [pytest.param(text, marks=[] if text.startswith(SHORT) else LONG) for text in CASES])
def test_settings_of_rows(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "STEPS", STEPS)
    case = case_of(text)
    recipe = Recipe(variant=case.variant, settings=dict(case.settings), false_alarm_rate=RATE)
    trained = training.train(table_of(shares(ROWS)), tmp_path / "case", recipe)
    settings = {key: str(value).lower() for key, value in trained.manifest.settings.items()}
    assert settings.items() >= dict(case.settings).items()
    assert all(proof.largest_difference <= proof.tolerance for proof in trained.manifest.parity)
    scorer = Scorer.open(trained.folder, "cpu")
    normal, anomalies = (scorer.score(rows, explain="none").score for rows in (shares(ROWS, seed=1), planted_shares()))
    labels = np.repeat([0, 1], [len(normal), len(anomalies)])
    assert roc_auc_score(labels, np.concatenate([normal, anomalies])) > MIN_AUROC


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sparse driver=top-k latent=4 k=9", r"k \(9\) exceeds latent \(4\)"),
        ("plain likelihood=bernoulli", "but there are dates"),
    ],
    ids=["k", "dates"],
)
def test_settings_that_do_not_fit_the_table_are_an_error(text: str, message: str, tmp_path: Path) -> None:
    case = case_of(text)
    frame = shares(ROWS).with_columns(at=pl.date_range(pl.date(2026, 1, 1), pl.date(2026, 10, 27)))
    with pytest.raises(SettingError, match=message):
        training.train(table_of(frame), tmp_path / "case", Recipe(variant=case.variant, settings=dict(case.settings)))
