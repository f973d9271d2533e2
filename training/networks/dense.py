"""Dense layers, mirrored around the code (Hinton & Salakhutdinov 2006, "Reducing the dimensionality of data").

`Dense` has a separate decoder; `Tied` decodes with its encoder's weights, transposed (Vincent et al. 2010, section 2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


class Shape(NamedTuple):
    """The widths and activations of a network.

    `code` is the encoder's output width and `latent` the decoder's input width; they differ where a code describes a
    distribution over latents.
    """

    inputs: int
    hidden: tuple[int, ...]
    code: int
    latent: int
    outputs: int
    activation: str = "silu"
    code_activation: str = "none"
    dropout: float = 0.0


class Dense(nn.Module):
    """An encoder of dense layers and a decoder that mirrors it."""

    def __init__(self, shape: Shape) -> None:
        """Build layers `inputs-hidden-code` and `latent-hidden reversed-outputs`."""
        super().__init__()
        self.encoder = layers([shape.inputs, *shape.hidden, shape.code], shape)
        self.encoder.append(ACTIVATIONS[shape.code_activation]())
        self.decoder = layers([shape.latent, *reversed(shape.hidden), shape.outputs], shape)

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the code: `[rows, inputs] -> [rows, code]`."""
        code: Tensor = self.encoder(inputs)
        return code

    def decode(self, latent: Tensor) -> Tensor:
        """Return the outputs: `[..., latent] -> [..., outputs]`."""
        outputs: Tensor = self.decoder(latent)
        return outputs


class Tied(nn.Module):
    """An encoder whose transposed weights are the decoder's; the biases are separate.

    Outputs mirror inputs; outputs of inputs that are not reconstructed (presence flags) are dropped.
    """

    def __init__(self, shape: Shape, mirrored: Tensor) -> None:
        """Build layers `inputs-hidden-code`; `mirrored` is the input index of each output."""
        super().__init__()
        sizes = [shape.inputs, *shape.hidden, shape.code]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in sizes[:-1])
        self.activation = ACTIVATIONS[shape.activation]()
        self.code_activation = ACTIVATIONS[shape.code_activation]()
        self.mirrored = nn.Buffer(mirrored, persistent=False)

    def encode(self, inputs: Tensor) -> Tensor:
        """Return the code: `[rows, inputs] -> [rows, code]`."""
        *hidden, last = self.layers
        for layer in hidden:
            inputs = self.activation(layer(inputs))
        code: Tensor = self.code_activation(last(inputs))
        return code

    def decode(self, latent: Tensor) -> Tensor:
        """Return the outputs: `[..., latent] -> [..., outputs]`."""
        for index in reversed(range(len(self.layers))):
            weight: Tensor = self.layers[index].get_parameter("weight")
            latent = functional.linear(latent, weight.t(), self.biases[index])
            latent = self.activation(latent) if index else latent
        return latent.index_select(-1, self.mirrored)


def layers(sizes: Sequence[int], shape: Shape) -> nn.Sequential:
    """Stack dense layers with the activation, and dropout, between them."""
    stack: list[nn.Module] = []
    for before, after in pairwise(sizes):
        stack += [nn.Linear(before, after), ACTIVATIONS[shape.activation]()]
        stack += [nn.Dropout(shape.dropout)] if shape.dropout else []
    return nn.Sequential(*stack[: -2 if shape.dropout else -1])


class TopK(nn.Module):
    """Keeps the k largest activations of a code and sets the others to 0 (Makhzani & Frey 2014, "k-sparse autoencoders")."""

    def __init__(self, k: int) -> None:
        """Keep `k` activations."""
        super().__init__()
        self.k = k

    def forward(self, code: Tensor) -> Tensor:
        """Return the sparse code: `[rows, code] -> [rows, code]`."""
        largest = torch.topk(code, self.k, dim=-1)
        return torch.zeros_like(code).scatter(-1, largest.indices, largest.values)
