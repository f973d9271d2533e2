"""The table of variants: each row says what a named autoencoder is made of, where it comes from and when to choose it.

A new variant is a row here, a struct of settings in `training.settings` if it has some of its own and, if it needs a
part that is not there yet, one small module beside this one. The table itself needs no torch: what builds with it imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from detector.columns import suggest_names
from detector.errors import SettingError
from training import settings as of
from training.settings import VariantSettings

if TYPE_CHECKING:
    from torch import Tensor

    from training.corruption import Corruption
    from training.features import Features
    from training.models import Model
    from training.networks import Shape
    from training.networks.sequence import SequenceNetwork, WindowShape
    from training.penalty import Penalty
    from training.scores import Score


def _uncorrupted(_settings: VariantSettings) -> Corruption:
    """Leave rows as they are."""
    from training.corruption import none

    return none


def _corrupted(settings: of.DenoisingSettings | of.ConvolutionalSettings) -> Corruption:
    """Corrupt rows as the settings say."""
    from training.corruption import named

    return named(settings.corruption, settings.level)


class Windowed(NamedTuple):
    """How a row of the table judges windows."""

    settings: type[of.WindowSettings]
    network: Callable[[WindowShape, Any], SequenceNetwork]  # Any: the row's own settings


class Variant(NamedTuple):
    """A row of the table."""

    summary: str
    choose_when: str
    paper: str
    settings: type[VariantSettings]
    model: Callable[[Features, Any], Model] | None  # Any: the row's own settings; None: it takes windows alone
    corruption: Callable[[Any], Corruption] = _uncorrupted
    windowed: Windowed | None = None  # how it judges windows of a series, if it does
    takes_instead: str = ""  # what it takes instead of rows, and how to say so


def _undercomplete(features: Features) -> int:
    """Give a code about half as wide as the table, at most 32: undercomplete for any table of two columns or more."""
    return max(1, min(32, len(features.layout.modelled) // 2))


def _overcomplete(features: Features) -> int:
    """Give a code twice as wide as a network's inputs, at most 256."""
    return min(256, 2 * features.width)


def _shape(features: Features, settings: VariantSettings, latent: int, **more: Any) -> Shape:  # noqa: ANN401 - of Shape's fields
    """Give the shape of a network for a table."""
    from training.networks import Shape

    return Shape(features.width, settings.sizes, latent, latent, features.outputs, settings.activation)._replace(**more)


def _bernoulli(settings: VariantSettings) -> bool:
    """Tell whether features are probabilities."""
    return settings.likelihood == "bernoulli"


def _plain(features: Features, settings: VariantSettings) -> Model:
    """Build a point autoencoder; with sizes, a deep one."""
    from training.models import Autoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    return Autoencoder(features, Dense(_shape(features, settings, latent)), latent, bernoulli=_bernoulli(settings))


def _tied(features: Features, settings: VariantSettings) -> Model:
    """Build one whose decoder is its encoder, transposed."""
    from training.models import Autoencoder
    from training.networks import Tied

    latent = settings.latent or _undercomplete(features)
    network = Tied(_shape(features, settings, latent), features.mirrored)
    return Autoencoder(features, network, latent, bernoulli=_bernoulli(settings))


def _sparse(features: Features, settings: of.SparseSettings) -> Model:
    """Build one whose code is wide and mostly at rest."""
    from training import penalty
    from training.models import Autoencoder
    from training.networks import Dense, TopK

    latent = settings.latent or _overcomplete(features)
    if settings.driver == "top-k" and settings.k > latent:
        raise SettingError(f"k={settings.k} activations cannot be kept of latent={latent}")
    ends_in = "sigmoid" if settings.driver == "kl" else "relu"
    network = Dense(_shape(features, settings, latent, code_activation=ends_in))
    if settings.driver == "top-k":
        network.encoder.append(TopK(settings.k))
    ignored = settings.threshold if settings.driver == "error-threshold" else 0.0
    model = Autoencoder(features, network, latent, bernoulli=_bernoulli(settings), ignored=ignored)
    drivers: dict[str, Penalty] = {
        "l1": penalty.Activity(1, settings.weight),
        "l2": penalty.Activity(2, settings.weight),
        "kl": penalty.Rest(settings.target, settings.weight),
    }
    model.penalty = drivers.get(settings.driver, penalty.none)
    return model


def _dropout(features: Features, settings: of.DropoutSettings) -> Model:
    """Build one whose units fail at random while it trains."""
    from training.models import Autoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    network = Dense(_shape(features, settings, latent, dropout=settings.rate))
    return Autoencoder(features, network, latent, bernoulli=_bernoulli(settings))


def _contractive(features: Features, settings: of.ContractiveSettings) -> Model:
    """Build one whose code hardly moves when the row does."""
    from training import penalty
    from training.models import Autoencoder
    from training.networks import Dense, Tied

    latent = settings.latent or max(1, min(64, features.width))
    shape = _shape(features, settings, latent, code_activation=settings.activation)
    network = Tied(shape, features.mirrored) if settings.tied else Dense(shape)
    model = Autoencoder(features, network, latent, bernoulli=_bernoulli(settings))
    model.penalty = penalty.Contraction(settings.weight)
    return model


