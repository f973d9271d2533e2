"""Networks of windows: `[windows, time, channels] -> [windows, latent] -> [windows, time, channels]`.

DenseWindowNetwork          dense layers on the flattened window
ConvolutionalWindowNetwork  convolutions over time, halving it (Masci et al. 2011, "Stacked convolutional auto-encoders")
RecurrentWindowNetwork      an LSTM or GRU encodes the window, another one decodes it (Malhotra et al. 2016, "LSTM-based
                            encoder-decoder for multi-sensor anomaly detection")
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from training.networks.dense import ACTIVATIONS, Dense, Shape

KERNEL = 5  # rows that an encoder's convolution sees
DECODER_KERNEL = 3  # at half the resolution


class WindowShape(NamedTuple):
    """The size of a window, and of its network."""

    time: int
    channels: int
    hidden: tuple[int, ...]
    latent: int
    activation: str = "tanh"


class WindowNetwork(nn.Module):
    """The base of all networks of windows."""

    def encode(self, window: Tensor) -> Tensor:
        """Return the code: `[windows, time, channels] -> [windows, latent]`."""
        raise NotImplementedError

    def decode(self, latent: Tensor) -> Tensor:
        """Return the window: `[windows, latent] -> [windows, time, channels]`."""
        raise NotImplementedError

    def solve(self, windows: Tensor) -> bool:
        """Set the optimal weights in closed form and return True, or return False if there is none."""
        del windows
        return False


class DenseWindowNetwork(WindowNetwork):
    """Dense layers on the flattened window; without hidden layers, a principal component analysis of windows."""

    def __init__(self, shape: WindowShape) -> None:
        """Build the layers."""
        super().__init__()
        width = shape.time * shape.channels
        self.shape = shape
        self.dense = Dense(Shape(width, shape.hidden, shape.latent, shape.latent, width, shape.activation))

    def encode(self, window: Tensor) -> Tensor:
        """Return the code."""
        return self.dense.encode(window.reshape(-1, self.shape.time * self.shape.channels))

    def decode(self, latent: Tensor) -> Tensor:
        """Return the window."""
        return self.dense.decode(latent).reshape(-1, self.shape.time, self.shape.channels)

    def solve(self, windows: Tensor) -> bool:
        """Set a linear network to the principal components, its global optimum (Baldi & Hornik 1989)."""
        if self.shape.hidden:
            return False
        flat = windows.reshape(-1, self.shape.time * self.shape.channels).double()
        mean = flat.mean(dim=0)
        centred = flat - mean
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(flat))
        directions = vectors[:, values.argsort(descending=True)[: self.shape.latent]]
        largest = directions.abs().argmax(dim=0)
        directions = directions * directions.gather(0, largest[None]).sign()  # the sign of an eigenvector is arbitrary
        encoder, decoder = self.dense.encoder[0], self.dense.decoder[0]
        assert isinstance(encoder, nn.Linear)  # noqa: S101 - without hidden layers both are
        assert isinstance(decoder, nn.Linear)  # noqa: S101
        with torch.no_grad():
            encoder.weight.copy_(directions.T)
            encoder.bias.copy_(-directions.T @ mean)
            decoder.weight.copy_(directions)
            decoder.bias.copy_(mean)
        return True


class ConvolutionalWindowNetwork(WindowNetwork):
    """Convolutions over time with a stride of two around a dense code.

    The decoder's convolutions return two rows for each one (Shi et al. 2016, "Real-time single image and video
    super-resolution using an efficient sub-pixel convolutional neural network"): repeating rows first takes ONNX Runtime
    five times as long.
    """

    def __init__(self, shape: WindowShape) -> None:
        """Build one convolution for each hidden width."""
        super().__init__()
        widths = [shape.channels, *shape.hidden]
        self.times = [shape.time]
        for _ in shape.hidden:
            self.times.append((self.times[-1] + 1) // 2)
        self.activation = ACTIVATIONS[shape.activation]()
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv1d(a, b, KERNEL, stride=2, padding=KERNEL // 2) for a, b in pairs)
        self.up = nn.ModuleList(nn.Conv1d(b, 2 * a, DECODER_KERNEL, padding=DECODER_KERNEL // 2) for a, b in reversed(pairs))
        self.narrow = nn.Linear(widths[-1] * self.times[-1], shape.latent)
        self.widen = nn.Linear(shape.latent, widths[-1] * self.times[-1])
        self.width = widths[-1]

    def encode(self, window: Tensor) -> Tensor:
        """Return the code."""
        maps = window.transpose(1, 2)
        for layer in self.down:
            maps = self.activation(layer(maps))
        code: Tensor = self.narrow(maps.reshape(-1, self.width * self.times[-1]))
        return code

    def decode(self, latent: Tensor) -> Tensor:
        """Return the window."""
        maps = self.activation(self.widen(latent)).reshape(-1, self.width, self.times[-1])
        for index, layer in enumerate(self.up):
            time = self.times[-2 - index]
            doubled = layer(maps)
            width, half = doubled.shape[1] // 2, doubled.shape[2]
            maps = doubled.reshape(-1, width, 2, half).transpose(2, 3).reshape(-1, width, 2 * half)[:, :, :time]
            if index + 1 < len(self.up):
                maps = self.activation(maps)
        window: Tensor = maps.transpose(1, 2)
        return window


class RecurrentWindowNetwork(WindowNetwork):
    """A recurrent encoder, whose last state becomes the code, and a recurrent decoder."""

    def __init__(self, shape: WindowShape, cell: Literal["lstm", "gru"]) -> None:
        """Build both, as wide as the first hidden width."""
        super().__init__()
        layer = nn.LSTM if cell == "lstm" else nn.GRU
        width = shape.hidden[0]
        self.time = shape.time
        self.reader = layer(shape.channels, width, batch_first=True)
        self.narrow = nn.Linear(width, shape.latent)
        self.unroller = layer(shape.latent, width, batch_first=True)
        self.out = nn.Linear(width, shape.channels)

    def encode(self, window: Tensor) -> Tensor:
        """Return the code."""
        states, _ = self.reader(window)
        code: Tensor = self.narrow(states[:, -1])
        return code

    def decode(self, latent: Tensor) -> Tensor:
        """Return the window."""
        states, _ = self.unroller(latent.unsqueeze(1).repeat(1, self.time, 1))
        window: Tensor = self.out(states)
        return window
