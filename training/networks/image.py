"""Convolutions over an image, halving it at each layer, around a code that is a coarse image itself (Masci et al. 2011).

The decoder mirrors the encoder: each layer doubles the sides by laying four channels out as squares of four pixels (Shi et
al. 2016, "Real-time single image and video super-resolution", section 3.2), which leaves no checkerboard behind.

Before them stands a linear autoencoder of the whole image: the principal components of the training images, which no
other one rebuilds better (Bourlard & Kamp 1988). The convolutions see what these leave, and begin at nothing. So the
code holds what an image is as a whole, in components, and what each of its places is like, in a few numbers a place: too
few for a defect. Both learn from a hundred images, where a deep code of the whole image would learn these by heart.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from training.networks.dense import ACTIVATIONS

KERNEL = 3
ENOUGH = 2000  # images, to find components from


class Plane(NamedTuple):
    """What a network of convolutions is made for: an image's axes, channels of the layers and of a place's code, components."""

    channels: int
    height: int
    width: int
    sizes: tuple[int, ...]
    places: int
    components: int
    activation: str


class Spatial(nn.Module):
    """A linear autoencoder of the whole image, and one of strided convolutions for what it leaves."""

    mean: Tensor
    components: Tensor

    def __init__(self, plane: Plane) -> None:
        """Build a layer for each size, and one on either side of the code."""
        super().__init__()
        self.plane = plane
        pixels = plane.channels * plane.height * plane.width
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("components", torch.zeros(plane.components, pixels))
        channels = [plane.channels, *plane.sizes, plane.places]
        self.sides = [(plane.height, plane.width)]
        for _ in channels[1:]:
            height, width = self.sides[-1]
            self.sides.append(((height + 1) // 2, (width + 1) // 2))
        self.activation = ACTIVATIONS[plane.activation]()
        self.down = nn.ModuleList(nn.Conv2d(a, b, KERNEL, stride=2, padding=1) for a, b in pairwise(channels))
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, KERNEL, padding=1) for a, b in reversed([*pairwise(channels)]))
        self.unfold = nn.PixelShuffle(2)
        last = cast("nn.Conv2d", self.up[-1])
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast("Tensor", last.bias))

    @property
    def latent(self) -> int:
        """The width of the code: components, then the places' numbers."""
        height, width = self.sides[-1]
        return self.plane.components + self.plane.places * height * width

    def begin(self, images: Tensor) -> None:
        """Set the components to those of images, `[rows, pixels]`; fewer images than components leave some at nothing."""
        mean = images.mean(dim=0)
        some = images[:: max(1, len(images) // ENOUGH)] - mean
        found = torch.linalg.svd(some, full_matrices=False).Vh[: min(self.plane.components, len(some) - 1)]
        signs = torch.sign(found.gather(1, found.abs().argmax(dim=1, keepdim=True)))  # a component is one up to its sign
        self.mean.copy_(mean)
        self.components[: len(found)] = found * signs

    def encode(self, inputs: Tensor) -> Tensor:
        """Give the code: `[rows, pixels] -> [rows, latent]`."""
        whole = (inputs - self.mean) @ self.components.T
        image = (inputs - self._linear(whole)).unflatten(-1, self.plane[:3])
        *layers, last = self.down
        for layer in layers:
            image = self.activation(layer(image))
        return torch.cat([whole, last(image).flatten(1)], dim=1)

    def decode(self, latent: Tensor) -> Tensor:
        """Give the outputs: `[rows, latent] -> [rows, pixels]`."""
        whole, places = latent.tensor_split([self.plane.components], dim=1)
        image = places.unflatten(-1, (self.plane.places, *self.sides[-1]))
        *layers, last = self.up
        for layer, sides in zip(layers, reversed(self.sides[1:-1]), strict=True):
            image = _cut(self.activation(self.unfold(layer(image))), sides)
        return self._linear(whole) + _cut(self.unfold(last(image)), self.sides[0]).flatten(1)

    def _linear(self, whole: Tensor) -> Tensor:
        """Rebuild images from their components alone."""
        return whole @ self.components + self.mean


def _cut(image: Tensor, sides: tuple[int, int]) -> Tensor:
    """Cut an image that was doubled back to sides that were odd."""
    height, width = sides
    return image[..., :height, :width]
