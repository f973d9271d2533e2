"""What a user may set of a variant: one typed struct each, checked before training.

`--set key=value` and `--config file.toml` both end in `settings_of`, so an unknown key or a value out of range is refused
with a list of what there is.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta
from msgspec.inspect import BoolType, FloatType, IntType, LiteralType, Metadata, Type, VarTupleType, type_info

from detector.columns import suggest_names
from detector.errors import SettingError

Size = Annotated[int, Meta(ge=1, le=4096)]
Vote = Annotated[int, Meta(ge=1, le=64)]
Rate = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]  # an infinite weight teaches nothing

Sizes = Annotated[tuple[Size, ...], Meta(description="the encoder's hidden layers; the decoder mirrors them")]
Activation = Annotated[Literal["silu", "relu", "sigmoid", "tanh"], Meta(description="between layers")]


class VariantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all variants share."""

    sizes: Sizes = (128, 128)
    latent: Annotated[int, Meta(ge=0, le=4096, description="width of the code; 0 for one that suits the table")] = 0
    activation: Activation = "silu"
    likelihood: Annotated[
        Literal["gaussian", "bernoulli"], Meta(description="bernoulli: numbers in [0, 1] are probabilities (cross-entropy)")
    ] = "gaussian"


class PointSettings(VariantSettings, frozen=True, kw_only=True):
    """What all share whose code is a point."""

    score: Annotated[
        Literal["whitened", "mse"], Meta(description="whitened: in nats; mse: mean squared error over columns, not in nats")
    ] = "whitened"


class WindowSettings(VariantSettings, frozen=True, kw_only=True):
    """What all share that judge windows of a series."""

    sizes: Sizes = ()
    activation: Activation = "tanh"
    likelihood: Annotated[Literal["gaussian"], Meta(description="bernoulli is for single rows")] = "gaussian"
    score: Annotated[
        Literal["level-energy", "whitened"],
        Meta(
            description="level-energy: how far a level moved, times how unlike the usual rows move (one column: or one row); "
            "whitened: of the newest row"
        ),
    ] = "level-energy"
    smoothing: Annotated[int, Meta(ge=1, le=4096, description="span of the score's exponential mean, windows; 1 for none")] = 1
    m: Annotated[Vote, Meta(description="an alarm begins when so many of the newest n scores are above the threshold")] = 1
    n: Annotated[Vote, Meta(description="see m")] = 1
    release: Annotated[float, Meta(gt=0, le=1, description="share of the threshold at or below which a score is quiet")] = 0.65
    quiet: Annotated[int, Meta(ge=1, le=1_000_000, description="an alarm ends after so many quiet scores in a row")] = 5


class ConvolutionalWindowSettings(WindowSettings, frozen=True, kw_only=True):
    """One of convolutions over time."""

    sizes: Sizes = (16, 16)


class RecurrentWindowSettings(WindowSettings, frozen=True, kw_only=True):
    """One that reads a window row by row."""

    sizes: Annotated[tuple[Size, ...], Meta(min_length=1, max_length=1, description="the width of its state")] = (32,)
    cell: Annotated[Literal["lstm", "gru"], Meta(description="what reads and unrolls")] = "lstm"


class StackedSettings(PointSettings, frozen=True, kw_only=True):
    """A deep one: three hidden layers down, three up."""

    sizes: Sizes = (256, 128, 64)


class DenoisingSettings(PointSettings, frozen=True, kw_only=True):
    """One that sees corrupted rows."""

    corruption: Annotated[
        Literal["swap", "gaussian", "masking", "salt-and-pepper", "dropout"],
        Meta(description="what is done to cells in training"),
    ] = "swap"
    level: Annotated[Rate, Meta(description="share of cells that are corrupted; for gaussian a standard deviation")] = 0.2


class ConvolutionalSettings(PointSettings, frozen=True, kw_only=True):
    """One of convolutions."""

    sizes: Annotated[tuple[Size, ...], Meta(description="channels of the encoder's layers; the decoder mirrors them")] = (16, 32)
    components: Annotated[int, Meta(ge=1, le=1024, description="numbers in the code for the whole image")] = 48
    places: Annotated[int, Meta(ge=1, le=64, description="numbers in the code for each place that the layers end in")] = 4
    corruption: Annotated[
        Literal["none", "patches", "gaussian"],
        Meta(description="what is done to images in training; patches: squares are set to the mean"),
    ] = "none"
    level: Annotated[Rate, Meta(description="share of squares that are hidden; for gaussian a standard deviation")] = 0.2
    light: Annotated[
        Literal["logarithmic", "linear"],
        Meta(description="of images; logarithmic: ratios of brightness count; linear: differences"),
    ] = "logarithmic"


class SparseSettings(PointSettings, frozen=True, kw_only=True):
    """One whose code is wide and mostly at rest."""

    driver: Annotated[
        Literal["l1", "l2", "kl", "top-k", "error-threshold"], Meta(description="what keeps the code, or learning, sparse")
    ] = "l1"
    weight: Annotated[Positive, Meta(description="l1, l2, kl: scales the penalty")] = 0.01
    target: Annotated[Rate, Meta(description="kl: the mean activation that each unit is driven to")] = 0.05
    k: Annotated[Size, Meta(description="top-k: how many activations are kept")] = 8
    threshold: Annotated[Positive, Meta(description="error-threshold: smaller errors (nats) teach nothing")] = 0.01


