"""The convolutional autoencoder on images: its model, its score, and its graph, whose contribution is a map.

The score asks of every region whether its error is larger than is usual there. At several sizes of window, the residual is
averaged over the window around each pixel, squared, and put in units of what held-out normal images have at that place;
the map of each size is pooled by a power mean, between the mean over all pixels and the largest of them, so that a small
defect counts and a single pixel does not decide. The score is the mean over sizes, each in units of a usual normal image:
1 is a usual image. All of it is homogeneous, so each pixel's share of the powers is its share of the score (Euler).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from detector.errors import SettingError
from detector.graph import IMAGE_INPUT
from detector.images import ImageSpec
from training.features import Cells, Features
from training.graph import DetectorGraph
from training.likelihood import Reconstruction, by_feature, outside
from training.models import Autoencoder
from training.networks import Plane, Spatial
from training.pixels import Pixels
from training.scores import LikelihoodScore, MeanSquaredError, PointScore, Score

if TYPE_CHECKING:
    from training.settings import ConvolutionalSettings

WINDOWS = (1, 3, 5)  # pixels
POWER = 6
PRIOR_IMAGES = 3.0  # as many images speak for the mean error of all places, beside those that speak for a place's own
LEAST = 1e-6  # of the mean error: no place is rebuilt better than that


class SpatialAutoencoder(Autoencoder):
    """A convolutional autoencoder."""

    network: Spatial
    batch = 32
    slowness = 3

    def begin(self, training: Cells) -> None:
        """Set the components; not under a Bernoulli likelihood, where what is rebuilt are log-odds."""
        if not self.bernoulli:
            self.network.begin(self.features.inputs(training))


def build(features: Pixels, settings: ConvolutionalSettings) -> Autoencoder:
    """Build a convolutional autoencoder."""
    plane = Plane(*features.image.shape, settings.sizes, settings.places, settings.components, settings.activation)
    network = Spatial(plane)
    if settings.latent not in {0, network.latent}:
        raise SettingError(
            f"latent={settings.latent} cannot be: the code of images of {features.image.size} has {network.latent} numbers, by "
            "components and places"
        )
    return SpatialAutoencoder(features, network, network.latent, bernoulli=settings.likelihood == "bernoulli")


def energies(residual: Tensor) -> Tensor:
    """Give the squared mean of a residual, `[rows, channels, h, w]`, over the windows around each pixel: `[rows, windows, h, w]`.

    Channels are averaged after squaring; at the border a window ends where the image does.
    """
    smooth = [functional.avg_pool2d(residual, size, 1, size // 2, count_include_pad=False) for size in WINDOWS]
    return torch.stack([(each**2).mean(dim=1) for each in smooth], dim=1)


def pooled(energy: Tensor) -> tuple[Tensor, Tensor]:
    """Give the power mean over all pixels, `[rows, windows]`, and each pixel's share of it, `[rows, windows, h, w]`."""
    largest = energy.amax(dim=(2, 3), keepdim=True).clamp(min=1e-30)  # powers of what is left stay within float32
    powers = (energy / largest) ** POWER
    mean = powers.mean(dim=(2, 3), keepdim=True)
    share = powers / powers.sum(dim=(2, 3), keepdim=True).clamp(min=1e-30)
    return (largest * mean ** (1 / POWER)).flatten(1), share


def usual(residual: Tensor) -> Tensor:
    """Give by what the energies of a normal image are multiplied so that each is 1 and so is its score, `[windows * h * w]`.

    `residual` is of held-out normal images, `[images, channels, h, w]`.
    """
    energy = energies(residual)
    images = len(energy)
    overall = energy.mean(dim=(0, 2, 3), keepdim=True)[0].clamp(min=1e-12)
    place = (energy.sum(dim=0) + PRIOR_IMAGES * overall) / (images + PRIOR_IMAGES)
    place = place.clamp(min=LEAST * overall)
    pools, _ = pooled(energy / place)
    return (1.0 / (place * pools.mean(dim=0)[:, None, None])).flatten()