def _variational(features: Features, settings: of.VariationalSettings) -> Model:
    """Build a variational autoencoder."""
    from training.models import VariationalAutoencoder
    from training.networks import Dense

    latent, bernoulli = settings.latent or _undercomplete(features), _bernoulli(settings)
    outputs = features.outputs + (0 if bernoulli else features.layout.features)
    network = Dense(_shape(features, settings, latent, code=2 * latent, outputs=outputs))
    return VariationalAutoencoder(features, network, latent, beta=settings.beta, warm_up=settings.warm_up, bernoulli=bernoulli)


def _adversarial(features: Features, settings: of.AdversarialSettings) -> Model:
    """Build an adversarial autoencoder."""
    from training.adversarial import AdversarialAutoencoder
    from training.networks import Dense

    latent = settings.latent or _undercomplete(features)
    return AdversarialAutoencoder(
        features,
        Dense(_shape(features, settings, latent)),
        latent,
        prior=settings.prior,
        judges=settings.discriminator,
        weight=settings.weight,
        bernoulli=_bernoulli(settings),
    )


def _convolutional(features: Features, settings: of.ConvolutionalSettings) -> Model:
    """Build one of convolutions over images."""
    from training import image_model
    from training.pixels import Pixels

    assert isinstance(features, Pixels)  # noqa: S101 - `check_takes` lets nothing else in
    return image_model.build(features, settings)


def _flat_windows(shape: WindowShape, _settings: of.WindowSettings) -> SequenceNetwork:
    """Build a dense network over flattened windows."""
    from training.networks.sequence import Flat

    return Flat(shape)


def _convolutional_windows(shape: WindowShape, _settings: of.WindowSettings) -> SequenceNetwork:
    """Build convolutions over time."""
    from training.networks.sequence import Convolutional

    return Convolutional(shape)


def _recurrent_windows(shape: WindowShape, settings: of.RecurrentWindowSettings) -> SequenceNetwork:
    """Build one that reads and unrolls windows."""
    from training.networks.sequence import Recurrent

    return Recurrent(shape, settings.cell)


VARIANTS = {
    "denoising": Variant(
        summary="rebuilds clean rows from rows in which some cells were corrupted",
        choose_when="for tables of any kind: the default",
        paper="Vincent et al. 2008",
        settings=of.DenoisingSettings,
        model=_plain,
        corruption=_corrupted,
    ),
    "plain": Variant(
        summary="squeezes a row through a code narrower than the table; a linear one is principal component analysis",
        choose_when="as a baseline, or where training must be shortest",
        paper="Bourlard & Kamp 1988; Hinton & Salakhutdinov 2006",
        settings=of.PointSettings,
        model=_plain,
        windowed=Windowed(of.WindowSettings, _flat_windows),
    ),
    "stacked": Variant(
        summary="the same, deep: several layers down to the code and as many back",
        choose_when="for wide tables, and images as rows, if rows are many",
        paper="Hinton & Salakhutdinov 2006",
        settings=of.StackedSettings,
        model=_plain,
    ),
    "tied": Variant(
        summary="decodes with the encoder's own weights, transposed: half the numbers",
        choose_when="for few rows, or a small file",
        paper="Vincent et al. 2010",
        settings=of.PointSettings,
        model=_tied,
    ),
    "sparse": Variant(
        summary="a code wider than the table, of which few units are active at a time",
        choose_when="for normal rows of many different kinds",
        paper="Ranzato et al. 2007; Ng 2011; Makhzani & Frey 2014",
        settings=of.SparseSettings,
        model=_sparse,
    ),
    "dropout": Variant(
        summary="units fail at random while it trains, so none relies on another",
        choose_when="for few rows of many columns",
        paper="Srivastava et al. 2014",
        settings=of.DropoutSettings,
        model=_dropout,
    ),
    "contractive": Variant(
        summary="its code hardly moves when a normal row moves a little",
        choose_when="for smooth measurements with little noise",
        paper="Rifai et al. 2011",
        settings=of.ContractiveSettings,
        model=_contractive,
    ),
    "variational": Variant(
        summary="its code is a distribution; rows are scored by their evidence lower bound",
        choose_when="where the noise itself differs from row to row, or rows are to be generated",
        paper="Kingma & Welling 2014; An & Cho 2015",
        settings=of.VariationalSettings,
        model=_variational,
    ),
    "adversarial": Variant(
        summary="a discriminator forces its codes into the shape of a prior",
        choose_when="where rows are to be generated and a variational one is too blurred",
        paper="Makhzani et al. 2016; Goodfellow et al. 2014",
        settings=of.AdversarialSettings,
        model=_adversarial,
    ),
    "convolutional": Variant(
        summary="convolutions squeeze an image, or a window of a series over time, and say where the error is",
        choose_when="for images, where it is the default, and for series whose shape over time matters, given `--window`",
        paper="Masci et al. 2011",
        settings=of.ConvolutionalSettings,
        model=_convolutional,
        corruption=_corrupted,
        windowed=Windowed(of.ConvolutionalWindowSettings, _convolutional_windows),
        takes_instead=(
            "images, a folder of them or rows of pixels with --image 28x28, and windows of a series, named by --time and --window"
        ),
    ),
    "recurrent": Variant(
        summary="an LSTM or GRU reads a window of a series, another one unrolls it from the code",
        choose_when="for series with long rhythms, given `--window`; three to four times slower than convolutions",
        paper="Malhotra et al. 2016",
        settings=of.RecurrentWindowSettings,
        model=None,
        windowed=Windowed(of.RecurrentWindowSettings, _recurrent_windows),
        takes_instead="windows of a series: name the column of time by --time and the rows of a window by --window",
    ),
}
DEFAULT = "denoising"
DEFAULT_OF_WINDOWS = "plain"
FOR_IMAGES = "convolutional"


