"""Convolutions over an image, halving it at each layer, around a code that sees all of it (Masci et al. 2011).

The decoder mirrors the encoder: each layer doubles the sides by laying four channels out as squares of four pixels (Shi et
al. 2016, "Real-time single image and video super-resolution", section 3.2), which leaves no checkerboard behind.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from training.networks.dense import ACTIVATIONS

KERNEL = 3


class Plane(NamedTuple):
    """What a network of convolutions is made for: an image's axes, the channels of its layers, the width of its code."""

    channels: int
    height: int
    width: int
    sizes: tuple[int, ...]
    latent: int
    activation: str


class Spatial(nn.Module):
    """An encoder of strided convolutions, a dense code, and a decoder that mirrors it."""

    def __init__(self, plane: Plane) -> None:
        """Build a layer for each size, and a dense one on either side of the code."""
        super().__init__()
        self.plane = plane
        self.sides = [(plane.height, plane.width)]
        for _ in plane.sizes:
            height, width = self.sides[-1]
            self.sides.append(((height + 1) // 2, (width + 1) // 2))
        channels = [plane.channels, *plane.sizes]
        activation = ACTIVATIONS[plane.activation]
        down: list[nn.Module] = []
        for before, after in pairwise(channels):
            down += [nn.Conv2d(before, after, KERNEL, stride=2, padding=1), activation()]
        height, width = self.sides[-1]
        self.innermost = (channels[-1], height, width)
        cells = channels[-1] * height * width
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(cells, plane.latent))
        self.opening = nn.Sequential(nn.Linear(plane.latent, cells), activation())
        self.up = nn.ModuleList(
            nn.Conv2d(after, 4 * before, KERNEL, padding=1) for before, after in reversed([*pairwise(channels)])
        )
        self.activation = activation()
        self.unfold = nn.PixelShuffle(2)

    def encode(self, inputs: Tensor) -> Tensor:
        """Give the code: `[rows, pixels] -> [rows, latent]`."""
        code: Tensor = self.encoder(inputs.unflatten(-1, self.plane[:3]))
        return code

    def decode(self, latent: Tensor) -> Tensor:
        """Give the outputs: `[rows, latent] -> [rows, pixels]`."""
        image: Tensor = self.opening(latent).unflatten(-1, self.innermost)
        *layers, last = self.up
        for layer, sides in zip(layers, reversed(self.sides[1:-1]), strict=True):
            image = _cut(self.activation(self.unfold(layer(image))), sides)
        return _cut(self.unfold(last(image)), self.sides[0]).flatten(1)


def _cut(image: Tensor, sides: tuple[int, int]) -> Tensor:
    """Cut an image that was doubled back to sides that were odd."""
    height, width = sides
    return image[..., :height, :width]