class DropoutSettings(PointSettings, frozen=True, kw_only=True):
    """One whose units fail at random while it trains."""

    rate: Annotated[Rate, Meta(description="share of units that fail in a step")] = 0.1


class ContractiveSettings(PointSettings, frozen=True, kw_only=True):
    """One whose code hardly moves when the row does."""

    sizes: Sizes = ()
    activation: Activation = "sigmoid"
    weight: Annotated[Positive, Meta(description="scales the penalty on the encoder's Jacobian")] = 0.01
    tied: Annotated[bool, Meta(description="false: a decoder of its own, which can dodge the penalty by scaling")] = True


class VariationalSettings(VariantSettings, frozen=True, kw_only=True):
    """One whose code is a distribution."""

    score: Annotated[
        Literal["elbo", "probability"], Meta(description="elbo: minus the evidence lower bound; probability: without its KL term")
    ] = "elbo"
    beta: Annotated[Positive, Meta(description="scales the KL term, in training only")] = 1.0
    warm_up: Annotated[float, Meta(gt=0, le=1, description="share of training over which the KL term is phased in")] = 0.3


class AdversarialSettings(PointSettings, frozen=True, kw_only=True):
    """One whose codes, or whose decoded draws, a discriminator cannot tell from the real thing."""

    prior: Annotated[Literal["gaussian", "uniform"], Meta(description="what codes are to look like")] = "gaussian"
    discriminator: Annotated[
        Literal["latent", "data"], Meta(description="latent: judges codes; data: judges decoded draws of the prior")
    ] = "latent"
    weight: Annotated[Positive, Meta(description="scales what the discriminator says to the autoencoder")] = 0.1
    join: Annotated[bool, Meta(description="true: the discriminator's surprise is part of the score")] = False


Some = TypeVar("Some", bound=VariantSettings)


def settings_of(kind: type[Some], values: Mapping[str, Any]) -> Some:
    """Give a variant's settings, its defaults replaced by `values` (texts or TOML's types).

    Raises:
        SettingError: a key that there is none of, or a value that cannot be; the message lists what there is.
    """
    fields = kind.__struct_fields__
    strange = [key for key in values if key not in fields]
    if strange:
        raise SettingError(f"there is no setting {strange[0]!r}{suggest_names(strange, fields)}; there are: {describe(kind)}")
    given = {key: _sizes(value) if key == "sizes" else value for key, value in values.items()}
    for key, value in given.items():
        try:
            msgspec.convert({key: value}, kind, strict=False)
        except msgspec.ValidationError as error:
            raise SettingError(
                f"the setting {key}={values[key]} cannot be; {key} takes {describe_settings(kind)[key].takes}"
            ) from error
    return msgspec.convert(given, kind, strict=False)


def from_texts(texts: Iterable[str]) -> dict[str, str]:
    """Read `key=value` texts.

    Raises:
        SettingError: one of them has no `=`.
    """
    settings: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals):
            raise SettingError(f"--set takes key=value, such as latent=16; got {text!r}")
        settings[key] = value
    return settings


def from_toml(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file.

    Raises:
        SettingError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path} is no TOML file of settings: {error}") from error


def describe(kind: type[VariantSettings]) -> str:
    """List a variant's settings with their defaults."""
    return ", ".join(f"{key}={value}" for key, value in as_plain(kind()).items())


class Described(NamedTuple):
    """A setting, for a person."""

    default: str | int | float | bool
    takes: str
    meaning: str


def describe_settings(kind: type[VariantSettings]) -> dict[str, Described]:
    """Say of each setting what it takes and what it means."""
    fields = {field.name: type_info(field.type) for field in msgspec.structs.fields(kind)}
    defaults = as_plain(kind())
    return {name: Described(defaults[name], _takes(found), _meaning(found)) for name, found in fields.items()}


def _takes(found: Type) -> str:
    """Say which values a type takes."""
    match found:
        case Metadata(type=inner):
            return _takes(inner)
        case LiteralType(values=values):
            return " or ".join(", ".join(map(str, values)).rsplit(", ", 1))
        case BoolType():
            return "true or false"
        case VarTupleType(item_type=IntType() as width, max_length=most):
            return (
                f"one width such as 32, {_range(width)}"
                if most == 1
                else f"widths such as 300-150, each {_range(width)}, or none"
            )
        case IntType() as number:
            return f"a whole number {_range(number)}"
        case FloatType() as number:
            return f"a number {_range(number)}"
    raise AssertionError(found)


def _meaning(found: Type) -> str:
    """Give the description that a type carries."""
    describe_settings = found.extra_json_schema if isinstance(found, Metadata) else None
    return str((describe_settings or {})["description"])


def _range(number: IntType | FloatType) -> str:
    """Say in which range a number must lie."""
    bounds = {"from": number.ge, "above": number.gt, "up to": number.le, "but below": number.lt}
    return " ".join(f"{word} {bound:,.10g}" for word, bound in bounds.items() if bound is not None)


def as_plain(settings: VariantSettings) -> dict[str, str | int | float | bool]:
    """Give settings as the manifest holds them."""
    plain = {key: getattr(settings, key) for key in settings.__struct_fields__}
    return {**plain, "sizes": "-".join(map(str, settings.sizes)) or "none"}


def _sizes(value: Any) -> Any:  # noqa: ANN401 - text or TOML's list; msgspec judges what is in it
    """Read sizes such as 300-150."""
    if isinstance(value, str):
        return [] if value == "none" else value.split("-")
    return [value] if isinstance(value, int) else value