def named(name: str) -> Variant:
    """Give a row of the table.

    Raises:
        SettingError: there is none of that name.
    """
    if name not in VARIANTS:
        raise SettingError(
            f"there is no variant {name!r}{suggest_names([name], list(VARIANTS))}; there are {', '.join(VARIANTS)}"
        )
    return VARIANTS[name]


def check_takes(name: str, *, images: bool) -> None:
    """Refuse a variant for single rows, or for images.

    Raises:
        SettingError: it does not take them; says which do, or what it takes.
    """
    variant = named(name)
    if images and variant.settings is not of.ConvolutionalSettings:
        raise SettingError(f"images are learnt by --variant {FOR_IMAGES}")
    if variant.takes_instead and not images:
        raise SettingError(f"{name} takes {variant.takes_instead}")


class Plan(NamedTuple):
    """A variant with the settings that it will be trained with."""

    variant: Variant
    settings: VariantSettings

    def model(self, features: Features) -> Model:
        """Build the model for a table.

        Raises:
            SettingError: the settings do not fit the table.
        """
        if _bernoulli(self.settings) and features.layout.dates:
            raise SettingError("likelihood=bernoulli takes numbers in [0, 1]; dates are none: leave them out with --ignore")
        assert self.variant.model is not None  # noqa: S101 - `check_takes` lets no rows in
        return self.variant.model(features, self.settings)

    def corruption(self) -> Corruption:
        """Give what corrupts rows in training."""
        return self.variant.corruption(self.settings)

    def score(self, model: Model, precision: Tensor, seed: int) -> Score:
        """Give a trained model its score; `precision` whitens the residuals of point autoencoders."""
        from training import image_model
        from training.models import Autoencoder, VariationalAutoencoder
        from training.pixels import Pixels
        from training.scores import LikelihoodScore, MeanSquaredError, NegativeElbo, WhitenedResidual

        settings = self.settings
        if isinstance(model, VariationalAutoencoder) and isinstance(settings, of.VariationalSettings):
            return NegativeElbo(model, seed, divergence=settings.score == "elbo")
        assert isinstance(model, Autoencoder)  # noqa: S101 - all others are
        assert isinstance(settings, of.PointSettings)  # noqa: S101 - and so are theirs
        if isinstance(model.features, Pixels) and isinstance(settings, of.ConvolutionalSettings):
            return image_model.score(model, settings, precision)
        joined = isinstance(settings, of.AdversarialSettings) and settings.join
        if settings.score == "mse":
            return MeanSquaredError(model, joined=joined)
        if model.bernoulli:
            return LikelihoodScore(model, joined=joined)
        return WhitenedResidual(model, precision, joined=joined)


class WindowedPlan(NamedTuple):
    """A variant that judges windows, with the settings that it will be trained with."""

    windowed: Windowed
    settings: of.WindowSettings

    def network(self, time: int, channels: int, latent: int) -> SequenceNetwork:
        """Build the network for windows of `time` rows."""
        from training.networks.sequence import WindowShape

        settings = self.settings
        return self.windowed.network(WindowShape(time, channels, settings.sizes, latent, settings.activation), settings)


def windowed_plan(name: str, values: Mapping[str, Any] | None = None) -> WindowedPlan:
    """Give a variant for windows by its name, with settings in place of its defaults.

    Raises:
        SettingError: there is no such variant or setting, it takes no windows, or a setting has a value that cannot be.
    """
    windowed = named(name).windowed
    if windowed is None:
        takers = ", ".join(each for each, variant in VARIANTS.items() if variant.windowed)
        raise SettingError(f"{name} takes single rows; variants that take windows of a series: {takers}")
    settings = of.settings_of(windowed.settings, values or {})
    if settings.m > settings.n:
        raise SettingError(f"m={settings.m} of n={settings.n} newest scores can never be above a threshold: m is at most n")
    return WindowedPlan(windowed, settings)


def plan(name: str, values: Mapping[str, Any] | None = None) -> Plan:
    """Give a variant by its name, with settings (texts or TOML's types) in place of its defaults.

    Raises:
        SettingError: there is no such variant or setting, or a setting has a value that cannot be.
    """
    variant = named(name)
    return Plan(variant, of.settings_of(variant.settings, values or {}))
