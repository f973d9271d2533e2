"""The convolutional autoencoder of images: its model, its scores, and its graph, whose contribution is a map.

The regional score asks of every region whether its error is larger than usual there. At several window sizes, the residual
is averaged over the window around each pixel, squared, and divided by its mean on held-out normal images at that position;
the map of each size is pooled by a power mean, between the mean over all pixels and their maximum, so that a small defect
counts and a single pixel does not decide. The score is the mean over sizes, each in units of a typical normal image: 1 is a
typical image. All of it is homogeneous, so each pixel's share of the powers is its share of the score (Euler).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.errors import SettingError
from detector.graph import IMAGE_INPUT
from detector.images import ImageSpec
from training.features import Cells
from training.graph import DetectorGraph
from training.likelihood import Reconstruction, feature_loss, outside_loss
from training.models import Autoencoder
from training.networks import ImageNetwork, ImageShape
from training.pixels import PixelFeatures
from training.scores import LikelihoodScore, MeanSquaredError, PointScore, RowScore

if TYPE_CHECKING:
    from training.settings import ConvolutionalSettings

WINDOWS = (1, 3, 5)  # pixels
POWER = 6
PRIOR_IMAGES = 3.0  # weight of the mean error of all positions beside a position's own, in images
MIN_RELATIVE = 1e-6  # of the mean error: the smallest error that is expected at a position
TINY = 1e-30


class ImageAutoencoder(Autoencoder):
    """A convolutional autoencoder."""

    network: ImageNetwork
    batch = 32
    step_divisor = 3

    def initialize(self, training: Cells) -> None:
        """Compute the components; not under a Bernoulli likelihood, where the outputs are log-odds."""
        if not self.bernoulli:
            self.network.initialize(self.features.inputs(training))


def build_image_model(features: PixelFeatures, settings: ConvolutionalSettings) -> Autoencoder:
    """Build a convolutional autoencoder.

    Raises:
        SettingError: `latent` is not the code's width.
    """
    shape = ImageShape(*features.image.shape, settings.sizes, settings.places, settings.components, settings.activation)
    network = ImageNetwork(shape)
    if settings.latent not in {0, network.latent}:
        raise SettingError(
            f"latent={settings.latent} is not possible: the code of images of {features.image.size} has {network.latent} "
            "numbers, by components and places"
        )
    return ImageAutoencoder(features, network, network.latent, bernoulli=settings.likelihood == "bernoulli")


def window_energies(residual: Tensor) -> Tensor:
    """Return the squared window means of a residual, `[rows, channels, h, w] -> [rows, windows, h, w]`.

    Channels are averaged after squaring; windows are cut off at the border.
    """
    smooth = [functional.avg_pool2d(residual, size, 1, size // 2, count_include_pad=False) for size in WINDOWS]
    return torch.stack([(means**2).mean(dim=1) for means in smooth], dim=1)


def power_mean(energy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the power mean over all pixels, `[rows, windows]`, and each pixel's share of it, `[rows, windows, h, w]`."""
    largest = energy.amax(dim=(2, 3), keepdim=True).clamp(min=TINY)  # keeps powers within float32
    powers = (energy / largest) ** POWER
    mean = powers.mean(dim=(2, 3), keepdim=True)
    share = powers / powers.sum(dim=(2, 3), keepdim=True).clamp(min=TINY)
    return (largest * mean ** (1 / POWER)).flatten(1), share


def energy_weights(residual: Tensor) -> Tensor:
    """Return the weights that give a normal image energies of 1 and a score of 1, `[windows * h * w]`.

    `residual` is that of held-out normal images, `[images, channels, h, w]`.
    """
    energy = window_energies(residual)
    images = len(energy)
    overall = energy.mean(dim=(0, 2, 3), keepdim=True)[0].clamp(min=1e-12)
    by_position = (energy.sum(dim=0) + PRIOR_IMAGES * overall) / (images + PRIOR_IMAGES)
    by_position = by_position.clamp(min=MIN_RELATIVE * overall)
    pools, _ = power_mean(energy / by_position)
    return (1.0 / (by_position * pools.mean(dim=0)[:, None, None])).flatten()


