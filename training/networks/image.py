"""Convolutions over an image, halving it at each layer, around a code that is a coarse image itself (Masci et al. 2011).

The decoder mirrors the encoder: each layer doubles the sides by laying four channels out as squares of four pixels (Shi et
al. 2016, "Real-time single image and video super-resolution", section 3.2), which leaves no checkerboard artefacts.

A linear autoencoder of the whole image comes first: the principal components of the training images, which no other linear
one improves on (Bourlard & Kamp 1988). The convolutions see the residual, and their output starts at 0. So the code
describes an image as a whole, in components, and each of its positions, in a few numbers: too few for a defect. Both learn
from a hundred images, which a deep code of the whole image would memorise.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from training.networks.dense import ACTIVATIONS

KERNEL = 3
MAX_FITTED = 2000  # images that components are computed from


class ImageShape(NamedTuple):
    """The axes of an image, the channels of the layers and of the spatial code, and the number of components."""

    channels: int
    height: int
    width: int
    sizes: tuple[int, ...]
    places: int
    components: int
    activation: str


class ImageNetwork(nn.Module):
    """A linear autoencoder of the whole image, and strided convolutions for its residual."""

    mean: Tensor
    components: Tensor

    def __init__(self, shape: ImageShape) -> None:
        """Build a layer for each size, and one on either side of the code."""
        super().__init__()
        self.shape = shape
        pixels = shape.channels * shape.height * shape.width
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(shape.components, pixels))
        channels = [shape.channels, *shape.sizes, shape.places]
        self.sides = [(shape.height, shape.width)]
        for _ in channels[1:]:
            height, width = self.sides[-1]
            self.sides.append(((height + 1) // 2, (width + 1) // 2))
        self.activation = ACTIVATIONS[shape.activation]()
        self.down = nn.ModuleList(nn.Conv2d(a, b, KERNEL, stride=2, padding=1) for a, b in pairwise(channels))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, KERNEL, padding=1) for a, b in reversed([*pairwise(channels)]))
        self.unfold = nn.PixelShuffle(2)
        last = cast("nn.Conv2d", self.up[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast("Tensor", last.bias))

    @property
    def latent(self) -> int:
        """The width of the code: components, then the numbers of each position."""
        height, width = self.sides[-1]
        return self.shape.components + self.shape.places * height * width

    def initialize(self, images: Tensor) -> None:
        """Compute the components of images, `[rows, pixels]`; with fewer images than components the others stay 0."""
        mean = images.mean(dim=0)
        centred = images[:: max(1, len(images) // MAX_FITTED)] - mean
        found = torch.linalg.svd(centred, full_matrices=False).Vh[: min(self.shape.components, len(centred) - 1)]
        signs = torch.sign(found.gather(1, found.abs().argmax(dim=1, keepdim=True)))  # a component's sign is arbitrary
        self.mean.copy_(mean)
        self.components[: len(found)] = found * signs

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the code: `[rows, pixels] -> [rows, latent]`."""
        whole = (inputs - self.mean) @ self.components.T
        image = (inputs - self._linear(whole)).unflatten(-1, self.shape[:3])
        *layers, last = self.down
        for layer in layers:
            image = self.activation(layer(image))
        return torch.cat([whole, last(image).flatten(1)], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        """Return the outputs: `[rows, latent] -> [rows, pixels]`."""
        whole, spatial = latent.tensor_split([self.shape.components], dim=1)
        image = spatial.unflatten(-1, (self.shape.places, *self.sides[-1]))
        *layers, last = self.up
        for layer, sides in zip(layers, reversed(self.sides[1:-1]), strict=True):
            image = _crop(self.activation(self.unfold(layer(image))), sides)
        return self._linear(whole) + _crop(self.unfold(last(image)), self.sides[0]).flatten(1)

    def _linear(self, whole: Tensor) -> Tensor:
        """Reconstruct images from their components alone."""
        return whole @ self.components + self.mean


def _crop(image: Tensor, sides: tuple[int, int]) -> Tensor:
    """Crop a doubled image to sides that were odd."""
    height, width = sides
    return image[..., :height, :width]
