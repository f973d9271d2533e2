"""Dense layers, mirrored around the code (Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data")."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class Dense(nn.Module):
    """An encoder of dense layers and a decoder that mirrors it."""

    def __init__(self, inputs: int, hidden: Sequence[int], code: int, latent: int, outputs: int) -> None:
        """Build layers `inputs-hidden-code` and `latent-hidden reversed-outputs`.

        `code` is what the encoder gives and `latent` what the decoder takes; they differ where a code describes a
        distribution over latents.
        """
        super().__init__()
        self.encoder = layers([inputs, *hidden, code])
        self.decoder = layers([latent, *reversed(hidden), outputs])

    def encode(self, inputs: Tensor) -> Tensor:
        """Give the code: `[rows, inputs] -> [rows, code]`."""
        code: Tensor = self.encoder(inputs)
        return code

    def decode(self, latent: Tensor) -> Tensor:
        """Give the outputs: `[..., latent] -> [..., outputs]`."""
        outputs: Tensor = self.decoder(latent)
        return outputs


def layers(sizes: Sequence[int]) -> nn.Sequential:
    """Stack dense layers with SiLU between them."""
    stack: list[nn.Module] = []
    for before, after in pairwise(sizes):
        stack += [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*stack[:-1])
