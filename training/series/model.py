"""The two branches that reconstruct a window, and their loss.

The *level* branch sees the whole window through a narrow code, with slow channels centred on the window, so that slow
drift is no anomaly; it cannot follow a shifted level. The *energy* branch sees the newest rows as they are through
a wide linear code; it cannot follow an unusual movement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.models import Phase, StepContext
from training.networks.sequence import DenseWindowNetwork, WindowNetwork, WindowShape
from training.series.channels import Channels, WindowChannels

SLOW = 0.7  # a channel is slow if means over `energy` rows have a larger variance, in standardised units
BATCH = 1024  # windows that are cut at a time
LEVEL_LATENT = 2  # a wider code would follow a shifted level
ENERGY_SHARE = 0.4  # code width of the energy branch, as a share of its inputs
MAX_VALIDATION = 1024  # windows
MAX_SOLVED = 4096  # windows that principal components are computed from


class Spans(NamedTuple):
    """The numbers of newest rows that each branch uses."""

    window: int

    @property
    def tail(self) -> int:
        """Rows that the level branch averages."""
        return max(1, self.window // 4)

    @property
    def energy(self) -> int:
        """Rows that the energy branch sees."""
        return min(self.window, max(2, self.window // 6))


class Levels(NamedTuple):
    """The reconstruction of the level branch."""

    reconstruction: Tensor  # [windows, time, channels]
    target: Tensor  # [windows, time, channels], slow channels centred
    mean: Tensor  # [windows, 1, channels], subtracted from the slow channels
    code: Tensor  # [windows, latent]


class LazyWindows(NamedTuple):
    """Windows that are cut on demand: all of them at once would take `length` times the memory of the rows."""

    values: Tensor  # float32[rows, channels]
    present: Tensor  # float32[rows, channels]
    flags: Tensor  # float32[rows, flags]
    starts: Tensor  # int64[windows]
    length: int

    @property
    def rows(self) -> int:
        """The number of windows."""
        return len(self.starts)

    @property
    def device(self) -> torch.device:
        """The device of the tensors."""
        return self.starts.device

    def take(self, windows: Tensor) -> LazyWindows:
        """Return the windows at these indices."""
        return self._replace(starts=self.starts[windows])

    def starting_at(self, starts: np.ndarray) -> LazyWindows:
        """Return the windows that start at these rows, `int64[windows]`."""
        return self._replace(starts=torch.from_numpy(starts).to(self.device))

    def thinned(self, max_windows: int) -> LazyWindows:
        """Return at most `max_windows` windows, evenly spread."""
        return self._replace(starts=self.starts[:: -(-len(self.starts) // max_windows)])

    def cut(self) -> WindowChannels:
        """Return the windows themselves."""
        rows = self.starts[:, None] + torch.arange(self.length, device=self.device)
        return WindowChannels(self.values[rows], self.present[rows], self.flags[rows])

    def split(self) -> Iterator[LazyWindows]:
        """Yield batches of windows."""
        return (self._replace(starts=starts) for starts in self.starts.split(BATCH))


class SeriesModel(nn.Module):
    """Both branches."""

    slow: Tensor
    step_divisor = 1

    def __init__(self, channels: Channels, network: WindowNetwork, spans: Spans, slow: Tensor, latent: int) -> None:
        """Use `network` for the level branch; `slow` is 1 for each slow channel, `[channels]`."""
        super().__init__()
        self.channels = channels
        self.spans = spans
        self.level = network
        width = max(1, round(ENERGY_SHARE * spans.energy * channels.count))
        self.energy = DenseWindowNetwork(WindowShape(spans.energy, channels.count, (), width))
        self.register_buffer("slow", slow, persistent=False)
        self.latent = latent

    @property
    def features(self) -> Channels:
        """The channels, for the corruption."""
        return self.channels

    def solve(self, windows: LazyWindows) -> bool:
        """Compute the weights that have a closed form; return whether that is all of them."""
        channels = windows.thinned(MAX_SOLVED).cut()
        energy_is_solved = self.energy.solve(channels.values[:, -self.spans.energy :])
        return self.level.solve(self.centre(channels)[0] * channels.present) and energy_is_solved

    def hiding(self, training: LazyWindows) -> Callable[[LazyWindows, torch.Generator], LazyWindows]:
        """Return a function that hides nothing: a missing cell is 0, and the rest of the window outweighs it."""
        del training
        return lambda windows, _generator: windows

    def phases(self) -> list[Phase]:
        """Return the one phase of a training step."""
        return [Phase(list(self.parameters()), self.loss)]

    def loss(self, noisy: LazyWindows, clean: LazyWindows, context: StepContext) -> Tensor:
        """Return half the squared errors of both branches, a mean over their rows: `[windows]`."""
        del noisy, context
        channels = clean.cut()
        levels = self.levels(channels)
        level_error = ((levels.target - levels.reconstruction) ** 2 * channels.present).sum(dim=2).mean(dim=1)
        return 0.5 * (level_error + self.movement(channels).square().sum(dim=2).mean(dim=1))

    def mean_loss(self, windows: LazyWindows) -> float:
        """Return the mean loss over windows."""
        context = StepContext(1.0, torch.Generator())
        with torch.no_grad():
            parts = [self.loss(part, part, context) for part in windows.split()]
        return float(torch.cat(parts).mean())

    def levels(self, channels: WindowChannels) -> Levels:
        """Reconstruct whole windows by the level branch."""
        target, mean = self.centre(channels)
        code = self.level.encode((target * channels.present).to(self.real))
        return Levels(self.level.decode(code), target, mean, code)

    def shift(self, channels: WindowChannels, levels: Levels) -> Tensor:
        """Return the mean signed residual of the newest rows: `[windows, channels + flags]`."""
        tail = self.spans.tail
        residual = (levels.target[:, -tail:] - levels.reconstruction[:, -tail:]) * channels.present[:, -tail:]
        return torch.cat([residual.mean(dim=1), channels.flags[:, -tail:].mean(dim=1)], dim=1)

    def movement(self, channels: WindowChannels) -> Tensor:
        """Return the energy branch's residuals: `[windows, newest rows, channels]`."""
        newest = channels.values[:, -self.spans.energy :]
        reconstruction = self.energy.decode(self.energy.encode(newest.to(self.real)))
        return (newest - reconstruction) * channels.present[:, -self.spans.energy :]

    def newest_movement(self, channels: WindowChannels) -> Tensor:
        """Return the energy branch's absolute residuals of the newest row, `[windows, channels]`."""
        return self.movement(channels)[:, -1].abs()

    def squared_energy(self, channels: WindowChannels) -> Tensor:
        """Return the energy of the newest rows, including flags: `[windows]`."""
        flags = channels.flags[:, -self.spans.energy :]
        return self.movement(channels).square().sum(dim=(1, 2)) + flags.square().sum(dim=(1, 2))

    def centre(self, channels: WindowChannels) -> tuple[Tensor, Tensor]:
        """Subtract its mean over the window from every slow channel; return the result and the mean."""
        count = channels.present.sum(dim=1, keepdim=True).clamp(min=1.0)
        mean = channels.values.sum(dim=1, keepdim=True) / count * self.slow  # values are 0 where missing
        return channels.values - mean, mean

    @property
    def real(self) -> torch.dtype:
        """The networks' data type."""
        return next(self.parameters()).dtype


def find_slow_channels(windows: LazyWindows, spans: Spans) -> Tensor:
    """Return 1 for each channel whose means over a few rows vary much, `float32[channels]`."""
    starts = windows.starts[:: spans.energy]
    both_ends = torch.cat([starts, starts + windows.length - spans.energy]).unique()
    channels = windows._replace(length=spans.energy, starts=both_ends).cut()
    means = channels.values.sum(dim=1) / channels.present.sum(dim=1).clamp(min=1.0)
    return (means.var(dim=0, correction=0) > SLOW).to(means.dtype)
