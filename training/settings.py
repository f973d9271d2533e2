"""The settings of each variant: one typed struct each, validated before training.

`--set key=value` and `--config file.toml` both end in `parse_settings`, which rejects an unknown key or an invalid value
and lists the valid ones.
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
Positive = Annotated[float, Meta(gt=0, le=1e6)]  # bounded: with an infinite weight nothing is learned

Sizes = Annotated[tuple[Size, ...], Meta(description="the encoder's hidden layers; the decoder mirrors them")]
Activation = Annotated[Literal["silu", "relu", "sigmoid", "tanh"], Meta(description="the function between layers")]


Contamination = Annotated[
    float,
    Meta(
        ge=0,
        lt=0.25,
        description="the share of training rows that may be anomalies; twice as many, the farthest, are not remembered",
    ),
]
Prototypes = Annotated[
    int,
    Meta(
        ge=2,
        le=65_536,
        description="the largest number of prototypes; a memory of no more rows than that keeps the rows themselves",
    ),
]
Batch = Annotated[int, Meta(ge=1, le=65_536, description="rows, images or windows of a training step")]
Patience = Annotated[
    int, Meta(ge=1, le=1_000_000, description="training stops after this many checks without a lower loss, one every 50 steps")
]
Corruptions = Annotated[
    Literal["swap", "gaussian", "masking", "salt-and-pepper", "dropout"], Meta(description="how cells are corrupted in training")
]
Level = Annotated[Rate, Meta(description="share of cells that are corrupted; for gaussian a standard deviation")]


class VariantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings that all variants share."""

    sizes: Sizes = (128, 128)
    latent: Annotated[int, Meta(ge=0, le=4096, description="width of the code; 0 for one that suits the table")] = 0
    activation: Activation = "silu"
    likelihood: Annotated[
        Literal["gaussian", "bernoulli"], Meta(description="bernoulli: numbers in [0, 1] are probabilities (cross-entropy)")
    ] = "gaussian"


class NetworkSettings(VariantSettings, frozen=True, kw_only=True):
    """The settings of variants with a network, which is trained step by step."""

    steps: Annotated[
        int, Meta(ge=0, le=10_000_000, description="training steps; 0 for the usual number: 3,000, and 1,000 for images")
    ] = 0
    max_steps: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000_000,
            description="training steps in all: a network that is still learning at its last step is trained on up to here; 0: "
            "it is not",
        ),
    ] = 0
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="the highest learning rate of the one-cycle schedule")] = 2e-3
    batch: Batch = 256
    patience: Patience = 12


class PointSettings(NetworkSettings, frozen=True, kw_only=True):
    """The settings of variants whose code is a point."""

    score: Annotated[
        Literal["whitened", "mse"], Meta(description="whitened: in nats; mse: mean squared error over columns, not in nats")
    ] = "whitened"


class WindowSettings(NetworkSettings, frozen=True, kw_only=True):
    """The settings of variants that score windows of a series."""

    sizes: Sizes = ()
    activation: Activation = "tanh"
    likelihood: Annotated[Literal["gaussian"], Meta(description="bernoulli is for single rows")] = "gaussian"
    batch: Batch = 64
    score: Annotated[
        Literal["level-energy", "whitened"],
        Meta(
            description="level-energy: how far the level shifted, times how unusual the latest movement is (with one column also "
            "a single row); whitened: the newest row alone"
        ),
    ] = "level-energy"
    smoothing: Annotated[
        int, Meta(ge=1, le=4096, description="span of the exponential mean over scores, in windows; 1 for none")
    ] = 1
    m: Annotated[Vote, Meta(description="an alarm begins when m of the newest n scores are above the threshold")] = 1
    n: Annotated[Vote, Meta(description="see m")] = 1
    release: Annotated[float, Meta(gt=0, le=1, description="share of the threshold at or below which a score is quiet")] = 0.65
    quiet: Annotated[int, Meta(ge=1, le=1_000_000, description="an alarm ends after this many quiet scores in a row")] = 5


class ConvolutionalWindowSettings(WindowSettings, frozen=True, kw_only=True):
    """The settings of convolutions over time."""

    sizes: Sizes = (16, 16)