class RegionalResidual(PointScore):
    """The error of an image's worst regions, relative to a typical normal image."""

    name = "regional residual"
    unit = "times a usual image"

    def __init__(self, model: Autoencoder, precision: Tensor, image: ImageSpec) -> None:
        """Weight energies by `precision`, the result of `energy_weights`; zeros if it is empty, to be loaded later."""
        super().__init__(model)
        self.image = image
        _, height, width = image.shape
        size = len(WINDOWS) * height * width
        self.precision = nn.Buffer(precision if len(precision) == size else torch.zeros(size), persistent=False)

    def by_feature(self, cells: Cells, reconstruction: Reconstruction, present: Tensor) -> Tensor:
        """Return each pixel's term, `float64[rows, pixels]`: a position's, shared among its channels."""
        channels, height, width = self.image.shape
        residual = (cells.values - reconstruction.mean.double()) * present
        energy = window_energies(residual.unflatten(1, self.image.shape).to(reconstruction.mean.dtype))
        pools, share = power_mean(energy * self.precision.view(1, len(WINDOWS), height, width).to(energy.dtype))
        by_position = (pools[:, :, None, None].double() * share.double()).mean(dim=1)
        return (by_position / channels).unsqueeze(1).expand(-1, channels, -1, -1).flatten(1)


class PixelLikelihood(LikelihoodScore):
    """The negative log-likelihood under the reconstruction; each pixel's term includes its excess outside [0, 1]."""

    extra_terms = ()

    def by_feature(self, cells: Cells, reconstruction: Reconstruction, present: Tensor) -> Tensor:
        """Return each pixel's term, `float64[rows, pixels]`."""
        return (feature_loss(cells.values, reconstruction).double() + outside_loss(cells.values)) * present

    def other_terms(self, cells: Cells, code: Tensor) -> Tensor:
        """Return no terms: every one belongs to a pixel."""
        del code
        return cells.codes


def build_image_score(model: Autoencoder, settings: ConvolutionalSettings, precision: Tensor) -> RowScore:
    """Build the score of a trained model; `precision` is the result of `energy_weights`."""
    if settings.score == "mse":
        return MeanSquaredError(model)
    if model.bernoulli:
        return PixelLikelihood(model)
    assert isinstance(model.features, PixelFeatures)  # noqa: S101 - by `build_image_model`
    return RegionalResidual(model, precision, model.features.image)


class ImageGraph(DetectorGraph):
    """`float64[rows, channels, height, width]` in; score, a map of contributions, the reconstructed image, and its code out."""

    features: PixelFeatures

    def __init__(self, features: PixelFeatures, score: RowScore) -> None:
        """Pixels are neither categories nor constants, so no terms are added to the score."""
        nn.Module.__init__(self)
        self.features = features
        self.score = score

    tolerance = 1e-4  # ONNX Runtime lacks convolutions in float64, and small residuals have few significant digits

    @property
    def input(self) -> str:
        """The name of the graph's input."""
        return IMAGE_INPUT

    def example(self, rows: int) -> Tensor:
        """Return example images for tracing."""
        return torch.zeros(rows, *self.features.image.shape, dtype=torch.float64)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return score `[rows]`, contribution `[rows, h, w]`, expected `[rows, channels, h, w]`, latent `[rows, k]`.

        An image's values may also come as a row, and as bytes.
        """
        row = image.flatten(1).double()
        terms = self.score(self.features(row))
        contribution = terms.features.unflatten(1, self.features.image.shape).sum(dim=1)
        expected = self.features.expected(row, terms.reconstruction.mean, terms.reconstruction.logits)
        return contribution.sum(dim=(1, 2)), contribution, expected.unflatten(1, self.features.image.shape), terms.latent

    def in_float64(self) -> DetectorGraph:
        """Return the graph as it is: ONNX Runtime lacks convolutions in float64."""
        return self
