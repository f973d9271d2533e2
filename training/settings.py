"""What a user may set of a variant: one typed struct each, checked before training.

`--set key=value` and `--config file.toml` both end in `settings_of`, so an unknown key or a value out of range is refused
with a list of what there is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from detector.columns import nearest
from detector.errors import SettingError

Activation = Literal["silu", "relu", "sigmoid", "tanh"]
Positive = Annotated[float, Meta(gt=0)]
Size = Annotated[int, Meta(ge=1, le=4096)]
Sizes = tuple[Size, ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all variants share.

    `sizes` are the encoder's hidden layers, mirrored by the decoder (`none` for no hidden layer); `latent` is the width of
    the code, 0 for one that suits the table. `likelihood=bernoulli` reads numbers in [0, 1] as probabilities (binary
    cross-entropy); `score=mse` is the mean squared error over columns, not in nats.
    """

    sizes: Sizes = (128, 128)
    latent: Annotated[int, Meta(ge=0, le=4096)] = 0
    activation: Activation = "silu"
    likelihood: Literal["gaussian", "bernoulli"] = "gaussian"
    score: Literal["whitened", "mse", "elbo", "probability"] = "whitened"


class Stacked(Settings, frozen=True, kw_only=True):
    """A deep one: three hidden layers down, three up."""

    sizes: Sizes = (256, 128, 64)


class Denoising(Settings, frozen=True, kw_only=True):
    """One that sees corrupted rows; `level` is a rate of cells, for `gaussian` a standard deviation."""

    corruption: Literal["swap", "gaussian", "masking", "salt-and-pepper", "dropout"] = "swap"
    level: Annotated[float, Meta(gt=0, lt=1)] = 0.2


class Sparse(Settings, frozen=True, kw_only=True):
    """One whose code is wide and mostly at rest.

    `weight` scales the driver's penalty, `target` is the mean activation that `kl` drives a unit to, `k` how many
    activations `top-k` keeps, `threshold` the error (nats) under which `error-threshold` learns nothing.
    """

    driver: Literal["l1", "l2", "kl", "top-k", "error-threshold"] = "l1"
    weight: Positive = 0.01
    target: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    k: Size = 8
    threshold: Positive = 0.01


class Dropout(Settings, frozen=True, kw_only=True):
    """One whose units fail at random, at this rate, while it trains."""

    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.1


class Contractive(Settings, frozen=True, kw_only=True):
    """One whose code hardly moves when the row does; an untied decoder lets it dodge the penalty by scaling."""

    sizes: Sizes = ()
    activation: Activation = "sigmoid"
    weight: Positive = 0.01
    tied: bool = True


class Variational(Settings, frozen=True, kw_only=True):
    """One whose code is a distribution; `beta` and `warm_up` act in training only.

    `score=elbo` is the negative evidence lower bound, `score=probability` the same without the Kullback-Leibler term.
    """

    score: Literal["whitened", "mse", "elbo", "probability"] = "elbo"
    beta: Positive = 1.0
    warm_up: Annotated[float, Meta(gt=0, le=1)] = 0.3


class Adversarial(Settings, frozen=True, kw_only=True):
    """One whose codes, or whose decoded draws, a discriminator cannot tell from the real thing.

    `weight` scales what the discriminator says to the encoder (or decoder); `join` adds its surprise to the score.
    """

    prior: Literal["gaussian", "uniform"] = "gaussian"
    discriminator: Literal["latent", "data"] = "latent"
    weight: Positive = 0.1
    join: bool = False


Some = TypeVar("Some", bound=Settings)


def settings_of(kind: type[Some], values: Mapping[str, Any]) -> Some:
    """Give a variant's settings, its defaults replaced by `values` (texts or TOML's types).

    Raises:
        SettingError: a key that there is none of, or a value that cannot be; the message lists what there is.
    """
    fields = kind.__struct_fields__
    strange = [key for key in values if key not in fields]
    if strange:
        raise SettingError(f"there is no setting {strange[0]!r}{nearest(strange, fields)}; there are: {describe(kind)}")
    given = {key: _sizes(value) if key == "sizes" else value for key, value in values.items()}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingError(f"a setting cannot be that: {error}; there are: {describe(kind)}") from error


def from_texts(texts: Iterable[str]) -> dict[str, str]:
    """Read `key=value` texts.

    Raises:
        SettingError: one of them has no `=`.
    """
    pairs = [text.partition("=") for text in texts]
    wrong = [key for key, equals, _ in pairs if not (key and equals)]
    if wrong:
        raise SettingError(f"--set takes key=value, such as latent=16; got {wrong[0]!r}")
    return {key.strip(): value.strip() for key, _, value in pairs}


def from_toml(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file.

    Raises:
        SettingError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path} is no TOML file of settings: {error}") from error


def describe(kind: type[Settings]) -> str:
    """List a variant's settings with their defaults."""
    return ", ".join(f"{key}={value}" for key, value in as_plain(kind()).items())


def as_plain(settings: Settings) -> dict[str, str | int | float | bool]:
    """Give settings as the manifest holds them."""
    plain = {key: getattr(settings, key) for key in settings.__struct_fields__}
    return {**plain, "sizes": "-".join(map(str, settings.sizes)) or "none"}


def _sizes(value: Any) -> Any:  # noqa: ANN401 - text or TOML's list; msgspec judges what is in it
    """Read sizes such as 300-150."""
    if isinstance(value, str):
        return [] if value == "none" else value.split("-")
    return [value] if isinstance(value, int) else value
