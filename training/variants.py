"""The table of variants: what each autoencoder is made of, where it was published and when to choose it.

A new variant is a row here, a struct in `training.settings` if it has settings of its own and, if it needs a part that is
not there yet, one small module. The table itself imports no torch; the functions that build models do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from detector.columns import suggest_names
from detector.errors import SettingError
from training.settings import (
    AdversarialSettings,
    ContractiveSettings,
    ConvolutionalSettings,
    ConvolutionalWindowSettings,
    DenoisingSettings,
    DropoutSettings,
    HybridSettings,
    MemorySettings,
    PointSettings,
    RecurrentWindowSettings,
    SparseSettings,
    StackedSettings,
    VariantSettings,
    VariationalSettings,
    WindowSettings,
    parse_settings,
)

if TYPE_CHECKING:
    from torch import Tensor

    from training.corruption import Corruption
    from training.features import Features
    from training.models import RowModel
    from training.networks import Shape
    from training.networks.sequence import WindowNetwork, WindowShape
    from training.penalty import Penalty
    from training.scores import RowScore


def _no_corruption(_settings: VariantSettings) -> Corruption:
    from training.corruption import no_corruption

    return no_corruption


def _corruption(settings: DenoisingSettings | HybridSettings | ConvolutionalSettings) -> Corruption:
    from training.corruption import corruption_named

    return corruption_named(settings.corruption, settings.level)


def _point_score(model: RowModel, settings: PointSettings, precision: Tensor, _seed: int, *, joined: bool = False) -> RowScore:
    """Build the score of a point autoencoder; `precision` whitens its residuals."""
    from training.models import Autoencoder
    from training.scores import LikelihoodScore, MeanSquaredError, WhitenedResidual

    assert isinstance(model, Autoencoder)  # noqa: S101 - by the variant's `model`
    if settings.score == "mse":
        return MeanSquaredError(model, joined=joined)
    if model.bernoulli:
        return LikelihoodScore(model, joined=joined)
    return WhitenedResidual(model, precision, joined=joined)


def _adversarial_score(model: RowModel, settings: AdversarialSettings, precision: Tensor, seed: int) -> RowScore:
    return _point_score(model, settings, precision, seed, joined=settings.join)


def _variational_score(model: RowModel, settings: VariationalSettings, _precision: Tensor, seed: int) -> RowScore:
    from training.models import VariationalAutoencoder
    from training.scores import NegativeElbo

    assert isinstance(model, VariationalAutoencoder)  # noqa: S101 - by the variant's `model`
    return NegativeElbo(model, seed, divergence=settings.score == "elbo")


def _memory_score(model: RowModel, settings: MemorySettings, _precision: Tensor, _seed: int) -> RowScore:
    from training.fused_scores import MemoryScore
    from training.models import MemoryAutoencoder

    assert isinstance(model, MemoryAutoencoder)  # noqa: S101 - by the variant's `model`
    return MemoryScore(model, settings.score)


def _hybrid_score(model: RowModel, _settings: HybridSettings, precision: Tensor, _seed: int) -> RowScore:
    from training.fused_scores import HybridScore
    from training.models import HybridAutoencoder

    assert isinstance(model, HybridAutoencoder)  # noqa: S101 - by the variant's `model`
    return HybridScore(model, precision)


def _image_score(model: RowModel, settings: ConvolutionalSettings, precision: Tensor, _seed: int) -> RowScore:
    from training.image_model import build_image_score
    from training.models import Autoencoder

    assert isinstance(model, Autoencoder)  # noqa: S101 - by the variant's `model`
    return build_image_score(model, settings, precision)


class WindowedVariant(NamedTuple):
    """How a variant scores windows of a series."""

    settings: type[WindowSettings]
    network: Callable[[WindowShape, Any], WindowNetwork]  # Any: the variant's settings


class Variant(NamedTuple):
    """A row of the table."""

    summary: str
    choose_when: str
    paper: str
    settings: type[VariantSettings]
    model: Callable[[Features, Any], RowModel] | None  # Any: the variant's settings; None: it takes windows only
    corruption: Callable[[Any], Corruption] = _no_corruption
    score: Callable[[RowModel, Any, Tensor, int], RowScore] = _point_score
    windowed: WindowedVariant | None = None  # None: it takes no windows
    cross_fits: bool = False  # whether it is fitted so fast that few rows are held out in turn
    takes_instead: str = ""  # the inputs it takes instead of single rows, with their options


def _undercomplete(features: Features) -> int:
    """Return a code width about half the table's, at most 32: undercomplete for any table of two columns or more."""
    return max(1, min(32, len(features.layout.modelled) // 2))


def _overcomplete(features: Features) -> int:
    """Return a code width twice a network's inputs, at most 256."""
    return min(256, 2 * features.width)


def _shape(features: Features, settings: VariantSettings, latent: int, **fields: Any) -> Shape:  # noqa: ANN401 - of Shape
    """Return the shape of a network for a table, with other `fields` replaced."""
    from training.networks import Shape

    return Shape(features.width, settings.sizes, latent, latent, features.outputs, settings.activation)._replace(**fields)


def _is_bernoulli(settings: VariantSettings) -> bool:
    return settings.likelihood == "bernoulli"


def _plain(features: Features, settings: VariantSettings) -> RowModel:
    from training.models import Autoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    return Autoencoder(features, Dense(_shape(features, settings, latent)), latent, bernoulli=_is_bernoulli(settings))


def _memory(features: Features, settings: MemorySettings) -> RowModel:
    from training.models import MemoryAutoencoder

    if settings.latent not in {0, features.outputs}:
        raise SettingError(
            f"latent={settings.latent} is not possible: the code of a memory has {features.outputs} numbers for this table"
        )
    return MemoryAutoencoder(features, settings.prototypes, settings.contamination)


def _hybrid(features: Features, settings: HybridSettings) -> RowModel:
    from training.models import HybridAutoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    return HybridAutoencoder(
        features, Dense(_shape(features, settings, latent)), latent, settings.prototypes, settings.contamination
    )


def _tied(features: Features, settings: VariantSettings) -> RowModel:
    from training.models import Autoencoder
    from training.networks import Tied

    latent = settings.latent or _undercomplete(features)
    network = Tied(_shape(features, settings, latent), features.mirrored)
    return Autoencoder(features, network, latent, bernoulli=_is_bernoulli(settings))


def _sparse(features: Features, settings: SparseSettings) -> RowModel:
    from training import penalty
    from training.models import Autoencoder
    from training.networks import Dense, TopK

    latent = settings.latent or _overcomplete(features)
    if settings.driver == "top-k" and settings.k > latent:
        raise SettingError(f"k ({settings.k}) exceeds latent ({latent})")
    code_activation = "sigmoid" if settings.driver == "kl" else "relu"
    network = Dense(_shape(features, settings, latent, code_activation=code_activation))
    if settings.driver == "top-k":
        network.encoder.append(TopK(settings.k))
    min_error = settings.threshold if settings.driver == "error-threshold" else 0.0
    model = Autoencoder(features, network, latent, bernoulli=_is_bernoulli(settings), min_error=min_error)
    penalties: dict[str, Penalty] = {
        "l1": penalty.ActivityPenalty(1, settings.weight),
        "l2": penalty.ActivityPenalty(2, settings.weight),
        "kl": penalty.SparsityPenalty(settings.target, settings.weight),
    }
    model.penalty = penalties.get(settings.driver, penalty.no_penalty)
    return model


def _dropout(features: Features, settings: DropoutSettings) -> RowModel:
    from training.models import Autoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    network = Dense(_shape(features, settings, latent, dropout=settings.rate))
    return Autoencoder(features, network, latent, bernoulli=_is_bernoulli(settings))


def _contractive(features: Features, settings: ContractiveSettings) -> RowModel:
    from training import penalty
    from training.models import Autoencoder
    from training.networks import Dense, Tied

    latent = settings.latent or max(1, min(64, features.width))
    shape = _shape(features, settings, latent, code_activation=settings.activation)
    network = Tied(shape, features.mirrored) if settings.tied else Dense(shape)
    model = Autoencoder(features, network, latent, bernoulli=_is_bernoulli(settings))
    model.penalty = penalty.ContractivePenalty(settings.weight)
    return model


def _variational(features: Features, settings: VariationalSettings) -> RowModel:
    from training.models import VariationalAutoencoder
    from training.networks import Dense

    latent, bernoulli = settings.latent or _undercomplete(features), _is_bernoulli(settings)
    outputs = features.outputs + (0 if bernoulli else features.layout.feature_count)
    network = Dense(_shape(features, settings, latent, code=2 * latent, outputs=outputs))
    return VariationalAutoencoder(features, network, latent, beta=settings.beta, warm_up=settings.warm_up, bernoulli=bernoulli)


def _adversarial(features: Features, settings: AdversarialSettings) -> RowModel:
    from training.adversarial import AdversarialAutoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    return AdversarialAutoencoder(
        features,
        Dense(_shape(features, settings, latent)),
        latent,
        prior=settings.prior,
        target=settings.discriminator,
        weight=settings.weight,
        bernoulli=_is_bernoulli(settings),
    )


def _convolutional(features: Features, settings: ConvolutionalSettings) -> RowModel:
    from training.image_model import build_image_model
    from training.pixels import PixelFeatures

    assert isinstance(features, PixelFeatures)  # noqa: S101 - by `check_input`
    return build_image_model(features, settings)


def _dense_windows(shape: WindowShape, _settings: WindowSettings) -> WindowNetwork:
    from training.networks.sequence import DenseWindowNetwork

    return DenseWindowNetwork(shape)


def _convolutional_windows(shape: WindowShape, _settings: WindowSettings) -> WindowNetwork:
    from training.networks.sequence import ConvolutionalWindowNetwork

    return ConvolutionalWindowNetwork(shape)


def _recurrent_windows(shape: WindowShape, settings: RecurrentWindowSettings) -> WindowNetwork:
    from training.networks.sequence import RecurrentWindowNetwork

    return RecurrentWindowNetwork(shape, settings.cell)


VARIANTS = {
    "memory": Variant(
        summary="recalls the normal rows that a row is like; it is learnt in one pass",
        choose_when="for tables of any kind: the default",
        paper="Nadaraya 1964; Watson 1964; Abramson 1982; Gong et al. 2019",
        settings=MemorySettings,
        model=_memory,
        score=_memory_score,
        cross_fits=True,
    ),
    "denoising": Variant(
        summary="reconstructs clean rows from rows in which some cells were corrupted",
        choose_when="where scoring must be fastest, or the bundle may hold no memory of training rows",
        paper="Vincent et al. 2008",
        settings=DenoisingSettings,
        model=_plain,
        corruption=_corruption,
    ),
    "hybrid": Variant(
        summary="a denoising autoencoder with a memory of normal rows beside it; their scores are added up",
        choose_when="where a better ranking is worth slower training and scoring: measure it on your rows",
        paper="Vincent et al. 2008; Gong et al. 2019",
        settings=HybridSettings,
        model=_hybrid,
        corruption=_corruption,
        score=_hybrid_score,
    ),
    "plain": Variant(
        summary="compresses a row into a code narrower than the table; a linear one is principal component analysis",
        choose_when="as a baseline, or where training must be shortest",
        paper="Bourlard & Kamp 1988; Hinton & Salakhutdinov 2006",
        settings=PointSettings,
        model=_plain,
        windowed=WindowedVariant(WindowSettings, _dense_windows),
    ),
    "stacked": Variant(
        summary="a deep plain autoencoder: several layers on either side of the code",
        choose_when="for wide tables, and images given as rows of pixels, if there are many rows",
        paper="Hinton & Salakhutdinov 2006",
        settings=StackedSettings,
        model=_plain,
    ),
    "tied": Variant(
        summary="decodes with the encoder's transposed weights: half the parameters",
        choose_when="for a small file",
        paper="Vincent et al. 2010",
        settings=PointSettings,
        model=_tied,
    ),
    "sparse": Variant(
        summary="a code wider than the table, of which few units are active at a time",
        choose_when="for normal rows of many different kinds",
        paper="Ranzato et al. 2007; Ng 2011; Makhzani & Frey 2014",
        settings=SparseSettings,
        model=_sparse,
    ),
    "dropout": Variant(
        summary="units are dropped at random in training, so none relies on another",
        choose_when="for few rows of many columns",
        paper="Srivastava et al. 2014",
        settings=DropoutSettings,
        model=_dropout,
    ),
    "contractive": Variant(
        summary="its code hardly changes when a normal row changes a little",
        choose_when="for smooth measurements with little noise",
        paper="Rifai et al. 2011",
        settings=ContractiveSettings,
        model=_contractive,
    ),
    "variational": Variant(
        summary="its code is a distribution; rows are scored by their evidence lower bound",
        choose_when="where the noise itself differs from row to row, or rows are to be generated",
        paper="Kingma & Welling 2014; An & Cho 2015",
        settings=VariationalSettings,
        model=_variational,
        score=_variational_score,
    ),
    "adversarial": Variant(
        summary="a discriminator forces its codes into the shape of a prior",
        choose_when="where rows are to be generated and those of the variational variant are too blurred",
        paper="Makhzani et al. 2016; Goodfellow et al. 2014",
        settings=AdversarialSettings,
        model=_adversarial,
        score=_adversarial_score,
    ),
    "convolutional": Variant(
        summary="convolutions compress an image, or a window of a series over time, and locate the error",
        choose_when="for images, where it is the default, and for series whose shape over time matters, given `--window`",
        paper="Masci et al. 2011",
        settings=ConvolutionalSettings,
        model=_convolutional,
        corruption=_corruption,
        score=_image_score,
        windowed=WindowedVariant(ConvolutionalWindowSettings, _convolutional_windows),
        takes_instead=(
            "images (a folder of them, or rows of pixels with --image 28x28) and windows of a series (with --time and --window)"
        ),
    ),
    "recurrent": Variant(
        summary="an LSTM or GRU encodes a window of a series, another one decodes it",
        choose_when="for series with long rhythms, given `--window`; three to four times slower than convolutions",
        paper="Malhotra et al. 2016",
        settings=RecurrentWindowSettings,
        model=None,
        windowed=WindowedVariant(RecurrentWindowSettings, _recurrent_windows),
        takes_instead="windows of a series: name the time column with --time and the number of rows of a window with --window",
    ),
}
DEFAULT = "memory"
FASTEST, BEST, WITHOUT_MEMORY = "denoising", "hybrid", "denoising"  # of rows: for scoring speed, for ranking, for privacy
DEFAULT_OF_WINDOWS = "plain"
FOR_IMAGES = "convolutional"


def named(name: str) -> Variant:
    """Return a row of the table.

    Raises:
        SettingError: there is no variant of that name.
    """
    if name not in VARIANTS:
        raise SettingError(
            f"there is no variant {name!r}{suggest_names([name], list(VARIANTS))}; there are {', '.join(VARIANTS)}"
        )
    return VARIANTS[name]


def check_input(name: str, *, images: bool) -> None:
    """Raise unless a variant takes images, or without `images` single rows.

    Raises:
        SettingError: names a variant that does, or what this one takes.
    """
    variant = named(name)
    if images and variant.settings is not ConvolutionalSettings:
        raise SettingError(f"images need --variant {FOR_IMAGES}")
    if variant.takes_instead and not images:
        raise SettingError(f"{name} takes {variant.takes_instead}")


class Plan(NamedTuple):
    """A variant for rows or images, with its settings."""

    variant: Variant
    settings: VariantSettings

    def model(self, features: Features) -> RowModel:
        """Build the model for a table.

        Raises:
            SettingError: the settings do not fit the table.
        """
        if _is_bernoulli(self.settings) and features.layout.dates:
            raise SettingError("likelihood=bernoulli takes numbers in [0, 1], but there are dates: leave them out with --ignore")
        assert self.variant.model is not None  # noqa: S101 - by `check_input`
        return self.variant.model(features, self.settings)

    def corruption(self) -> Corruption:
        """Return the corruption of inputs in training."""
        return self.variant.corruption(self.settings)

    def score(self, model: RowModel, precision: Tensor, seed: int) -> RowScore:
        """Build the score of a trained model; `precision` whitens the residuals of point autoencoders."""
        return self.variant.score(model, self.settings, precision, seed)


class WindowedPlan(NamedTuple):
    """A variant for windows, with its settings."""

    windowed: WindowedVariant
    settings: WindowSettings

    def network(self, time: int, channels: int, latent: int) -> WindowNetwork:
        """Build the network for windows of `time` rows."""
        from training.networks.sequence import WindowShape

        settings = self.settings
        return self.windowed.network(WindowShape(time, channels, settings.sizes, latent, settings.activation), settings)


def windowed_plan(name: str, values: Mapping[str, Any] | None = None) -> WindowedPlan:
    """Return a variant for windows by its name, with its defaults updated by `values`.

    Raises:
        SettingError: the variant or a setting is unknown, a value is invalid, or the variant takes no windows.
    """
    windowed = named(name).windowed
    if windowed is None:
        names = ", ".join(other for other, variant in VARIANTS.items() if variant.windowed)
        raise SettingError(f"{name} takes single rows; variants that take windows of a series: {names}")
    settings = parse_settings(windowed.settings, values or {})
    if settings.m > settings.n:
        raise SettingError(f"m={settings.m} of n={settings.n} newest scores can never be above a threshold: m is at most n")
    return WindowedPlan(windowed, settings)


def plan(name: str, values: Mapping[str, Any] | None = None) -> Plan:
    """Return a variant by its name, with its defaults updated by `values` (texts or TOML's types).

    Raises:
        SettingError: the variant or a setting is unknown, or a value is invalid.
    """
    variant = named(name)
    return Plan(variant, parse_settings(variant.settings, values or {}))