class RecurrentWindowSettings(WindowSettings, frozen=True, kw_only=True):
    """The settings of recurrent networks."""

    sizes: Annotated[tuple[Size, ...], Meta(min_length=1, max_length=1, description="the width of the recurrent state")] = (32,)
    cell: Annotated[Literal["lstm", "gru"], Meta(description="the recurrent layer of encoder and decoder")] = "lstm"


class StackedSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of a deep autoencoder: three hidden layers on either side of the code."""

    sizes: Sizes = (256, 128, 64)


class DenoisingSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of a denoising autoencoder."""

    corruption: Corruptions = "swap"
    level: Level = 0.2


class MemorySettings(VariantSettings, frozen=True, kw_only=True):
    """The settings of a memory without a network."""

    sizes: Annotated[tuple[Size, ...], Meta(max_length=0, description="a memory has no layers")] = ()
    latent: Annotated[int, Meta(ge=0, description="the code is the row that is recalled; its width cannot be chosen")] = 0
    likelihood: Annotated[Literal["gaussian"], Meta(description="bernoulli is for networks")] = "gaussian"
    score: Annotated[
        Literal["both", "crowd", "recall"],
        Meta(description="crowd: the density of normal rows; recall: the distance from those that are like the row"),
    ] = "both"
    prototypes: Prototypes = 1024
    contamination: Contamination = 0.0


class HybridSettings(NetworkSettings, frozen=True, kw_only=True):
    """The settings of a denoising autoencoder with a memory beside it."""

    likelihood: Annotated[Literal["gaussian"], Meta(description="bernoulli is for other variants")] = "gaussian"
    corruption: Corruptions = "swap"
    level: Level = 0.2
    prototypes: Prototypes = 1024
    contamination: Contamination = 0.0


class ConvolutionalSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of convolutions over images."""

    batch: Batch = 32
    patience: Patience = 4
    sizes: Annotated[tuple[Size, ...], Meta(description="channels of the encoder's layers; the decoder mirrors them")] = (16, 32)
    components: Annotated[int, Meta(ge=1, le=1024, description="numbers in the code for the whole image")] = 48
    places: Annotated[int, Meta(ge=1, le=64, description="numbers in the code for each position of the coarsest layer")] = 4
    corruption: Annotated[
        Literal["none", "patches", "gaussian"],
        Meta(description="how images are corrupted in training; patches: squares are set to the mean"),
    ] = "none"
    level: Annotated[Rate, Meta(description="share of squares that are hidden; for gaussian a standard deviation")] = 0.2
    light: Annotated[
        Literal["logarithmic", "linear"],
        Meta(description="logarithmic: ratios of brightness matter; linear: differences"),
    ] = "logarithmic"


class SparseSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of a sparse autoencoder."""

    driver: Annotated[
        Literal["l1", "l2", "kl", "top-k", "error-threshold"], Meta(description="what keeps the code, or the loss, sparse")
    ] = "l1"
    weight: Annotated[Positive, Meta(description="l1, l2, kl: scales the penalty")] = 0.01
    target: Annotated[Rate, Meta(description="kl: the mean activation that each unit is driven to")] = 0.05
    k: Annotated[Size, Meta(description="top-k: how many activations are kept")] = 8
    threshold: Annotated[Positive, Meta(description="error-threshold: the loss ignores smaller errors (nats)")] = 0.01


class DropoutSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of an autoencoder with dropout."""

    rate: Annotated[Rate, Meta(description="share of units that are dropped in a step")] = 0.1


class ContractiveSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of a contractive autoencoder."""

    sizes: Sizes = ()
    activation: Activation = "sigmoid"
    weight: Annotated[Positive, Meta(description="scales the penalty on the encoder's Jacobian")] = 0.01
    tied: Annotated[bool, Meta(description="false: a separate decoder, which can evade the penalty by scaling")] = True


class VariationalSettings(NetworkSettings, frozen=True, kw_only=True):
    """The settings of a variational autoencoder."""

    score: Annotated[
        Literal["elbo", "probability"],
        Meta(description="elbo: negative evidence lower bound; probability: without its KL term"),
    ] = "elbo"
    beta: Annotated[Positive, Meta(description="scales the KL term, in training only")] = 1.0
    warm_up: Annotated[float, Meta(gt=0, le=1, description="share of training over which the KL term is phased in")] = 0.3


