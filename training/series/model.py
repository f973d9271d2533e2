"""The two branches that rebuild a window, and the loss that trains them.

The *level* branch sees the whole window through a narrow code, slow channels centred on the window, so that slow drift is
no anomaly; what it cannot follow is a level that moved. The *energy* branch sees the newest rows as they are through a
wide linear code; what it cannot follow is a movement that is not like the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.models import Moment, Phase
from training.networks.sequence import Flat, SequenceNetwork, WindowShape
from training.series.channels import Channels, Seen

SLOW = 0.7  # variance, in standardised units, of the means over `energy` rows from which a channel is slow
BATCH = 1024  # windows that are cut at a time
LEVEL_LATENT = 2  # more would follow a level that moved
ENERGY_SHARE = 0.4  # of the values that the energy branch sees
MOST_HELD_OUT = 1024  # windows that tell how far training is
MOST_SOLVED = 4096  # windows that principal components are taken of


class Spans(NamedTuple):
    """How many of a window's newest rows count for what."""

    window: int

    @property
    def tail(self) -> int:
        """Rows over which the level branch takes its mean."""
        return max(1, self.window // 4)

    @property
    def energy(self) -> int:
        """Rows that the energy branch sees."""
        return min(self.window, max(2, self.window // 6))


class Levels(NamedTuple):
    """What the level branch makes of windows."""

    rebuilt: Tensor  # [windows, time, channels]
    gated: Tensor  # [windows, time, channels], what it had to rebuild: slow channels centred
    mean: Tensor  # [windows, 1, channels], what was taken off
    code: Tensor  # [windows, latent]


class Windowed(NamedTuple):
    """Windows to learn from, cut when they are asked for: a window of every row would take `length` times the memory."""

    values: Tensor  # float32[rows, channels]
    present: Tensor  # float32[rows, channels]
    flags: Tensor  # float32[rows, flags]
    starts: Tensor  # int64[windows]
    length: int

    @property
    def rows(self) -> int:
        """How many windows there are."""
        return len(self.starts)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.starts.device

    def take(self, windows: Tensor) -> Windowed:
        """Give some of the windows."""
        return self._replace(starts=self.starts[windows])

    def at(self, starts: np.ndarray) -> Windowed:
        """Give the windows that begin at some rows, `int64[windows]`."""
        return self._replace(starts=torch.from_numpy(starts).to(self.device))

    def thinned(self, most: int) -> Windowed:
        """Give at most so many of the windows, evenly spread."""
        return self._replace(starts=self.starts[:: -(-len(self.starts) // most)])

    def cut(self) -> Seen:
        """Give the windows themselves."""
        places = self.starts[:, None] + torch.arange(self.length, device=self.device)
        return Seen(self.values[places], self.present[places], self.flags[places])

    def split(self) -> Iterator[Windowed]:
        """Give some windows at a time."""
        return (self._replace(starts=starts) for starts in self.starts.split(BATCH))


class SeriesModel(nn.Module):
    """Both branches."""

    slow: Tensor
    batch = 64  # windows of a step of training
    slowness = 1  # it takes as many steps as rows do

    def __init__(self, channels: Channels, network: SequenceNetwork, spans: Spans, slow: Tensor, latent: int) -> None:
        """Take the level branch's network, and which channels are slow, `[channels]`."""
        super().__init__()
        self.channels = channels
        self.spans = spans
        self.level = network
        wide = max(1, round(ENERGY_SHARE * spans.energy * channels.count))
        self.energy = Flat(WindowShape(spans.energy, channels.count, (), wide))
        self.register_buffer("slow", slow, persistent=False)
        self.latent = latent

    @property
    def features(self) -> Channels:
        """What its inputs are."""
        return self.channels

    def solve(self, windows: Windowed) -> bool:
        """Compute what need not be trained; tells whether that is all."""
        seen = windows.thinned(MOST_SOLVED).cut()
        solved = self.energy.solve(seen.values[:, -self.spans.energy :])
        return self.level.solve(self.centred(seen)[0] * seen.present) and solved

    def hiding(self, training: Windowed) -> Callable[[Windowed, torch.Generator], Windowed]:
        """Hide nothing: a hole is filled by the mean, which the rest of a window outweighs."""
        del training
        return lambda windows, _generator: windows

    def phases(self) -> list[Phase]:
        """Give the one loss."""
        return [Phase(list(self.parameters()), self.loss)]

    def loss(self, noisy: Windowed, clean: Windowed, moment: Moment) -> Tensor:
        """Give half the squared errors of both branches, a mean over their rows: `[windows]`."""
        del noisy, moment
        seen = clean.cut()
        levels = self.levels(seen)
        of_level = ((levels.gated - levels.rebuilt) ** 2 * seen.present).sum(dim=2).mean(dim=1)
        return 0.5 * (of_level + self.movement(seen).square().sum(dim=2).mean(dim=1))

    def mean_loss(self, windows: Windowed) -> float:
        """Give the mean loss over windows."""
        moment = Moment(1.0, torch.Generator())
        with torch.no_grad():
            parts = [self.loss(part, part, moment) for part in windows.split()]
        return float(torch.cat(parts).mean())

    def levels(self, seen: Seen) -> Levels:
        """Rebuild whole windows by the level branch."""
        gated, mean = self.centred(seen)
        code = self.level.encode((gated * seen.present).to(self.real))
        return Levels(self.level.decode(code), gated, mean, code)

    def shift(self, seen: Seen, levels: Levels) -> Tensor:
        """Give the mean residual of the newest rows, with its sign: `[windows, channels + flags]`."""
        tail = self.spans.tail
        residual = (levels.gated[:, -tail:] - levels.rebuilt[:, -tail:]) * seen.present[:, -tail:]
        return torch.cat([residual.mean(dim=1), seen.flags[:, -tail:].mean(dim=1)], dim=1)

    def movement(self, seen: Seen) -> Tensor:
        """Give the energy branch's residuals: `[windows, newest rows, channels]`."""
        newest = seen.values[:, -self.spans.energy :]
        rebuilt = self.energy.decode(self.energy.encode(newest.to(self.real)))
        return (newest - rebuilt) * seen.present[:, -self.spans.energy :]

    def lone(self, seen: Seen) -> Tensor:
        """Give the size of the energy branch's residuals of the newest row, `[windows, channels]`."""
        return self.movement(seen)[:, -1].abs()

    def squared(self, seen: Seen) -> Tensor:
        """Give the energy of the newest rows, flags among them: `[windows]`."""
        flags = seen.flags[:, -self.spans.energy :]
        return self.movement(seen).square().sum(dim=(1, 2)) + flags.square().sum(dim=(1, 2))

    def centred(self, seen: Seen) -> tuple[Tensor, Tensor]:
        """Take its mean over the window off every slow channel; gives that mean too."""
        there = seen.present.sum(dim=1, keepdim=True).clamp(min=1.0)
        mean = seen.values.sum(dim=1, keepdim=True) / there * self.slow  # values are 0 where missing
        return seen.values - mean, mean

    @property
    def real(self) -> torch.dtype:
        """What the networks compute in."""
        return next(self.parameters()).dtype


def slow_channels(windows: Windowed, spans: Spans) -> Tensor:
    """Tell which channels move slowly: 1 where the means over a few rows vary much, `float32[channels]`."""
    every = windows.starts[:: spans.energy]
    both_ends = torch.cat([every, every + windows.length - spans.energy]).unique()
    short = windows._replace(length=spans.energy, starts=both_ends)
    seen = short.cut()
    means = seen.values.sum(dim=1) / seen.present.sum(dim=1).clamp(min=1.0)
    return (means.var(dim=0, correction=0) > SLOW).to(means.dtype)
