"""The table of variants: each row says what a named autoencoder is made of, where it comes from and when to choose it.

A new variant is a row here and, if it needs a part that is not there yet, one small module beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from detector.columns import nearest
from detector.errors import SettingError
from training import corruption
from training.corruption import Corruption
from training.features import Features
from training.models import Autoencoder, Model, VariationalAutoencoder
from training.scores import NegativeElbo, WhitenedResidual

HIDDEN = (128, 128)
SWAP = 0.2
BETA = 1.0
WARM_UP = 0.3


class Variant(NamedTuple):
    """A row of the table."""

    summary: str
    choose_when: str
    paper: str
    settings: dict[str, str | int | float | bool]
    model: Callable[[Features], Model]
    corruption: Corruption
    score: str


def latent_size(features: Features) -> int:
    """Give a code about half as wide as the table, at most 32: undercomplete for any table of two columns or more."""
    return max(1, min(32, len(features.layout.modelled) // 2))


def _autoencoder(features: Features) -> Model:
    """Build a point autoencoder."""
    return Autoencoder(features, HIDDEN, latent_size(features))


def _variational(features: Features) -> Model:
    """Build a variational autoencoder."""
    return VariationalAutoencoder(features, HIDDEN, latent_size(features), BETA, WARM_UP)


VARIANTS = {
    "denoising": Variant(
        summary="rebuilds clean rows from rows in which some cells were swapped with another row's",
        choose_when="the default: tables of any kind",
        paper="Vincent et al. 2008",
        settings={"hidden": "128-128", "corruption": "swap", "level": SWAP},
        model=_autoencoder,
        corruption=corruption.swap(SWAP),
        score="whitened residual",
    ),
    "plain": Variant(
        summary="squeezes a row through a code narrower than the table",
        choose_when="as a baseline, or where training must be shortest",
        paper="Hinton & Salakhutdinov 2006",
        settings={"hidden": "128-128"},
        model=_autoencoder,
        corruption=corruption.none,
        score="whitened residual",
    ),
    "variational": Variant(
        summary="learns a distribution over codes and scores rows by their evidence lower bound",
        choose_when="where the noise itself differs from row to row",
        paper="Kingma & Welling 2014",
        settings={"hidden": "128-128", "beta": BETA, "warm_up": WARM_UP},
        model=_variational,
        corruption=corruption.none,
        score="negative ELBO",
    ),
}
DEFAULT = "denoising"


def named(name: str) -> Variant:
    """Give a row of the table.

    Raises:
        SettingError: there is none of that name.
    """
    if name not in VARIANTS:
        raise SettingError(f"there is no variant {name!r}{nearest([name], list(VARIANTS))}; there are {', '.join(VARIANTS)}")
    return VARIANTS[name]


def scored(model: Model, precision: Tensor, seed: int) -> WhitenedResidual | NegativeElbo:
    """Give a trained model its score; `precision` whitens the residuals of point autoencoders."""
    if isinstance(model, VariationalAutoencoder):
        return NegativeElbo(model, seed)
    return WhitenedResidual(model, precision)