class AdversarialSettings(PointSettings, frozen=True, kw_only=True):
    """The settings of an adversarial autoencoder."""

    prior: Annotated[Literal["gaussian", "uniform"], Meta(description="the distribution of codes")] = "gaussian"
    discriminator: Annotated[
        Literal["latent", "data"], Meta(description="latent: it sees codes; data: it sees decoded draws of the prior")
    ] = "latent"
    weight: Annotated[Positive, Meta(description="scales the adversarial loss")] = 0.1
    join: Annotated[bool, Meta(description="true: the discriminator adds a term to the score")] = False


AnySettings = TypeVar("AnySettings", bound=VariantSettings)


def parse_settings(kind: type[AnySettings], values: Mapping[str, Any]) -> AnySettings:
    """Return a variant's settings: its defaults, updated by `values` (texts or TOML's types).

    Raises:
        SettingError: a key is unknown or a value is invalid; the message lists the valid ones.
    """
    fields = kind.__struct_fields__
    unknown = [key for key in values if key not in fields]
    if unknown:
        hint = "" if unknown[0] not in NetworkSettings.__struct_fields__ else ", because this variant is fitted without steps"
        raise SettingError(
            f"there is no setting {unknown[0]!r}{hint or suggest_names(unknown, (*fields, 'variant'))}; there are: "
            f"{list_settings(kind)}"
        )
    given = {key: _parse_sizes(value) if key == "sizes" else value for key, value in values.items()}
    for key, value in given.items():
        try:
            msgspec.convert({key: value}, kind, strict=False)
        except msgspec.ValidationError as error:
            accepts = describe_settings(kind)[key].takes
            raise SettingError(f"the setting {key}={values[key]} is not valid; {key} takes {accepts}") from error
    return msgspec.convert(given, kind, strict=False)


def from_texts(texts: Iterable[str]) -> dict[str, str]:
    """Parse `key=value` texts.

    Raises:
        SettingError: a text has no `=`.
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
        raise SettingError(f"{path} is not a TOML file of settings: {error}") from error


def list_settings(kind: type[VariantSettings]) -> str:
    """Return a variant's settings with their defaults, as one line."""
    return ", ".join(f"{key}={value}" for key, value in as_plain(kind()).items())


class SettingDescription(NamedTuple):
    """The documentation of a setting."""

    default: str | int | float | bool
    takes: str
    meaning: str


def describe_settings(kind: type[VariantSettings]) -> dict[str, SettingDescription]:
    """Return the default, the valid values and the meaning of each setting."""
    types = {field.name: type_info(field.type) for field in msgspec.structs.fields(kind)}
    defaults = as_plain(kind())
    return {name: SettingDescription(defaults[name], _valid_values(kind), _meaning(kind)) for name, kind in types.items()}


def _valid_values(kind: Type) -> str:
    match kind:
        case Metadata(type=inner):
            return _valid_values(inner)
        case LiteralType(values=values):
            return " or ".join(", ".join(map(str, values)).rsplit(", ", 1))
        case BoolType():
            return "true or false"
        case VarTupleType(item_type=IntType() as width, max_length=max_length):
            return (
                f"one width such as 32, {_range(width)}"
                if max_length == 1
                else f"widths such as 300-150, each {_range(width)}, or none"
            )
        case IntType() as number:
            return f"a whole number {_range(number)}"
        case FloatType() as number:
            return f"a number {_range(number)}"
    raise AssertionError(kind)


def _meaning(kind: Type) -> str:
    schema = kind.extra_json_schema if isinstance(kind, Metadata) else None
    return str((schema or {})["description"])


def _range(number: IntType | FloatType) -> str:
    bounds = {"from": number.ge, "above": number.gt, "up to": number.le, "but below": number.lt}
    return " ".join(f"{word} {bound:,.10g}" for word, bound in bounds.items() if bound is not None)


def as_plain(settings: VariantSettings) -> dict[str, str | int | float | bool]:
    """Return settings as the manifest stores them."""
    plain = {key: getattr(settings, key) for key in settings.__struct_fields__}
    return {**plain, "sizes": "-".join(map(str, settings.sizes)) or "none"}


def _parse_sizes(value: Any) -> Any:  # noqa: ANN401 - text or TOML's list; msgspec validates the items
    """Parse sizes such as 300-150."""
    if isinstance(value, str):
        return [] if value == "none" else value.split("-")
    return [value] if isinstance(value, int) else value