class RegionalResidual(PointScore):
    """How much larger the error of an image's worst regions is than in a usual image; no unit but that."""

    name = "regional residual"
    unit = "times a usual image"

    def __init__(self, model: Autoencoder, precision: Tensor, image: ImageSpec) -> None:
        """Take the trained model and what `usual` gave; nothing yet where it is to be filled in."""
        super().__init__(model)
        self.image = image
        _, height, width = image.shape
        size = len(WINDOWS) * height * width
        self.precision = nn.Buffer(precision if len(precision) == size else torch.zeros(size), persistent=False)

    def by_feature(self, cells: Cells, rebuilt: Reconstruction, present: Tensor) -> Tensor:
        """Give each pixel's term, `float64[rows, pixels]`: a position's, shared among its channels."""
        channels, height, width = self.image.shape
        residual = (cells.values - rebuilt.mean.double()) * present
        energy = energies(residual.unflatten(1, self.image.shape).to(rebuilt.mean.dtype))
        pools, share = pooled(energy * self.precision.view(1, len(WINDOWS), height, width).to(energy.dtype))
        by_position = (pools[:, :, None, None].double() * share.double()).mean(dim=1)
        return (by_position / channels).unsqueeze(1).expand(-1, channels, -1, -1).flatten(1)


class PixelLikelihood(LikelihoodScore):
    """Minus the log-likelihood under the reconstruction, a pixel's value outside [0, 1] included in its own term."""

    extra_terms = ()

    def by_feature(self, cells: Cells, rebuilt: Reconstruction, present: Tensor) -> Tensor:
        """Give each pixel's term, `float64[rows, pixels]`."""
        return (by_feature(cells.values, rebuilt).double() + outside(cells.values)) * present

    def beside(self, cells: Cells, code: Tensor) -> Tensor:
        """Give no terms that belong to no pixel."""
        del code
        return cells.codes


def score(model: Autoencoder, settings: ConvolutionalSettings, precision: Tensor) -> Score:
    """Give a trained model its score."""
    if settings.score == "mse":
        return MeanSquaredError(model)
    if model.bernoulli:
        return PixelLikelihood(model)
    assert isinstance(model.features, Pixels)  # noqa: S101 - `build` took them
    return RegionalResidual(model, precision, model.features.image)


class ImageGraph(DetectorGraph):
    """`float64[rows, channels, height, width]` in; score, a map of contributions, the image as rebuilt, and its code out."""

    features: Pixels

    def __init__(self, features: Pixels, score: Score) -> None:
        """Take both; pixels are neither categories nor constants."""
        nn.Module.__init__(self)
        self.features = features
        self.score = score

    tolerance = 1e-4  # ONNX Runtime has no convolutions in float64, and what was rebuilt well leaves few digits of its error

    @property
    def input(self) -> str:
        """The name of what goes in."""
        return IMAGE_INPUT

    def example(self, rows: int) -> Tensor:
        """Give so many images to trace the graph with."""
        return torch.zeros(rows, *self.features.image.shape, dtype=torch.float64)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Give score `[rows]`, contribution `[rows, h, w]`, expected `[rows, channels, h, w]`, latent `[rows, k]`.

        An image's values may also come as a row, and as bytes.
        """
        row = image.flatten(1).double()
        terms = self.score(self.features(row))
        contribution = terms.features.unflatten(1, self.features.image.shape).sum(dim=1)
        expected = self.features.expected(row, terms.rebuilt.mean, terms.rebuilt.logits)
        return contribution.sum(dim=(1, 2)), contribution, expected.unflatten(1, self.features.image.shape), terms.latent

    def in_float64(self) -> DetectorGraph:
        """Stay in float32: there is nothing else."""
        return self


def graph_of(features: Features, score: Score) -> DetectorGraph:
    """Give the whole computation for features and a score."""
    return ImageGraph(features, score) if isinstance(features, Pixels) else DetectorGraph(features, score)
